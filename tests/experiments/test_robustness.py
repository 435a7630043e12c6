"""Robustness: corruptions beside loops by hand, level 0 beside the evaluation, and the command."""

import csv
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rgcn_jax import robustness as command
from rgcn_jax.data.clips.augment import ERASED_RGB
from rgcn_jax.data.clips.sampling import evaluation_plans
from rgcn_jax.data.keypoints.store import save
from rgcn_jax.embedder import load
from rgcn_jax.evaluation.protocol import test_tracklets
from rgcn_jax.evaluation.scorer import Scorer
from rgcn_jax.experiments.corrupted_reader import corrupted_reader, shortened
from rgcn_jax.experiments.corruptions import CORRUPTIONS, disturb, disturbed_keypoints, occluded_frames
from rgcn_jax.experiments.robustness import ROBUSTNESS_FILE
from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.training.run import open_process_data
from rgcn_jax.training.train import train
from rgcn_jax.types import Tracklet, unique_frames
from tests.commands import fails, status
from tests.test_whole_run import config  # noqa: F401 (a fixture)

ASPECT = 0.5
LONG = Tracklet(tuple(f"p/{i:04}.jpg" for i in range(2000)), 1, 1)


def keypoints(frames, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    found = rng.uniform(0.2, 0.8, (frames, 14, 3)).astype(np.float32)
    found[rng.random((frames, 14)) < missing] = 0
    return found


def corrupt(name, level, points, tracklet=LONG, seed=0):
    return disturbed_keypoints(points, disturb(name, level, tracklet, seed), np.arange(len(points)), ASPECT)


def test_dropout_misses_its_share_and_what_a_lower_level_misses():
    points = keypoints(2000)
    before = points[..., 2] > 0
    detected = {level: corrupt("joint_dropout", level, points)[..., 2] > 0 for level in (0.0, 0.1, 0.5)}
    np.testing.assert_array_equal(corrupt("joint_dropout", 0.0, points), points)
    for level, left in detected.items():
        assert left.sum() / before.sum() == pytest.approx(1 - level, abs=0.01)
        assert not (left & ~before).any()
    assert not (detected[0.5] & ~detected[0.1]).any()
    dropped = corrupt("joint_dropout", 0.5, points)
    assert not dropped[~detected[0.5]].any()
    np.testing.assert_array_equal(dropped[detected[0.5]], points[detected[0.5]])


def test_jitter_is_a_share_of_the_torso_in_pixels_of_either_axis():
    points = np.full((2000, 14, 3), (0.5, 0.5, 0.9), np.float32)
    points[:, 1, 1] = 0.3  # the neck is 0.2 crop heights above the hips
    moved = (corrupt("jitter", 0.08, points) - points)[..., :2] * (ASPECT, 1)
    np.testing.assert_allclose(moved.std(axis=(0, 1)), 0.08 * 0.2, rtol=0.02)
    np.testing.assert_allclose(moved.mean(axis=(0, 1)), 0, atol=0.001)
    small = (corrupt("jitter", 0.02, points) - points)[..., :2] * (ASPECT, 1)
    np.testing.assert_allclose(4 * small, moved, atol=1e-5)


def test_swaps_exchange_left_and_right_of_whole_frames():
    points = keypoints(2000)
    swapped = corrupt("swaps", 0.25, points)
    count = 0
    for before, after in zip(points, swapped, strict=True):
        if np.array_equal(before, after):
            continue
        count += 1
        for i, name in enumerate(KEYPOINTS):
            side = {"right": "left", "left": "right"}.get(name.split("_")[0])
            other = KEYPOINTS.index(f"{side}_{name.split('_')[1]}") if side else i
            np.testing.assert_array_equal(after[i], before[other])
    assert count / 2000 == pytest.approx(0.25, abs=0.03)


def test_a_missing_span_is_one_run_of_frames():
    points = keypoints(2000, missing=0)
    for level in CORRUPTIONS["missing_span"].levels:
        gone = np.flatnonzero(~corrupt("missing_span", level, points)[..., 2].any(axis=1))
        assert len(gone) == round(2000 * level)
        assert gone[-1] - gone[0] == len(gone) - 1


def test_occlusion_covers_pixels_and_the_keypoints_under_them():
    frames = np.zeros((2, 40, 20, 3), np.uint8)
    points = keypoints(2, missing=0)
    boxes = []
    for level in (0.1, 0.3, 0.5):
        found = disturb("occlusion", level, LONG, 3)
        boxes.append(found.box)
        painted = occluded_frames(frames, found.box)
        covered = (painted == ERASED_RGB).all(axis=-1)
        assert covered[0].mean() == pytest.approx(level, abs=0.07)
        left, top, right, bottom = found.box
        shown = disturbed_keypoints(points, found, np.arange(2), ASPECT)
        for t in range(2):
            for v in range(14):
                x, y = points[t, v, :2]
                hidden = left <= x < right and top <= y < bottom
                assert (shown[t, v, 2] == 0) == hidden
    for small, large in pairwise(boxes):
        assert (large[:2] <= small[:2]).all()
        assert (large[2:] >= small[2:]).all()


def test_draws_differ_between_tracklets_and_seeds_only():
    other = Tracklet(("q/1.jpg", *LONG.frames[1:]), 1, 1)
    draws = [disturb("joint_dropout", 0.3, *given).missed for given in ((LONG, 0), (LONG, 0), (LONG, 1), (other, 0))]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    assert (draws[0] != draws[3]).any()


def test_fewer_frames_and_frame_rate_read_the_frames_that_are_left():
    tracklets = [Tracklet(tuple(f"{p}/{i}.jpg" for i in range(n)), p, 1) for p, n in ((1, 9), (2, 3))]

    def read(plans: Any) -> Any:  # the positions that are asked for, as frames
        for plan in plans:
            assert set(plan.tracklets) <= set(tracklets)
            shape = (*plan.frames.shape, 1, 1, 3)
            points = np.zeros((*plan.frames.shape, 14, 3), np.float32)
            yield {"frames": np.broadcast_to(plan.frames[..., None, None, None], shape), "keypoints": points}

    def positions(name, level):
        found = {t: disturb(name, level, t, 0) for t in tracklets}
        left = [shortened(*pair) for pair in found.items()]
        plans = list(evaluation_plans(left, clips="dense", frames_per_clip=4, clips_per_batch=8))
        (batch,) = corrupted_reader(read, found, ASPECT)(plans)
        mask = plans[0].frame_mask
        clips = [(i, batch["frames"][row, mask[row], 0, 0, 0].tolist()) for row, i in enumerate(plans[0].index)]
        return [clip for i, clip in clips if i >= 0]

    assert positions("fewer_frames", 5) == [[2, 3, 4, 5], [6], [0, 1, 2]]
    assert positions("fewer_frames", 1) == [[4], [1]]
    assert positions("frame_rate", 4) == [[0, 4, 8], [0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run(config, folder):  # noqa: F811
    """Trained once."""
    path = folder / "run"
    if not path.exists():
        path.mkdir()
        train(replace(config, num_steps=2, eval_every_epochs=0), path)
    return path


@pytest.mark.slow
@pytest.mark.jit
def test_the_command_measures_every_level_and_resumes(run, tmp_path, capsys):
    flags = [f"--model={run}", "--corruptions=joint_dropout,occlusion"]
    assert status(command.main, flags) == 0
    found = json.loads((run / ROBUSTNESS_FILE).read_text())
    embedder = load(run)
    data = open_process_data(embedder.config)
    expected = Scorer(embedder.config, embedder.model, data, embedder.mesh).evaluate(embedder.variables, 2)
    measured = {name: {at["level"]: at["rows"] for at in c["points"]} for name, c in found["curves"].items()}
    for name, levels in measured.items():
        assert set(levels) == {0.0, *CORRUPTIONS[name].levels}
        assert levels[0.0] == json.loads(json.dumps(expected.to_dict()["metrics"]["official"]))
    for level in CORRUPTIONS["joint_dropout"].levels:  # f_a never saw a keypoint
        assert measured["joint_dropout"][level]["appearance"] == measured["joint_dropout"][0.0]["appearance"]

    with (run / "robustness.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 12 * 3 * 6
    one = next(x for x in lines if (x["corruption"], x["level"], x["row"]) == ("occlusion", "0.5", "fused"))
    assert float(one["value"]) == measured["occlusion"][0.5]["fused"]["mAP"]

    before = found["curves"]["occlusion"]["points"].pop()
    found["curves"]["joint_dropout"]["points"][1]["rows"]["pose"]["mAP"] = 77.0  # kept, not measured again
    (run / ROBUSTNESS_FILE).write_text(json.dumps(found))
    assert status(command.main, flags) == 0
    again = json.loads((run / ROBUSTNESS_FILE).read_text())["curves"]
    assert again["joint_dropout"]["points"][1]["rows"]["pose"]["mAP"] == 77.0
    assert again["occlusion"]["points"][-1] == before


@pytest.mark.slow
@pytest.mark.jit
def test_keypoints_of_another_detector(run, tmp_path, capsys):
    """The same keypoints from a file change nothing; others do."""
    embedder = load(run)
    data = open_process_data(embedder.config)
    tracklets, _ = test_tracklets(data.split)
    assert data.keypoints is not None
    height, width = embedder.config.frame_size
    points = np.concatenate([data.keypoints.of(t) for t in tracklets]) * np.array([width, height, 1], np.float32)
    noise = np.random.default_rng(0).uniform(0, 4, (*points.shape[:2], 2)) * (points[..., 2:] > 0)
    other = np.concatenate([points[..., :2] + noise, points[..., 2:]], axis=2).astype(np.float32)
    rows = []
    for name, keypoints in (("same", points), ("other", np.minimum(other, (width, height, 1)).astype(np.float32))):
        save(tmp_path / f"{name}.npz", unique_frames(tracklets), keypoints)
        out = tmp_path / f"{name}.json"
        flags = ["--corruptions=swaps", f"--other-keypoints={tmp_path / name}.npz", f"--out={out}"]
        assert status(command.main, [f"--model={run}", *flags]) == 0
        first, second = json.loads(out.read_text())["curves"]["other_keypoints"]["points"]
        assert (first["level"], second["level"]) == (0.0, None)
        assert first["rows"]["appearance"] == second["rows"]["appearance"]
        rows.append((first["rows"]["pose"], second["rows"]["pose"]))
    assert rows[0][0]["mAP"] == pytest.approx(rows[0][1]["mAP"], abs=1e-6)
    assert rows[1][0]["mAP"] != rows[1][1]["mAP"]


def test_arguments_that_are_wrong(tmp_path, capsys):
    assert "unknown corruption" in fails(command.main, ["--model=x", "--corruptions=rain"], capsys)
    assert ".json" in fails(command.main, ["--model=x", f"--out={tmp_path / 'a.txt'}"], capsys)
    assert str(tmp_path) in fails(command.main, [f"--model={tmp_path}"], capsys)
