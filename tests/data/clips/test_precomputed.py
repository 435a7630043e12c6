"""Appearance features of one's own in place of frames: read whole or refused, and trained beside."""

import json
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax import evaluate, main
from rgcn_jax.data.clips import precomputed
from rgcn_jax.errors import InputError
from rgcn_jax.types import Tracklet
from tests import mars_folder

TRACKLETS = [Tracklet((f"a/{i}_0.jpg", f"a/{i}_1.jpg"), 1 + i // 2, 1 + i % 2) for i in range(4)]


def write(path, **changes):
    arrays = {
        "first_frames": np.array([t.frames[0] for t in TRACKLETS[::-1]]),
        "appearance": np.arange(12, dtype=np.float32).reshape(4, 3),
        "anything": np.zeros(1),
    } | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_every_tracklet_gets_its_row(tmp_path):
    table = precomputed.load(write(tmp_path / "f.npz"), TRACKLETS[:3])
    np.testing.assert_array_equal(table.of([TRACKLETS[0], TRACKLETS[2]]), [[9, 10, 11], [3, 4, 5]])
    assert table.values.shape == (3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"appearance": None}, "expected the arrays first_frames .* found first_frames, anything"),
        ({"appearance": np.zeros((4, 3), np.int32)}, r"appearance \[4, 3\] of int32"),
        ({"appearance": np.zeros((3, 3), np.float32)}, r"first_frames \[4\] .* appearance \[3, 3\]"),
        ({"appearance": np.full((4, 3), np.nan, np.float32)}, "not finite, such as that of a/0_0.jpg"),
        ({"first_frames": np.array(["a/0_0.jpg"] * 4)}, "3 first frames occur twice"),
        ({"first_frames": np.array(list("abcd"))}, "no features for 4 of the 4 tracklets, such as that of a/0_0"),
        ({"appearance": np.array([[{}]] * 4, object)}, "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        precomputed.load(write(tmp_path / "f.npz", **changes), TRACKLETS)


def test_a_missing_or_cut_off_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read .*data.features"):
        precomputed.load(tmp_path / "none.npz", TRACKLETS)
    path = write(tmp_path / "f.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot be read"):
        precomputed.load(path, TRACKLETS)


@pytest.mark.jit
@pytest.mark.slow
def test_the_features_of_one_run_are_the_appearance_of_the_next(tmp_path, monkeypatch):
    """Train appearance alone, save its features, train a pose branch beside them: the appearance row stays."""
    monkeypatch.chdir(Path(__file__).parents[3])
    root = mars_folder.write(tmp_path / "MARS")
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "f.npz"
    main.main([*mars_folder.arguments(root, "--config.model.pose=none"), f"--workdir={first}"])
    evaluate.main([f"--workdir={first}", f"--features={file}", "--with-train"])
    from_file = ("--config.model.appearance=precomputed", f"--config.data.features={file}", "--config.model.pose=LGCN")
    main.main([*mars_folder.arguments(root, *from_file), f"--workdir={second}"])
    before, after = (json.loads((d / "results.json").read_text()) for d in (first, second))
    assert after["appearance"] == before["appearance"]
    assert set(after["fused"]) == {"mAP", "rank1", "rank5", "rank10", "rank20"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.model.appearance=precomputed"], "data.features is empty"),
        (
            [
                "--config.model.appearance=precomputed",
                "--config.data.features=f.npz",
                "--config.model.pretrained=w.pth",
            ],
            "model.pretrained is 'w.pth'",
        ),
        (["--config.data.features=f.npz"], "data.features is f.npz, but model.appearance is AP"),
    ],
)
def test_features_without_their_model_and_the_reverse_are_refused(overrides, message, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    with pytest.raises(InputError, match=message):
        main.main(["--config=configs/walkers.py", "--workdir=never-made", *overrides])
