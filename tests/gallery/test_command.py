"""``rgcn-jax gallery``: from videos of four cameras to the ranking of the evaluation; verdicts, pages, removal."""

import base64
import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest

from rgcn_jax import calibrate, embed, evaluate
from rgcn_jax.__main__ import dispatch
from rgcn_jax.evaluation.feature_set import read_features
from rgcn_jax.gallery import Gallery, Where
from rgcn_jax.walkers import generate
from scripts.walkers_gallery import as_data_set, killed_after, scores, video_flags, write_keypoints, write_video
from tests.commands import fails, status
from tests.gallery.small_world import HEIGHT, SPEC, WIDTH, write_model
from tests.pose_detection import onnx_model

RATE = 10
PERSONS = 6

pytestmark = [pytest.mark.jit, pytest.mark.slow]


def gallery_command(*arguments):
    return dispatch(["gallery", *map(str, arguments)])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model, and a gallery of the videos of four cameras; the same crops as a data set, which is evaluated."""
    folder = tmp_path_factory.mktemp("gallery")
    with jax.disable_jit(False):
        model = write_model(folder / "model", "--config.evaluation.distance=normalized")
        walkers = generate(SPEC)
        keypoints = {}
        for camera in range(1, 5):
            chosen = [t for t in walkers.split.gallery if t.camera_id == camera]
            keypoints |= write_video(folder, camera, chosen, walkers, (HEIGHT, WIDTH), RATE)
        poses, people = folder / "keypoints.npz", folder / "people"
        write_keypoints(poses, keypoints)
        add = [f"--gallery={people}", f"--model={model}", "--save-every=2"]
        for camera in range(1, 5):
            for killed_at in {2: [1], 3: [3]}.get(camera, []):  # added in all when it is killed: 1; 3
                killed_after([*add, *video_flags(folder, camera)], killed_at)
                assert killed_at <= Gallery.open(people).count() - (camera - 1) * PERSONS < PERSONS
            gallery_command("add", *add, *video_flags(folder, camera))
        as_data_set(people / "crops", folder / "data")
        data = ["--dataset=folder", f"--root={folder / 'data'}", f"--keypoints={poses}"]
        evaluate.main([f"--model={model}", *data, f"--save-features={folder / 'f.npz'}", f"--out={folder / 'e.json'}"])
    search = [f"--gallery={folder / 'people'}", f"--model={model}"]
    return SimpleNamespace(folder=folder, model=model, poses=poses, add=add, search=search, data=data)


@pytest.fixture
def copy(world, tmp_path):
    """The gallery, to be changed."""
    return Path(shutil.copytree(world.folder / "people", tmp_path / "people"))


@pytest.mark.parametrize("row", ["fused", "appearance", "pose"])
def test_a_search_has_the_ranking_of_the_evaluation(world, row, tmp_path):
    out = tmp_path / "found.json"
    by = [] if row == "fused" else [f"--by={row}"]
    gallery_command("search", *world.search, f"--features={world.folder / 'f.npz'}", "-k", 100, *by, f"--out={out}")
    queries = json.loads(out.read_text())["queries"]
    assert len(queries) == PERSONS
    assert {len(q["matches"]) for q in queries} == {4 * PERSONS}
    evaluated = json.loads((world.folder / "e.json").read_text())["protocols"]["official"][row]
    assert scores(queries) == pytest.approx((evaluated["mAP"], evaluated["rank1"]), abs=1e-9)


def test_what_is_known_of_a_video_is_in_its_entries(world, capsys):
    gallery = Gallery.open(world.folder / "people")
    entries = [entry for _, entry in gallery.entries(Where(cameras=[2]))]
    assert len(entries) == PERSONS
    for entry in entries:
        paths = gallery.frame_paths(entry)
        assert all(path.is_file() for path in paths)
        numbers = [int(path.stem.split("_f")[1]) for path in paths]
        start = datetime(2026, 11, 30, 9, tzinfo=UTC).timestamp()
        assert (entry.start, entry.end) == (start + (numbers[0] - 1) / RATE, start + (numbers[-1] - 1) / RATE)
        assert entry.num_frames == len(paths)
        assert entry.video.endswith("cam2.mp4")
        assert entry.quality is not None
        assert 0.5 < entry.quality <= 1
    gallery_command("info", f"--gallery={world.folder / 'people'}", f"--model={world.model}")
    printed = capsys.readouterr().out
    assert f"{4 * PERSONS} entries" in printed
    assert "2 (6)" in printed


def test_a_second_addition_adds_nothing(world, copy, capsys):
    gallery_command("add", *world.add, *video_flags(world.folder, 1), f"--gallery={copy}")
    assert f"{PERSONS} of {PERSONS} tracklets are in the gallery already" in capsys.readouterr().out
    assert Gallery.open(copy).count() == 4 * PERSONS


def test_a_data_set_and_a_features_file_are_added_too(world, tmp_path):
    arguments = [f"--gallery={tmp_path / 'people'}", f"--model={world.model}"]
    gallery_command("add", *arguments, *world.data)
    gallery_command("add", *arguments, f"--features={world.folder / 'f.npz'}", f"--root={world.folder / 'data'}")
    gallery = Gallery.open(tmp_path / "people")
    assert gallery.count() == 2 * 5 * PERSONS
    entries = [entry for _, entry in gallery.entries()]
    for of_data, of_features in zip(entries[: 5 * PERSONS], entries[5 * PERSONS :], strict=True):
        assert of_data == replace(
            of_features, source=of_data.source, quality=of_data.quality, keypoints=of_data.keypoints
        )
    ids, vectors = gallery._store.vectors(Where())
    np.testing.assert_allclose(vectors[: len(ids) // 2], vectors[len(ids) // 2 :], rtol=1e-4, atol=1e-5)
    assert (status(gallery_command_main, ["add", *arguments, *world.data])) == 0
    assert gallery.count() == 2 * 5 * PERSONS


def test_features_of_whole_tracklets_are_those_of_embed(world, tmp_path):
    arguments, clips = [f"--gallery={tmp_path / 'people'}", f"--model={world.model}"], "--config.evaluation.clips=full"
    embed.main([f"--model={world.model}", *world.data, clips, f"--out={tmp_path / 'f.npz'}"])
    for inputs in (world.data, [f"--features={tmp_path / 'f.npz'}"]):
        gallery_command("add", *arguments, *inputs, clips)
    gallery = Gallery.open(tmp_path / "people")
    assert gallery.count() == 2 * 5 * PERSONS
    _, vectors = gallery._store.vectors(Where())
    np.testing.assert_allclose(vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :], rtol=1e-4, atol=1e-5)


def test_shared_additions_are_those_of_one_worker(world, tmp_path):
    arguments = [f"--model={world.model}", f"--features={world.folder / 'f.npz'}"]
    gallery_command("add", f"--gallery={tmp_path / 'one'}", *arguments)
    gallery_command("add", f"--gallery={tmp_path / 'many'}", *arguments, "--shared", "--save-every=4")
    found = [dict(Gallery.open(tmp_path / name).entries()) for name in ("one", "many")]
    assert {e.tracklet: e for e in found[0].values()} == {e.tracklet: e for e in found[1].values()}
    assert len(found[0]) == 5 * PERSONS


def gallery_command_main(arguments):
    return gallery_command(*arguments)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.images = [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            assert {name for name, _ in attrs} == {"alt", "src"}
            self.images.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.text += data


def test_a_page_shows_ranked_strips_with_verdicts_and_loads_nothing(world, copy, tmp_path, capsys):
    model = Path(shutil.copytree(world.model, tmp_path / "model"))
    calibrate.main([f"--model={model}", f"--features={world.folder / 'f.npz'}", "--resamples=20"])
    name = "<script>alert(1)<img src=x onerror=alert(2)>&'\""
    walks = tmp_path / "walks"
    shutil.copytree(next((world.folder / "data" / "query").iterdir()), walks / name)
    frames = sorted(path.relative_to(walks).as_posix() for path in walks.rglob("*.jpg"))
    np.savez(tmp_path / "p.npz", names=frames, keypoints=np.full((len(frames), 14, 3), 0.5), units="shares")
    search = [f"--gallery={copy}", f"--model={model}", f"--root={walks}", f"--keypoints={tmp_path / 'p.npz'}"]
    page, out = tmp_path / "found.html", tmp_path / "found.json"
    gallery_command("search", *search, "-k", 4, f"--html={page}", f"--out={out}", "--not-camera=3", "--fpr=0.1")
    printed = capsys.readouterr().out
    assert "could not be read" not in printed
    (found,) = json.loads(out.read_text())["queries"]
    threshold = json.loads(out.read_text())["verdict"]["threshold"]
    assert [m["same"] for m in found["matches"]] == [m["distance"] <= threshold for m in found["matches"]]
    assert all(m["entry"]["camera_id"] != 3 for m in found["matches"])
    text = page.read_text()
    parsed = Page()
    parsed.feed(text)
    assert "script" not in parsed.tags
    assert name in parsed.text
    assert not re.search(r"https?:|src=\"(?!data:)|url\(|<link", text)
    shown = [found["query"], *(m["entry"] for m in found["matches"])]
    assert len(parsed.images) == sum(len(entry["frames"]) for entry in shown)
    for source in parsed.images:
        data = np.frombuffer(base64.b64decode(source.removeprefix("data:image/jpeg;base64,")), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape[0] == 96
    distances = [float(number) for number in re.findall(r"distance ([0-9.]+)", parsed.text)[-4:]]
    assert distances == sorted(distances)


def test_removal_erases_entries_and_crops_of_a_person(world, copy, capsys):
    person = next(entry.person_id for _, entry in Gallery.open(copy).entries())
    mine = list(copy.glob(f"crops/*/gallery/{person}/*/0001/*.jpg"))
    others = [path for path in copy.rglob("*.jpg") if path not in mine]
    assert mine
    gallery_command("remove", f"--gallery={copy}", f"--person={person}")
    assert "removed 4 entries" in capsys.readouterr().out
    assert not any(path.exists() for path in mine)
    assert all(path.exists() for path in others)
    assert Gallery.open(copy).count(Where(persons=[person])) == 0
    gallery_command("compact", f"--gallery={copy}")
    gallery_command("add", *world.add, *video_flags(world.folder, 1), f"--gallery={copy}")
    assert Gallery.open(copy).count() == 4 * (PERSONS - 1)


def test_an_entry_searches_for_the_others(world, tmp_path, capsys):
    out = tmp_path / "found.json"
    gallery_command("search", *world.search, "--entry=5", "-k", 3, f"--out={out}", "--by=1,0.25")
    (found,) = json.loads(out.read_text())["queries"]
    assert [m["rank"] for m in found["matches"]] == [1, 2, 3]
    assert 5 not in [m["id"] for m in found["matches"]]
    assert "rank  distance" in capsys.readouterr().out


def test_wrong_input_is_one_sentence(world, tmp_path, capsys):
    add, search, features = ["add", *world.add], ["search", *world.search], f"--features={world.folder / 'f.npz'}"
    other = write_model(tmp_path / "other", "--config.model.pose_features=8")
    for arguments, problem in [
        (["enrol"], "enrol"),
        ([*add, "--video=x.mp4"], "--tracks"),
        ([*add, "--video=x.mp4", f"--tracks={world.folder}/cam1.txt", "--camera=1"], "x.mp4"),
        ([*search, "--entry=999"], "no entry 999"),
        ([*search, features, "--tracklet=nobody"], "names 0 tracklets"),
        ([*search, features, "--tracklet=²"], "names 0 tracklets"),
        ([*search, features, "--by=gait"], "gait"),
        ([*search, features, "--by=1,x"], "two weights"),
        ([*search, features, "--fpr=0.001"], "calibrate"),
        ([*search, features, "--after=yesterday"], "yesterday"),
        ([*search, features, "--html=page.txt"], ".html"),
        (["search", f"--gallery={world.folder / 'people'}", f"--model={other}", "--entry=1"], "another model"),
        (["add", f"--gallery={tmp_path / 'new'}", f"--model={other}", features], "other weights"),
        (["search", f"--gallery={tmp_path / 'none'}", f"--model={world.model}", "--entry=1"], "no gallery"),
        (["remove", f"--gallery={world.folder / 'people'}"], "condition"),
        (["remove", f"--gallery={tmp_path / 'none'}", "--id=1"], "no gallery"),
        (["info", f"--gallery={world.folder / 'people'}", f"--model={other}"], "belongs to"),
    ]:
        assert problem in fails(gallery_command_main, arguments, capsys)
    assert Gallery.open(world.folder / "people").count() == 4 * PERSONS
    assert not (tmp_path / "none").exists()
    assert read_features(world.folder / "f.npz").model in json.dumps(Gallery.open(world.folder / "people").binding)


def test_keypoints_of_a_video_are_detected_and_then_not_kept(world, tmp_path):
    weights = onnx_model.write(tmp_path / "pose.onnx")
    people = tmp_path / "people"
    video = [f"--video={world.folder}/cam1.mp4", f"--tracks={world.folder}/cam1.txt", "--camera=1", "--source=hall"]
    detector = ["--detector=rtmpose", f"--detector-weights={weights}"]
    gallery_command("add", f"--gallery={people}", f"--model={world.model}", *video, *detector)
    entries = [entry for _, entry in Gallery.open(people).entries(Where(sources=["hall"]))]
    assert len(entries) == PERSONS
    assert {(entry.person_id, entry.start) for entry in entries} == {(-2, None)}
    assert all(entry.quality is not None for entry in entries)
    assert [path.suffix for path in (people / "crops").iterdir()] == [""]
