"""A pool of worker processes, which end with the process that started them, however it ends.

For the preparation of a data set and for pose detection. Needs neither TensorFlow nor what the tasks need.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from rgcn_jax.errors import InputError

_REPORT_EVERY = 0.1  # seconds
_NO_MAIN_GUARD = 79  # exit status of a worker that was asked to start workers while it started

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    work: Callable[[Task, Callable[[], None]], Result],
    tasks: Sequence[Task],
    workers: int,
    progress: Callable[[int], object],
) -> Iterator[tuple[Task, Result]]:
    """Does the tasks in several processes; gives each with its result when it is done, in any order.

    Whoever stops listening, by an error or Ctrl-C, waits until each worker has ended the task that it is at.

    Args:
      work: does a task, and calls its second argument after each frame. A function of a module, which is imported by
        the workers; what costs time or memory to import, it imports itself.
      tasks: what to do.
      workers: how many processes.
      progress: is called with numbers of frames that were done.

    Raises:
      InputError: a worker was killed; and whatever ``work`` raises.
    """
    context = multiprocessing.get_context("spawn")  # TensorFlow and JAX do not survive a fork
    waiting = list(reversed(tasks))
    busy: dict[Connection, Task] = {}
    processes: list[SpawnProcess] = []
    process_of: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(min(workers, len(tasks))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_live, args=(theirs, work), daemon=True)
            _start(process)
            theirs.close()
            processes.append(process)
            process_of[ours] = process
            busy[ours] = waiting.pop()
            _send(ours, busy[ours])
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                kind, value = _receive(connection, process_of[connection])
                if kind == "frames":
                    progress(value)
                    continue
                yield busy.pop(connection), value
                if waiting:
                    busy[connection] = waiting.pop()
                    _send(connection, busy[connection])
                else:
                    connection.close()
    finally:
        try:
            for connection in process_of:  # also the one whose result was just given
                connection.close()
            for process in processes:
                process.join()
        finally:  # interrupted a second time
            for process in processes:
                process.terminate()


def _send(connection: Connection, task: object) -> None:
    with suppress(BrokenPipeError):  # the worker is dead; receiving reports it
        connection.send(task)


def _start(process: SpawnProcess) -> None:
    """Starts a worker. A worker imports the script that started it: without a main guard it would get here itself."""
    try:
        process.start()
    except RuntimeError:
        if not getattr(multiprocessing.current_process(), "_inheriting", False):  # True while a worker starts
            raise
        os._exit(_NO_MAIN_GUARD)


def _receive(connection: Connection, process: SpawnProcess) -> tuple[str, Any]:
    try:
        kind, value = connection.recv()
    except (EOFError, OSError):
        process.join(5)
        if process.exitcode == _NO_MAIN_GUARD:
            raise InputError(
                "the worker processes cannot start, because each imports the script that was started, and that starts "
                'workers as well: put what the script does below a main guard, if __name__ == "__main__":'
            ) from None
        if process.exitcode and process.exitcode > 0:
            raise InputError(
                f"a worker process ended with exit status {process.exitcode}; what it printed above says why. What is "
                "finished is kept; rerun the same command to resume."
            ) from None
        raise InputError(
            "a worker process was killed, perhaps because the memory was full: what is finished is kept; rerun the "
            "same command to resume, with fewer --workers if it happens again."
        ) from None
    if kind == "failed":
        raise value
    return kind, value


def _live(connection: Connection, work: Callable[[Any, Callable[[], None]], Any]) -> None:
    """A worker's life: task in, frames counted and result out, until there is nobody to give it tasks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    counter = _Counter(connection)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                message = ("done", work(task, counter.advance))
            except Exception as error:
                if not isinstance(error, InputError | OSError):  # a fault of the program: where is lost on the way
                    error.add_note(traceback.format_exc())
                message = ("failed", error)
            counter.report()
            connection.send(message)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


class _Counter:
    """Reports to the parent how many frames were done, not too often, and nothing once it has stopped listening."""

    def __init__(self, connection: Connection):
        self._connection, self._frames, self._reported = connection, 0, time.monotonic()

    def advance(self) -> None:
        self._frames += 1
        if time.monotonic() - self._reported > _REPORT_EVERY:
            self.report()

    def report(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(("frames", self._frames))
        self._frames, self._reported = 0, time.monotonic()
