"""The disk: full, not to be written, and shared with another run."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import jax
import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import unfinished_path, write_text
from rgcn_jax.runtime.workdir import WorkDir
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.state import TrainState
from rgcn_jax.training.writer import Writer

METRICS = {"loss": 1.5, "lambda": 0.25, "frames_per_second": 321.4, "seconds_left": 90.0}


@contextmanager
def full_after(size):
    """No file grows beyond so many bytes: what a full disk does to whoever writes, and needs no disk to fill."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def state(step):
    rng = np.random.default_rng(step)
    return jax.device_put(
        TrainState(
            step=np.int32(step),
            params={"w": rng.normal(size=(100, 100)).astype(np.float32)},
            batch_stats={},
            opt_state=(),
            key=jax.random.key(0),
        )
    )


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    file = tmp_path / "results.json"
    write_text(file, "before")
    with full_after(1000), pytest.raises(InputError, match=r"results.json .*\(File too large\)"):
        write_text(file, "x" * 5000)
    assert file.read_text() == "before"
    write_text(file, "after")
    assert file.read_text() == "after"


def test_a_metrics_file_that_cannot_grow_is_told_and_is_mended_by_the_next_start(tmp_path):
    with Writer(tmp_path, 10, 0) as writer:
        writer.train(1, METRICS)
        size = (tmp_path / "metrics.jsonl").stat().st_size
        with (
            full_after(size + 20),
            pytest.raises(InputError, match="metrics.jsonl .*File too large"),
        ):
            writer.train(2, METRICS)
    assert (tmp_path / "metrics.jsonl").stat().st_size == size + 20  # half a record
    with Writer(tmp_path, 10, 1) as writer:
        assert writer.dropped == 1
        writer.train(2, METRICS)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_checkpoint_that_does_not_fit_is_told_and_the_one_before_it_stays(tmp_path, capfd):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", state(1), {})
        checkpoints.wait()
        reported = r"a checkpoint cannot be written below .*File too large.*the last good one is of step 1"
        with full_after(1000):
            checkpoints.save("latest", state(2), {})
            with pytest.raises(InputError, match=reported):
                checkpoints.wait()
    assert capfd.readouterr().err == ""  # Orbax's page about it
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.remove_unfinished()
        newest = checkpoints.newest_intact("latest", state(0))
        assert newest is not None
        found, _, reported = newest
        assert int(found.step) == 1
        assert not reported
        checkpoints.save("latest", state(2), {})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 2


def test_a_folder_that_is_none_or_cannot_be_written_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--workdir=.*file/run .*\(Not a directory\)"):
        WorkDir(tmp_path / "file" / "run").hold()

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(InputError, match=r"--workdir=.*\(Read-only file system\)"):
        WorkDir(tmp_path / "run").hold()


def test_a_second_run_is_refused_with_the_name_of_the_first(tmp_path):
    with WorkDir(tmp_path / "run") as first:
        first.hold()
        first.hold()  # held already
        with pytest.raises(InputError, match=f"process {os.getpid()} .*--workdir"):
            WorkDir(tmp_path / "run").__enter__()
        WorkDir(tmp_path / "run", holds=False).hold()  # another process of the same run
    with WorkDir(tmp_path / "run"):
        pass


def test_a_second_run_is_refused_also_where_somebody_removed_the_lock_file(tmp_path):
    with WorkDir(tmp_path):
        (tmp_path / "lock").unlink()
        with pytest.raises(InputError, match=r"another run \(unknown\) is training in"):
            WorkDir(tmp_path).__enter__()
        (tmp_path / "lock").write_text("")
        with pytest.raises(InputError, match="another run"):
            WorkDir(tmp_path).__enter__()
    with WorkDir(tmp_path):
        pass


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "config.json",
        "metrics.jsonl",
        "config_changes.jsonl",
        "checkpoints",
        "checkpoints/latest",
        "nonfinite/x",
        "wandb",
    ],
)
def test_nothing_is_written_through_a_link_in_a_folder_that_was_user_files(name, tmp_path):
    other, workdir = tmp_path / "other", tmp_path / "run"
    other.mkdir()
    (other / "precious").write_text("precious")
    (workdir / name).parent.mkdir(parents=True)
    (workdir / name).symlink_to(other / "precious" if "." in name or name == "lock" else other)
    with pytest.raises(InputError, match=rf"{name} is a symbolic link to .*other"):
        WorkDir(workdir).__enter__()
    assert [path.name for path in other.iterdir()] == ["precious"]
    assert (other / "precious").read_text() == "precious"


def test_a_temporary_name_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("precious")
    unfinished_path(tmp_path / "config.json").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "config.json", "mine")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_lock_ends_with_its_holder_also_by_sigkill(tmp_path):
    code = (
        "import sys, time, pathlib; from rgcn_jax.runtime.workdir import WorkDir\n"
        "with WorkDir(pathlib.Path(sys.argv[1])) as d: d.hold(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"):
            WorkDir(tmp_path).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with WorkDir(tmp_path):
        pass


def test_where_nothing_can_be_locked_it_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with WorkDir(tmp_path):
        assert "cannot be locked (No locks available)" in capsys.readouterr().out
