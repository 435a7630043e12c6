"""``--check``: all that is wrong with a data set is reported in one go, and nothing is written."""

import os
import re
import shutil

import cv2
import numpy as np
import pytest

from rgcn_jax.data.datasets import mars
from rgcn_jax.data.prepared.source import read_splits
from rgcn_jax.types import unique_frames
from tests.commands import next_command
from tests.data.prepared import preparing


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return preparing.write(tmp_path_factory.mktemp("faults") / "MARS")


@pytest.mark.slow
def test_a_check_lists_all_that_is_wrong_and_writes_nothing(whole, tmp_path):
    root = tmp_path / "MARS"
    shutil.copytree(whole, root)
    expected = preparing.spoil(root)
    split = mars.load(root)
    absent = root / "openpose" / split.query[0].frames[0]
    absent.with_name(f"{absent.stem}_keypoints.json").unlink()
    nobody = absent.with_name("nobody_keypoints.json")
    nobody.write_text('{"people": []}')
    before = sorted(root.rglob("*"))
    report = tmp_path / "report.txt"
    process = preparing.run(root, "--check", f"--report={report}")
    assert process.returncode == 1
    assert process.stderr == ""
    problems = [line for line in process.stdout.splitlines() if line.startswith("problem: ")]
    assert problems[:5] == [f"problem: {sentence}" for sentence in expected]
    assert len(problems) == 6
    assert absent.stem in problems[5]
    assert "tracklets of train have fewer than 10 frames" in process.stdout
    assert process.stdout.splitlines()[-1].startswith("not usable: mars, ")
    assert sorted(root.rglob("*")) == before
    reported = report.read_text()
    assert reported.startswith("".join(f"problem: {sentence}\n" for sentence in expected))
    assert f"{problems[5]}\n  {split.query[0].frames[0]} has no keypoints\n" in reported
    assert f"are keypoints of no frame of the data set: {nobody.relative_to(root / 'openpose')}\n" in process.stdout
    assert f"\n  {nobody.relative_to(root / 'openpose')}\n" in reported


def test_a_check_decodes_the_images_of_what_cannot_be_listed_too(whole, tmp_path, capsys):
    """A frame that its list names is missing, a file is in the way, images are damaged, one of them of no list."""
    root = tmp_path / "MARS"
    shutil.copytree(whole, root)
    expected = preparing.spoil(root)
    gone = root / mars.load(root).query[0].frames[0]
    gone.unlink()
    (gone.parent / "stray.jpg").write_bytes(b"")
    os.mkfifo(gone.parent / "pipe.jpg")
    report = tmp_path / "report.txt"
    assert preparing.run_here(root, "--check", f"--report={report}") == 1
    out = capsys.readouterr().out.splitlines()
    problems = [line.removeprefix("problem: ") for line in out if line.startswith("problem: ")]
    assert "pipe.jpg is a pipe" in problems[0] or gone.name in problems[0]
    assert {*expected, f"{gone.parent / 'stray.jpg'} is empty"} < set(problems)
    assert re.fullmatch(rf"not usable: .* the \d+ images below {root} were; \d+ problems, 0 remarks; next: .*", out[-1])
    assert "is a pipe, a socket or a device" in report.read_text()


def test_a_check_reads_the_keypoints_that_are_there(whole, tmp_path, capsys):
    root = tmp_path / "MARS"
    shutil.copytree(whole, root)
    missing, damaged = (root / "openpose" / mars.load(root).train[0].frames[i] for i in (0, 1))
    missing.with_name(f"{missing.stem}_keypoints.json").unlink()
    damaged.with_name(f"{damaged.stem}_keypoints.json").write_text("[")
    assert preparing.run_here(root, "--check") == 1
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 2
    assert problems[0].startswith("problem: Keypoints are missing for 1 of the ")
    assert "1 keypoint files in " in problems[1]
    assert f"{damaged.stem}_keypoints.json is not JSON or is cut off" in problems[1]


