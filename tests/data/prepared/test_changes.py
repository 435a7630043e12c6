"""A preparation that goes on, or is given again, with a data set that has changed: old and new are never mixed."""

import os
import shutil

import cv2
import numpy as np
import pytest

from rgcn_jax.data import prepare
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.prepared.fingerprints import path_of
from tests.commands import status
from tests.data.prepared import preparing

SHARDS = "--frames_per_shard=12"


@pytest.fixture(scope="module")
def walkers(tmp_path_factory):
    return preparing.write(tmp_path_factory.mktemp("changes") / "MARS")


@pytest.fixture
def root(walkers, tmp_path):
    shutil.copytree(walkers, tmp_path / "MARS")
    return tmp_path / "MARS"


@pytest.fixture
def half(root, tmp_path):
    """Three shards are finished."""
    assert preparing.run_here(root, f"--out={tmp_path / 'out'}", SHARDS, finish=3) == 130
    partial = tmp_path / "out" / "mars_pose" / "1.0.0.partial"
    assert len(shards(partial)) == 3
    return partial


def shards(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.array_record*")}


def again(root, tmp_path):
    return preparing.run_here(root, f"--out={tmp_path / 'out'}", SHARDS)


def from_the_beginning(root, tmp_path):
    assert preparing.run_here(root, f"--out={tmp_path / 'anew'}", SHARDS) == 0
    return preparing.contents(tmp_path / "anew" / "mars_pose" / "1.0.0")


def blacken(path):
    """Another picture."""
    assert cv2.imwrite(str(path), np.zeros((256, 128, 3), np.uint8))


def test_shards_of_changed_images_are_written_again_and_the_images_named(root, half, tmp_path, capsys):
    first, *_, last = mars.load(root).train[0].frames
    written = shards(half)
    blacken(root / first)
    # Another picture with the size of the old one is seen by its time.
    contents = bytearray((root / last).read_bytes())
    contents[-40:-2] = bytes(38)
    (root / last).write_bytes(contents)
    capsys.readouterr()
    assert again(root, tmp_path) == 0
    told = (
        f"remark: 2 images have changed since their shards were written, and these are written again: {first}, {last}"
    )
    assert told in capsys.readouterr().out
    final = half.with_name("1.0.0")
    kept = shards(final).items() & written.items()
    assert len(kept) == 2
    assert preparing.contents(final) == from_the_beginning(root, tmp_path)


def test_a_data_set_that_was_only_copied_is_the_same(root, half, tmp_path, capsys):
    for path in root.rglob("*.jpg"):
        os.utime(path, (1, 1))
    written = shards(half)
    assert again(root, tmp_path) == 0
    assert shards(half.with_name("1.0.0")).items() >= written.items()
    assert again(root, tmp_path) == 0
    assert "have changed" not in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_a_shard_of_whose_images_nothing_is_known_is_written_again(root, half, tmp_path, spoil):
    written = shards(half)
    spoil(path_of(half / min(written)))
    assert again(root, tmp_path) == 0
    assert len(shards(half.with_name("1.0.0")).items() & written.items()) == 2


def test_a_finished_preparation_says_which_images_have_changed(root, tmp_path, capsys):
    assert again(root, tmp_path) == 0
    frame = mars.load(root).gallery[0].frames[1]
    blacken(root / frame)
    before = preparing.contents(tmp_path / "out" / "mars_pose" / "1.0.0")
    assert again(root, tmp_path) == 2
    assert f"prepared already, but 1 of its images have changed since: {frame}. To prepare" in capsys.readouterr().err
    assert preparing.contents(tmp_path / "out" / "mars_pose" / "1.0.0") == before


def test_an_added_frame_is_named(root, half, tmp_path, capsys):
    """The last tracklet of the training set is one frame longer."""
    from scipy.io import loadmat, savemat

    info = root / "info"
    rows = loadmat(info / "tracks_train_info.mat")["track_train_info"]
    last = mars.load(root).train[-1].frames[-1]
    new = f"{last[:-7]}{int(last[-7:-4]) + 1:03}.jpg"
    shutil.copy(root / last, root / new)
    keypoints = root / "openpose" / last
    shutil.copy(
        keypoints.with_name(f"{keypoints.stem}_keypoints.json"),
        keypoints.with_name(f"{(root / new).stem}_keypoints.json"),
    )
    names = (info / "train_name.txt").read_text().splitlines()
    names.insert(names.index(last.rpartition("/")[2]) + 1, new.rpartition("/")[2])
    (info / "train_name.txt").write_text("\n".join(names) + "\n")
    rows[np.argmax(rows[:, 1]), 1] += 1
    savemat(info / "tracks_train_info.mat", {"track_train_info": rows})
    assert again(root, tmp_path) == 2
    told = capsys.readouterr().err
    assert f"{half} was prepared from something else: 1 frames were added since: {new}. Give what" in told
    assert len(shards(half)) == 3


def test_changed_keypoints_are_named_by_their_frames(root, half, tmp_path, capsys):
    frame = mars.load(root).query[0].frames[2]
    file = root / "openpose" / frame
    file.with_name(f"{file.stem}_keypoints.json").write_text('{"people": []}')
    assert again(root, tmp_path) == 2
    assert f"from something else: the keypoints of 1 frames were others: {frame}. Give" in capsys.readouterr().err
    line = ["--dataset=mars", f"--root={root}", f"--out={tmp_path / 'out'}", SHARDS]
    assert status(prepare.main, line) == 2
    assert "it has keypoints, and now no --keypoints are given" in capsys.readouterr().err
