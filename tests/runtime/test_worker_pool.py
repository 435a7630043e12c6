"""Process pool: every task is done once, errors and killed workers are reported, running tasks are finished."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.worker_pool import run_tasks


def square(task, advance):
    for _ in range(task):
        advance()
    return task * task


def fail(task, advance):
    raise task


def die(task, advance):
    os.kill(os.getpid(), signal.SIGKILL)


def slow_note(task, advance):
    path, seconds = task
    advance()
    time.sleep(seconds)
    advance()
    path.write_text("done")


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once(workers):
    frames = []
    results = list(run_tasks(square, [3, 1, 2, 0], workers, frames.append))
    assert sorted(results) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    assert sum(frames) == 6
    assert list(run_tasks(square, [], workers, frames.append)) == []


def test_errors_arrive_as_they_were_raised():
    with pytest.raises(InputError, match="the reason"):
        list(run_tasks(fail, [InputError("the reason")], 1, print))
    with pytest.raises(OSError, match="No space") as error:
        list(run_tasks(fail, [OSError(28, "No space left on device")], 1, print))
    assert error.value.errno == 28
    with pytest.raises(ValueError, match="a fault") as fault:
        list(run_tasks(fail, [ValueError("a fault")], 1, print))
    assert "in fail" in str(fault.value.__cause__)  # the traceback of the worker


def test_a_worker_that_was_killed_is_reported():
    with pytest.raises(InputError, match="worker process was killed"):
        list(run_tasks(die, [None], 1, print))


def test_who_stops_listening_waits_for_what_was_begun(tmp_path):
    tasks = [(tmp_path / "quick", 0.0), (tmp_path / "slow", 0.5), (tmp_path / "never", 0.0)]
    running = run_tasks(slow_note, tasks, 2, lambda frames: None)
    next(running)
    assert isinstance(running, Generator)
    running.close()
    assert {"quick", "slow"} <= {path.name for path in tmp_path.iterdir()}


def test_a_script_without_a_main_guard_is_reported(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from rgcn_jax.runtime.worker_pool import run_tasks\n"
        "from tests.runtime.test_worker_pool import square\n"
        "print(list(run_tasks(square, [3, 1], 2, print)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 1
    assert '__name__ == "__main__"' in done.stderr
    assert "memory" not in done.stderr
