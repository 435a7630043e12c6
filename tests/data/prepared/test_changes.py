"""A preparation that is resumed or rerun with a data set that has changed: old and new are never mixed."""

import os
import shutil

import cv2
import numpy as np
import pytest

from rgcn_jax.data import prepare
from rgcn_jax.data.datasets import mars
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
    """Inode and time of each finished shard, by its name without the key."""
    paths = folder.glob("[!.]*.array_record*")
    key = folder.name.endswith(".partial")
    return {p.stem if key else p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}


def again(root, tmp_path):
    return preparing.run_here(root, f"--out={tmp_path / 'out'}", SHARDS)


def from_the_beginning(root, tmp_path):
    assert preparing.run_here(root, f"--out={tmp_path / 'anew'}", SHARDS) == 0
    return preparing.contents(tmp_path / "anew" / "mars_pose" / "1.0.0")


def blacken(path):
    """Another image."""
    assert cv2.imwrite(str(path), np.zeros((256, 128, 3), np.uint8))


def test_shards_of_changed_images_are_written_again(root, half, tmp_path, capsys):
    first, *_, last = mars.load(root).train[0].frames
    written = shards(half)
    blacken(root / first)
    # Another image with the size of the old one is seen by its time.
    contents = bytearray((root / last).read_bytes())
    contents[-40:-2] = bytes(38)
    (root / last).write_bytes(contents)
    capsys.readouterr()
    assert again(root, tmp_path) == 0
    assert "remark: 1 finished shards are not used" in capsys.readouterr().out
    final = half.with_name("1.0.0")
    assert len(shards(final).items() & written.items()) == 2
    assert preparing.contents(final) == from_the_beginning(root, tmp_path)


def test_a_data_set_that_was_copied_is_prepared_to_the_same_bytes(root, half, tmp_path):
    before = shards(half)
    for path in root.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert again(root, tmp_path) == 0
    assert not shards(half.with_name("1.0.0")).items() & before.items()
    assert preparing.contents(half.with_name("1.0.0")) == from_the_beginning(root, tmp_path)


def test_shards_of_other_settings_wait_until_these_are_finished(root, half, tmp_path):
    written = {path.name for path in half.glob("*.array_record*")}
    other = ["--height=64", "--width=32"]
    assert preparing.run_here(root, f"--out={tmp_path / 'out'}", SHARDS, *other, finish=1) == 130
    assert len({path.name for path in half.glob("*.array_record*")} - written) == 1
    assert {path.name for path in half.glob("*.array_record*")} > written
    inodes = shards(half)
    assert again(root, tmp_path) == 0
    assert len(shards(half.with_name("1.0.0")).items() & inodes.items()) >= 2
    assert preparing.contents(half.with_name("1.0.0")) == from_the_beginning(root, tmp_path)


def test_a_finished_preparation_of_something_else_is_refused(root, tmp_path, capsys):
    assert again(root, tmp_path) == 0
    before = preparing.contents(tmp_path / "out" / "mars_pose" / "1.0.0")
    line = ["--dataset=mars", f"--root={root}", f"--out={tmp_path / 'out'}", SHARDS, "--height=64"]
    assert status(prepare.main, line) == 2
    assert "was prepared from something else" in capsys.readouterr().err
    blacken(root / mars.load(root).gallery[0].frames[1])
    assert again(root, tmp_path) == 2
    assert "was prepared from something else" in capsys.readouterr().err
    assert preparing.contents(tmp_path / "out" / "mars_pose" / "1.0.0") == before


def test_an_added_frame(root, half, tmp_path):
    """The last tracklet of the training set is one frame longer: its shard, and none before it, is another."""
    from scipy.io import loadmat, savemat

    written = shards(half)
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
    assert again(root, tmp_path) == 0
    assert len(shards(half.with_name("1.0.0")).items() & written.items()) >= 2
    assert preparing.contents(half.with_name("1.0.0")) == from_the_beginning(root, tmp_path)


def test_changed_keypoints(root, half, tmp_path):
    frame = mars.load(root).train[0].frames[2]
    file = root / "openpose" / frame
    file.with_name(f"{file.stem}_keypoints.json").write_text('{"people": []}')
    written = shards(half)
    assert again(root, tmp_path) == 0
    assert len(shards(half.with_name("1.0.0")).items() & written.items()) == 2
    assert preparing.contents(half.with_name("1.0.0")) == from_the_beginning(root, tmp_path)
