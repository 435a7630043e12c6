"""Preparing what is damaged, on a disk that is full, and killed again and again: nothing finished is lost, nothing
wrong is accepted, the message names the file.
"""

import fcntl
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rgcn_jax.config import DataConfig
from rgcn_jax.data import prepare
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.load import open_data
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


def test_bad_frames_are_all_named_and_what_is_finished_is_kept(whole, uninterrupted, tmp_path, capsys):
    root, out = tmp_path / "MARS", tmp_path / "out"
    shutil.copytree(whole, root)
    expected = preparing.spoil(root)
    process = preparing.run(root, f"--out={out}", SHARDS)
    assert process.returncode == 2
    assert "error: 5 frames cannot be used" in process.stderr
    assert "Traceback" not in process.stderr
    assert all(sentence in process.stderr for sentence in expected)
    assert [folder.name for folder in (out / "mars_pose").iterdir()] == ["1.0.0.partial"]
    with pytest.raises(InputError, match="is an unfinished preparation"):
        open_data(DataConfig("mars", str(out)), (256, 128), with_pose=True)
    kept = {n: t for n, t in preparing.contents(out / "mars_pose" / "1.0.0.partial").items() if "array_record" in n}
    assert 0 < len(kept) < sum("array_record" in name for name in uninterrupted)
    assert all(uninterrupted[name] == contents for name, contents in kept.items())

    shutil.copytree(whole, root, dirs_exist_ok=True)  # restored
    assert preparing.run_here(root, f"--out={out}", SHARDS) == 0
    assert preparing.without_source(preparing.contents(out / "mars_pose" / "1.0.0")) == preparing.without_source(
        uninterrupted
    )
    assert preparing.run_here(root, f"--out={out}", SHARDS) == 0
    assert "is already prepared" in capsys.readouterr().out


def test_a_folder_that_is_no_data_set_is_reported(tmp_path, capsys):
    assert status(prepare.main, ["--dataset=mars", f"--root={tmp_path}", "--check"]) == 1
    assert status(prepare.main, ["--dataset=mars", f"--root={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    reported = capsys.readouterr()
    assert "problem: MARS is incomplete" in reported.out
    assert "error: MARS is incomplete" in reported.err
    assert not (tmp_path / "out").exists()


def test_another_preparation_in_the_same_folder_is_refused(whole, tmp_path, capsys):
    line = ["--dataset=mars", f"--root={whole}", f"--out={tmp_path}", "--workers=1"]
    lock = tmp_path / "mars_pose" / "1.0.0.partial" / ".lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert status(prepare.main, line) == 2
        assert "is being prepared by another process" in capsys.readouterr().err


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


def test_a_root_and_a_size_that_cannot_be_are_reported(tmp_path, capsys):
    for option in ("root", "keypoints", "out", "report"):
        assert status(prepare.main, ["--dataset=mars", "--root=a", f"--{option}=b/{'a' * 300}"]) == 2
        assert f"argument --{option}: b/aaa" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be looked at .File name too long"):
        mars.load(Path("a" * 300))
    with pytest.raises(InputError, match="cannot be looked at .File name too long"):
        open_data(DataConfig("mars", "a" * 300), (256, 128), with_pose=False)
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
        paths = folder.glob("[!.]*array_record*")
        return {p.stem if folder == partial else p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}

    grown = 0
    for kill in range(KILLS):
        aimed = kill % 2 == 0
        process = subprocess.Popen(line, env=preparing.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if not aimed:
            time.sleep(rng.uniform(0, 1))
        else:
            deadline = time.monotonic() + 300
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
    assert grown >= KILLS // 2  # a worker whose command was killed may still finish its shard
    process = preparing.run(root, f"--out={tmp_path / 'out'}", "--frames_per_shard=1")
    assert process.returncode == 0, process.stderr
    assert shards(final).items() >= finished.items()
    assert [folder.name for folder in final.parent.iterdir()] == ["1.0.0"]
    once = tmp_path / "once"
    assert preparing.run_here(root, f"--out={once}", "--frames_per_shard=1") == 0
    assert preparing.contents(final) == preparing.contents(once / "mars_pose" / "1.0.0")
