"""Preparing what is damaged, on a disk that is full, and killed again and again: nothing finished is lost, nothing
wrong is accepted, the message names the file.
"""

import base64
import os
import random
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgcn_jax.data import prepare
from rgcn_jax.data.datasets import custom, mars
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.keypoints.table import unique_frames
from rgcn_jax.data.load import open_data
from rgcn_jax.data.prepared.source import read_splits
from rgcn_jax.data.prepared.writer import Preparation
from rgcn_jax.errors import InputError
from tests.commands import status
from tests.data.prepared import preparing
from tests.kills import KILLS

SHARDS = "--frames_per_shard=12"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return preparing.write(tmp_path_factory.mktemp("faults") / "MARS")


@pytest.fixture(scope="module")
def uninterrupted(whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    assert preparing.run_here(whole, f"--out={out}", SHARDS) == 0
    return preparing.contents(out / "mars_pose" / "1.0.0")


def _spoil(root):
    """Five frames of the training set, each in another way; what is to be said of each."""
    frames = [t.frames[1] for t in mars.load(root).train[:5]]
    truncated, empty, text, gif, vast = (root / frame for frame in frames)
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    empty.write_bytes(b"")
    text.write_bytes(b"<html>404</html>")
    gif.write_bytes(base64.b64decode("R0lGODdhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="))
    jpeg = vast.read_bytes()
    size = jpeg.index(b"\xff\xc0") + 5
    vast.write_bytes(jpeg[:size] + b"\xff\xff\x00\x40" + jpeg[size + 4 :])
    return [
        f"{truncated} is truncated, or no JPEG or PNG image",
        f"{empty} is empty",
        f"{text} is truncated, or no JPEG or PNG image",
        f"{gif} is truncated, or no JPEG or PNG image",
        f"{vast} has 64 x 65,535 pixels: make it smaller, 8,192 are read at most",
    ]


def test_bad_frames_are_all_named_and_what_is_finished_is_kept(whole, uninterrupted, tmp_path, capsys):
    root, out = tmp_path / "MARS", tmp_path / "out"
    shutil.copytree(whole, root)
    expected = _spoil(root)
    process = preparing.run(root, f"--out={out}", SHARDS)
    assert process.returncode == 2
    assert "error: 5 frames cannot be used" in process.stderr
    assert "Traceback" not in process.stderr
    assert all(sentence in process.stderr for sentence in expected)
    assert [folder.name for folder in (out / "mars_pose").iterdir()] == ["1.0.0.partial"]
    with pytest.raises(InputError, match="is half prepared"):
        open_data("mars", root=str(out), keypoints="", height=256, width=128, walkers={}, with_pose=True)
    kept = {n: t for n, t in preparing.contents(out / "mars_pose" / "1.0.0.partial").items() if "array_record" in n}
    assert 0 < len(kept) < sum("array_record" in name for name in uninterrupted)
    assert all(uninterrupted[name] == contents for name, contents in kept.items())

    shutil.copytree(whole, root, dirs_exist_ok=True)  # restored
    assert preparing.run_here(root, f"--out={out}", SHARDS) == 0
    assert preparing.contents(out / "mars_pose" / "1.0.0") == uninterrupted
    assert preparing.run_here(root, f"--out={out}", SHARDS) == 0
    assert "is prepared already" in capsys.readouterr().out


def test_a_check_lists_all_that_is_wrong_and_writes_nothing(whole, tmp_path):
    root = tmp_path / "MARS"
    shutil.copytree(whole, root)
    expected = _spoil(root)
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
    told = report.read_text()
    assert told.startswith("".join(f"problem: {sentence}\n" for sentence in expected))
    assert f"{problems[5]}\n  {split.query[0].frames[0]} has no keypoints\n" in told
    assert f"are keypoints of no frame of the data set: {nobody.relative_to(root / 'openpose')}\n" in process.stdout
    assert f"\n  {nobody.relative_to(root / 'openpose')}\n" in told


def test_a_check_decodes_the_images_of_what_cannot_be_listed_too(whole, tmp_path, capsys):
    """A frame that its list names is gone, a file is in the way, images are damaged, one of them of no list."""
    root = tmp_path / "MARS"
    shutil.copytree(whole, root)
    expected = _spoil(root)
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
    assert re.fullmatch(rf"not usable: .* the \d+ images below {root} were; \d+ problems, 0 remarks\.", out[-1])
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
    source = read_splits(layout, root, {"mars": mars, "folder": custom}[layout].load, several=False)
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
    assert preparing.run_here(root, "--check", "--frames-per-clip=4") == 0
    out = capsys.readouterr().out
    assert "1 entries of" in out
    assert "are keypoints of no frame" in out
    short = sum(len(t.frames) < 4 for t in split.train)
    assert (f"{short} of the {len(split.train)} tracklets of train" in out) == (short > 0)
    assert "\nusable: mars, " in out


def test_a_check_shows_the_first_of_many_and_reports_every_one(tmp_path, capsys):
    root = preparing.write(tmp_path / "MARS")
    split = mars.load(root)
    # The first frames stay: by their sizes it is told whether keypoints are pixels of the crops.
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


def test_a_folder_that_is_no_data_set_is_told(tmp_path, capsys):
    assert status(prepare.main, ["--dataset=mars", f"--root={tmp_path}", "--check"]) == 1
    assert status(prepare.main, ["--dataset=mars", f"--root={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    told = capsys.readouterr()
    assert "problem: MARS is incomplete" in told.out
    assert "error: MARS is incomplete" in told.err
    assert not (tmp_path / "out").exists()


def test_another_preparation_in_the_same_folder_is_refused(whole, tmp_path, capsys):
    line = ["--dataset=mars", f"--root={whole}", f"--out={tmp_path}", "--workers=1"]
    source = read_splits("mars", whole, mars.load, several=False)
    with Preparation(tmp_path, source, None, 256, 128):
        assert status(prepare.main, line) == 2
        assert "is being prepared by another process" in capsys.readouterr().err
    assert status(prepare.main, [*line, "--height=64", "--width=32"]) == 2
    assert "was prepared from something else: height 256, not 64; width 128, not 32. Give" in capsys.readouterr().err


def test_a_full_disk_is_told_and_finished_shards_are_kept(whole, uninterrupted, tmp_path):
    """No file may grow beyond a limit, so that the shards of the longest tracklets do not fit."""
    sizes = sorted(len(data) for name, data in uninterrupted.items() if "array_record" in name)
    assert sizes[0] < sizes[-1]

    process = preparing.run(whole, f"--out={tmp_path}", SHARDS, blocks=(sizes[-1] - 1000) // 512)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    partial = tmp_path / "mars_pose" / "1.0.0.partial"
    assert f"no room left in {partial}" in process.stderr
    assert "GB are free on this disk" in process.stderr
    assert "are kept" in process.stderr
    finished = {name: data for name, data in preparing.contents(partial).items() if "array_record" in name}
    assert not any(name.startswith(".") for name in finished)
    assert all(uninterrupted[name] == data for name, data in finished.items())
    assert preparing.run_here(whole, f"--out={tmp_path}", SHARDS) == 0
    assert preparing.contents(tmp_path / "mars_pose" / "1.0.0") == uninterrupted


def test_a_root_and_a_size_that_cannot_be_are_told(tmp_path, capsys):
    for option in ("root", "keypoints", "out", "report"):
        assert status(prepare.main, ["--dataset=mars", "--root=a", f"--{option}=b/{'a' * 300}"]) == 2
        assert f"argument --{option}: b/aaa" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be looked at .File name too long"):
        mars.load(Path("a" * 300))
    with pytest.raises(InputError, match="there is nothing of that name"):
        formats.recognise(Path("a" * 300))
    assert status(prepare.main, ["--dataset=mars", "--root=a", f"--out={tmp_path}", "--height=1000000"]) == 2
    assert "--height: expected a whole number from 1 to 4,096, found '1000000'" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_again_and_again_nothing_finished_is_lost(tmp_path):
    """Every other time the command is killed while it writes, else at any moment of its start."""
    rng = random.Random(0)
    spec = replace(preparing.SPEC, train_identities=8, test_identities=8, tracklets_per_camera=2)
    root = preparing.write(tmp_path / "MARS", spec=spec)
    line = preparing.command(root, f"--out={tmp_path / 'out'}", "--frames_per_shard=1")
    partial, final = (tmp_path / "out" / "mars_pose" / name for name in ("1.0.0.partial", "1.0.0"))
    finished: dict[str, tuple[int, int]] = {}

    def shards(folder):
        return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob("[!.]*array_record*")}

    grown = 0
    for kill in range(KILLS):
        aimed = kill % 2 == 0
        process = subprocess.Popen(line, env=preparing.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if not aimed:
            time.sleep(rng.uniform(0, 1))
        else:
            deadline = time.monotonic() + 60
            while process.poll() is None and shards(partial) == finished and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.01))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        now = shards(partial)
        assert now.items() >= finished.items()  # the same files, not written again
        grown += len(now) > len(finished)
        finished = now
    assert not final.exists()
    assert grown >= KILLS // 2  # a worker whose command is gone still ends the shard that it is at
    process = preparing.run(root, f"--out={tmp_path / 'out'}", "--frames_per_shard=1")
    assert process.returncode == 0, process.stderr
    assert shards(final).items() >= finished.items()
    assert [folder.name for folder in final.parent.iterdir()] == ["1.0.0"]
    once = tmp_path / "once"
    assert preparing.run_here(root, f"--out={once}", "--frames_per_shard=1") == 0
    assert preparing.contents(final) == preparing.contents(once / "mars_pose" / "1.0.0")