@pytest.mark.parametrize("layout", ["mars", "folder"])
def test_a_check_tells_of_keypoints_where_sizes_of_images_cannot_be_read(layout, tmp_path, capsys):
    root = preparing.write(tmp_path / "set", layout)
    source = read_splits(layout, root)
    first, second, third = source.tracklets[:3]
    (root / first.frames[0]).write_bytes(b"")
    (root / second.frames[1]).write_bytes(b"<html>")
    frames = unique_frames(source.tracklets)
    points = np.full((len(frames), 14, 3), 30.0)
    points[frames.index(third.frames[0])] = np.nan
    np.savez(tmp_path / "k.npz", names=np.array(frames), keypoints=points)
    assert preparing.run_here(root, "--check", dataset=layout, keypoints=tmp_path / "k.npz") == 1
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 3
    assert problems[0] == f"problem: {root / first.frames[0]} is empty"
    assert problems[1].startswith(f"problem: {root / second.frames[1]} is truncated")
    assert f"the first is {third.frames[0]}" in problems[2]


def test_a_check_tells_of_sizes_that_keypoints_cannot_be_of(whole, tmp_path, capsys):
    root = tmp_path / "MARS"
    shutil.copytree(whole, root)
    tracklets = mars.load(root).train[:2]
    for tracklet in tracklets:
        cv2.imwrite(str(root / tracklet.frames[0]), np.zeros((128, 64, 3), np.uint8))
    assert preparing.run_here(root, "--check") == 1
    out = capsys.readouterr().out
    assert "problem: 2 tracklets have frames of another size than 256 x 128" in out
    assert f"{tracklets[1].frames[0]} (128 x 64)" in out
    assert "; 1 problems, " in out


def test_a_check_lists_what_is_wrong_with_folders_once(tmp_path, capsys):
    root = preparing.write(tmp_path / "set", "folder")
    for i in range(6):
        (root / "train" / f"a\n{i}").mkdir()
    report = tmp_path / "report.txt"
    assert preparing.run_here(root, "--check", f"--report={report}", dataset="folder") == 1
    assert all(report.read_text().count(f"'a\\n{i}'") == 1 + (i < 3) for i in range(6))  # three are in a sentence, too


def test_a_check_of_what_is_whole_says_usable_and_what_is_odd(tmp_path, capsys):
    root = preparing.write(tmp_path / "MARS")
    split = mars.load(root)
    extra = root / "openpose" / split.train[0].frames[0]
    extra.with_name("nobody_keypoints.json").write_text('{"people": []}')
    flags = ["--units=pixels", "--follow-links"]
    assert preparing.run_here(root, "--check", "--frames_per_clip=4", *flags) == 0
    out = capsys.readouterr().out
    assert {"prepare", f"--root={root}", f"--keypoints={root / 'openpose'}", *flags} < {*next_command(out)}
    assert "1 entries of" in out
    assert "are keypoints of no frame" in out
    short = sum(len(t.frames) < 4 for t in split.train)
    assert (f"{short} of the {len(split.train)} tracklets of train" in out) == (short > 0)
    assert "\nusable: mars, " in out


def test_a_check_shows_the_first_of_many_and_reports_every_one(tmp_path, capsys):
    root = preparing.write(tmp_path / "MARS")
    split = mars.load(root)
    # The first frames stay: their sizes decide whether keypoints are pixels of the crops.
    frames = [frame for tracklet in split.train for frame in tracklet.frames[1:]]
    for frame in frames:
        (root / frame).write_bytes(b"")
        absent = root / "openpose" / frame
        absent.with_name(f"{absent.stem}_keypoints.json").unlink()
    assert preparing.run_here(root, "--check") == 1
    out = capsys.readouterr().out
    assert out.count("problem: ") == 20
    assert "--report=FILE writes all names to a file.\nnot usable: mars, " in out
    report = tmp_path / "report.txt"
    assert preparing.run_here(root, "--check", f"--report={report}") == 1
    lines = report.read_text().splitlines()
    assert [line for line in lines if line.startswith("problem: ") and line.endswith(" is empty")] == [
        f"problem: {root / frame} is empty" for frame in frames
    ]
    assert {line for line in lines if line.endswith(" has no keypoints")} == {
        f"  {frame} has no keypoints" for frame in frames
    }
    assert preparing.run_here(root, "--check", f"--report={tmp_path / 'nowhere' / 'report.txt'}") == 2
    assert "nowhere/report.txt cannot be written (No such file or directory): choose" in capsys.readouterr().err
