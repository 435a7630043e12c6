"""The report: the page parsed as HTML, its figures, and the numbers behind them beside independent computations."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import Euclidean
from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.evaluation.scorer import score
from rgcn_jax.gallery.frame_images import small
from rgcn_jax.report import __main__ as command
from rgcn_jax.report.build import build
from rgcn_jax.report.chart import ROW_COLOURS, Chart, Grid, Panel, Series
from rgcn_jax.report.charts import robustness_charts, thinned
from rgcn_jax.report.feature_map import t_sne
from rgcn_jax.report.interactive import figure, require_libraries
from rgcn_jax.report.page import page, section, table
from rgcn_jax.report.paper import draw
from rgcn_jax.report.rank_lists import rank_lists
from rgcn_jax.report.reported_run import FEATURES_FILE, load_run
from rgcn_jax.report.thumbnails import data_uri
from rgcn_jax.training.train import train
from tests.commands import fails, status
from tests.test_whole_run import config  # noqa: F401 (a fixture)

for name in ("matplotlib", "plotly", "sklearn"):
    pytest.importorskip(name, reason="the report needs matplotlib, plotly and scikit-learn (extra report)")

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
    named = [folder / "<b>pose & $x$", folder / "baseline"]
    for seed, path in enumerate(named):
        if not path.exists():
            path.mkdir()
            train(replace(config, seed=seed, num_steps=3 - seed, eval_every_epochs=0), path)
    return named


@pytest.mark.slow
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
    assert all(f".{name} {{ background-image: url(data:image/webp;base64," in css for name in strips)
    assert len(found.of("img")) > 0

    names = {file.name for file in figures.iterdir()}
    wanted = ("cmc", "training", "distances", "roc", "attention", "map", "cameras", "lengths", "keypoints")
    wanted += ("rank-list", "skeleton-attention")
    assert names == {f"{name}.{suffix}" for name in wanted for suffix in ("svg", "pdf")}
    assert all((figures / f"{name}.pdf").read_bytes().startswith(b"%PDF") for name in wanted)
    charts = {a["id"]: json.loads(a["data-figure"]) for a in found.of("div") if "data-figure" in a}
    assert {"chart-cmc", "chart-roc", "chart-map", "chart-cameras", "chart-keypoints"} <= set(charts)
    tooltips = [t for trace in charts["chart-map"]["data"] for t in trace["hovertext"]]
    assert len(tooltips) > 4
    assert all(re.search(r"person \d+, camera \d+: ", t) for t in tooltips)
    fused = next(t for t in charts["chart-cmc"]["data"] if t["name"] == "&lt;b&gt;pose &amp; $x$: fused")
    run = load_run(runs[0])
    metrics = run.evaluation.metrics["official"]["fused"]
    np.testing.assert_allclose(fused["y"], 100 * metrics.cmc[:20], rtol=1e-6)

    values = json.loads((runs[0] / "results.json").read_text())["metrics"]["official"]["fused"]
    assert f"{values['mAP']:.1f}" in content

    kept = (runs[0] / FEATURES_FILE).stat().st_mtime_ns
    assert status(command.main, [runs[0], f"--out={out}", "--no-images"]) == 0
    assert (runs[0] / FEATURES_FILE).stat().st_mtime_ns == kept
    bare = out.read_text()
    assert "data:image/webp;base64," not in bare
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


def scored_under(run, protocol, **ids):
    """The run with other ids, scored under another protocol."""
    features = run.evaluation.features
    features = replace(features, embeddings=features.embeddings._replace(**ids))
    return replace(run, evaluation=score(features, replace(run.embedder.config.evaluation, protocol=protocol)))


@pytest.mark.jit
@pytest.mark.parametrize("protocol", ["clothes_changed", "same_camera_allowed"])
def test_rank_lists_ignore_what_the_protocol_ignores(runs, protocol):
    run = load_run(runs[0])
    count = len(run.evaluation.features.first_frames)
    run = scored_under(run, protocol, clothes_ids=(1 + np.arange(count) % 2).astype(np.int32))
    lists = rank_lists(run, 100, top=count)
    assert lists
    for one in lists:
        same = np.array([hit.same_person for hit in one.hits["fused"]])
        precision = np.cumsum(same)[same] / (np.flatnonzero(same) + 1)
        assert precision.mean() == pytest.approx(one.average_precision["fused"], abs=1e-6)


@pytest.mark.jit
def test_a_data_set_of_one_camera_has_genuine_pairs(runs):
    run, baseline = map(load_run, runs)
    cameras = np.ones_like(run.evaluation.features.embeddings.camera_ids)
    found = Page(build([scored_under(run, "same_camera_allowed", camera_ids=cameras), baseline], 4, False, None))
    drawn = {a["id"]: json.loads(a["data-figure"]) for a in found.of("div") if "data-figure" in a}
    assert all(len(trace["x"]) for trace in drawn["chart-roc"]["data"])
    assert all(sum(trace["y"]) > 0 for trace in drawn["chart-distances"]["data"])
    assert any("no protocol same_camera_allowed" in text for text in found.shown)


def test_runs_are_named_by_as_much_of_their_folders_as_tells_them_apart(tmp_path):
    assert command._names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert command._names([tmp_path / "a" / "seed0", tmp_path / "b" / "seed0"]) == ["a/seed0", "b/seed0"]
    with pytest.raises(InputError, match="twice"):
        command._names([tmp_path / "a", tmp_path / "a"])


def test_arguments_that_are_wrong(tmp_path, capsys):
    assert "does not exist" in fails(command.main, ["run", f"--out={tmp_path / 'a' / 'b.html'}"], capsys)
    assert str(tmp_path) in fails(command.main, [tmp_path, f"--out={tmp_path / 'b.html'}"], capsys)


@pytest.mark.parametrize(("module", "package"), [("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
def test_without_a_library_it_says_what_to_install(monkeypatch, module, package):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=f"{package}, .*pip install"):
        require_libraries()


def test_the_map_keeps_persons_together_and_is_the_same_every_time():
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(4), 12)
    features = (10 * np.eye(4, 6)[persons] + rng.standard_normal((48, 6))).astype(np.float32)
    found = t_sne(features)
    np.testing.assert_array_equal(found, t_sne(features))
    distances = Euclidean(found.astype(np.float32)).between(slice(None), slice(None)) + np.diag(np.full(48, np.inf))
    assert (persons[distances.argmin(axis=1)] == persons).mean() > 0.95
    assert [t_sne(features[:n]).shape for n in (0, 1, 2, 3)] == [(n, 2) for n in (0, 1, 2, 3)]


def test_pairwise_distances_are_those_of_scipy():
    points = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    found = Euclidean(points).between(slice(None), slice(None))
    np.testing.assert_allclose(found[np.triu_indices(40, 1)], pdist(points), rtol=1e-4, atol=1e-4)


def test_a_chart_is_the_same_on_the_page_and_on_paper():
    """One description, drawn by two libraries: both have its values."""
    x, y = [1.0, 2.0, 4.0], [30.0, 60.0, 50.0]
    line = Series(x, y, "#3987e5", "$a_<b>", points=True, low=[20, 50, 40], high=[40, 70, 60])
    grid = Grid([[float("nan"), 12.0], [99.0, 50.0]], ["1", "2"], ["1", "3"])
    chart = Chart([Panel([line], "title", "k", "mAP (%)"), Panel(grid=grid)])
    page_form = figure(chart)
    band, drawn, cells = page_form["data"]
    assert (drawn["x"], drawn["y"], drawn["name"]) == (x, y, "$a_&lt;b&gt;")
    assert band["y"] == [40, 70, 60, 40, 50, 20]
    assert cells["z"] == [[None, 12.0], [99.0, 50.0]]
    json.dumps(page_form, allow_nan=False)
    curve, cells = draw(chart).axes
    np.testing.assert_array_equal(curve.lines[0].get_xydata(), np.stack([x, y], axis=1))
    assert {t.get_text() for t in cells.texts} == {"12", "99", "50"}


def test_robustness_curves_have_a_line_for_each_row():
    def at(level, value):
        metrics = {"mAP": value, "intervals": {"mAP": [value - 2, value + 3]}}
        return {"level": level, "rows": dict.fromkeys(ROW_COLOURS, metrics)}

    charts = robustness_charts({"fewer_frames": {"unit": "frames", "points": [at(None, 80.0), at(10, 60.0)]}})
    assert list(charts) == ["robustness-fewer-frames"]
    for series in charts["robustness-fewer-frames"].panels[0].series:
        assert (list(series.x), list(series.y)) == (["all", "10"], [80.0, 60.0])
        assert (list(series.low), list(series.high)) == ([78.0, 58.0], [83.0, 63.0])


def test_a_long_curve_is_thinned_between_its_ends():
    curve = np.stack([np.linspace(1e-5, 1, 10_000)] * 2, axis=1)
    found = thinned(curve)
    assert 100 < len(found) <= 400
    np.testing.assert_array_equal(found[[0, -1]], curve[[0, -1]])
    np.testing.assert_array_equal(thinned(curve[:50]), curve[:50])


def test_texts_are_escaped_and_control_characters_shown():
    found = Page(page("<i>", "", [("a", "<x>", section("a", "<x>", table(["<h>"], [["<td>\x1b"]])))]))
    assert not {"i", "x", "h"} & {tag for tag, _ in found.elements}
    assert any("\\x1b" in text for text in found.shown)


def test_a_skeleton_is_drawn_where_keypoints_are():
    keypoints = np.zeros((14, 3), np.float32)
    frame = np.zeros((64, 32, 3), np.uint8)
    assert not small(frame, keypoints).any()
    keypoints[0], keypoints[1] = (0.5, 0.25, 1), (0.5, 0.75, 1)
    drawn = small(frame, keypoints, 128)
    rows, columns = np.nonzero(drawn.any(axis=-1))
    assert 28 <= rows.min() <= 32
    assert 96 <= rows.max() <= 100
    assert abs(columns.mean() - 32) < 1
    assert data_uri([drawn]).startswith("data:image/webp;base64,UklGR")
