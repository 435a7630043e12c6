"""The report: the page parsed as HTML, its figures, and the numbers behind them beside independent computations."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.report import __main__ as command
from rgcn_jax.report.charts import pairwise
from rgcn_jax.report.feature_map import principal_components
from rgcn_jax.report.page import page, section, table
from rgcn_jax.report.rank_lists import rank_lists
from rgcn_jax.report.reported_run import FEATURES_FILE, load_run
from rgcn_jax.report.thumbnails import data_uri, draw_skeleton
from rgcn_jax.training.train import train
from tests.commands import fails, status
from tests.test_whole_run import config  # noqa: F401 (a fixture)

mpl = pytest.importorskip("matplotlib", reason="the report needs matplotlib (extra report)")

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """All elements with their attributes; fails where elements are not nested."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.open, self.styles, self.shown = [], [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open[-1:] == ["style"] else self.shown).append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def assert_no_request(found):
    """No element and no style loads anything but data of the page itself."""
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
                assert (value or "").startswith(("data:", "#")), (tag, name, value)
            if not name.startswith("xmlns"):
                assert not re.search(r"(https?:)?//\w", value or "") or value.startswith("data:"), (tag, name, value)
    css = "".join(found.styles) + "".join(a.get("style") or "" for _, a in found.elements)
    assert all(url.startswith(("data:", "#")) for url in re.findall(r"url\(([^)]*)\)", css))
    assert "@import" not in css


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def runs(config, folder):  # noqa: F811
    """Two runs, trained once: with a name that needs escaping, and another seed of it."""
    from dataclasses import replace

    named = [folder / "<b>pose & $x$", folder / "baseline"]
    for seed, path in enumerate(named):
        if not path.exists():
            path.mkdir()
            train(replace(config, seed=seed, num_steps=3 - seed, eval_every_epochs=0), path)
    return named


@pytest.mark.jit
def test_the_page_is_whole_and_loads_nothing(runs, tmp_path, capsys):
    out = tmp_path / "report.html"
    figures = tmp_path / "figures"
    assert status(command.main, [*runs, f"--out={out}", f"--figures={figures}", "--queries=6"]) == 0
    content = out.read_text()
    found = Page(content)
    assert_no_request(found)
    anchors = {a["id"] for a in found.of("section")}
    assert anchors >= {"numbers", "curves", "training", "ranks", "attention", "features", "slices", "provenance"}
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(set(ids)) == len(ids)

    assert not found.of("b") or all(set(a) == set() for a in found.of("b"))
    assert "<b>pose" not in content
    assert any("<b>pose & $x$" in text for text in found.shown)  # as text, unescaped by the parser

    cards = [a for a in found.of("article") if "data-gain" in a]
    gains = [float(a["data-gain"]) for a in cards]
    assert 0 < len(gains) <= 6
    assert gains == sorted(gains, reverse=True)
    strips = {c for a in found.of("div") for c in (a.get("class") or "").split() if re.fullmatch(r"t\d+", c)}
    css = "".join(found.styles)
    assert all(f".{name} {{ background-image: url(data:image/jpeg;base64," in css for name in strips)
    assert len(found.of("img")) > 0

    names = {file.name for file in figures.iterdir()}
    wanted = ("cmc", "training", "distances", "roc", "attention", "map", "cameras", "lengths")
    assert names == {f"{name}.{suffix}" for name in wanted for suffix in ("svg", "pdf")}
    assert all((figures / f"{name}.pdf").read_bytes().startswith(b"%PDF") for name in wanted)
    tooltips = [t for t in found.shown if re.search(r"person \d+, camera \d+: ", t)]
    assert len(tooltips) > 4

    values = json.loads((runs[0] / "results.json").read_text())["metrics"]["official"]["fused"]
    assert f"{values['mAP']:.1f}" in content
    assert "#010203" not in content  # text takes the colour of the page

    kept = (runs[0] / FEATURES_FILE).stat().st_mtime_ns
    assert status(command.main, [runs[0], f"--out={out}", "--no-images"]) == 0
    assert (runs[0] / FEATURES_FILE).stat().st_mtime_ns == kept
    bare = out.read_text()
    assert "image/jpeg" not in bare
    assert_no_request(Page(bare))


@pytest.mark.jit
def test_rank_lists_agree_with_the_ranking(runs):
    run = load_run(runs[0])
    found = run.evaluation.features
    persons, cameras = found.embeddings.person_ids, found.embeddings.camera_ids
    for one in rank_lists(run, 100, top=len(persons)):
        features = run.features("fused")
        distances = np.linalg.norm(features - features[one.query], axis=1)
        expected = evaluate_ranking(
            distances[None][:, found.roles.gallery],
            persons[[one.query]],
            persons[found.roles.gallery],
            cameras[[one.query]],
            cameras[found.roles.gallery],
        )
        same = np.array([hit.same_person for hit in one.hits["fused"]])
        precision = np.cumsum(same)[same] / (np.flatnonzero(same) + 1)
        assert precision.mean() == pytest.approx(expected.mAP, abs=1e-6)
        assert one.gain == pytest.approx(one.average_precision["fused"] - one.average_precision["appearance"])
        assert all(hit.tracklet != one.query for hit in one.hits["fused"])


def test_arguments_that_are_wrong(tmp_path, capsys):
    assert "no folder" in fails(command.main, ["run", f"--out={tmp_path / 'a' / 'b.html'}"], capsys)
    assert str(tmp_path) in fails(command.main, [tmp_path, f"--out={tmp_path / 'b.html'}"], capsys)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    from rgcn_jax.report.svg import require_matplotlib

    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install"):
        require_matplotlib()


def test_principal_components_keep_the_distances_of_a_plane():
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((40, 2)).astype(np.float32)
    turned = plane @ np.linalg.qr(rng.standard_normal((6, 6)))[0][:2].astype(np.float32)
    np.testing.assert_allclose(pdist(principal_components(turned)), pdist(plane), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pairwise(plane)[np.triu_indices(40, 1)], pdist(plane), rtol=1e-4, atol=1e-4)
    assert principal_components(np.ones((3, 1), np.float32)).shape == (3, 2)


def test_texts_are_escaped_and_control_characters_shown():
    found = Page(page("<i>", "", [("a", "<x>", section("a", "<x>", table(["<h>"], [["<td>\x1b"]])))]))
    assert not {"i", "x", "h"} & {tag for tag, _ in found.elements}
    assert any("\\x1b" in text for text in found.shown)


def test_a_skeleton_is_drawn_where_keypoints_are():
    keypoints = np.zeros((14, 3), np.float32)
    frame = np.zeros((64, 32, 3), np.uint8)
    assert not draw_skeleton(frame, keypoints).any()
    keypoints[0], keypoints[1] = (0.5, 0.25, 1), (0.5, 0.75, 1)
    drawn = draw_skeleton(frame, keypoints, 128)
    rows, columns = np.nonzero(drawn.any(axis=-1))
    assert 28 <= rows.min() <= 32
    assert 96 <= rows.max() <= 100
    assert abs(columns.mean() - 32) < 1
    assert data_uri([drawn]).startswith("data:image/jpeg;base64,/9j/")
