"""Worker processes that do tasks of the preparation. They end with the process that started them, however it ends."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from rgcn_jax.data.shard_task import ShardResult, ShardTask
from rgcn_jax.types import InputError

_TELL_EVERY = 0.1  # seconds


def run_tasks(
    tasks: Sequence[ShardTask], workers: int, progress: Callable[[int], object]
) -> Iterator[tuple[ShardTask, ShardResult]]:
    """Does the tasks in several processes; gives each with its result when it is done, in any order.

    Args:
      tasks: what to do.
      workers: how many processes.
      progress: is called with numbers of frames that were done.

    Raises:
      OSError: a worker could not write; its text is the message.
      InputError: a worker cannot start, or was killed.
    """
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    waiting = list(reversed(tasks))
    busy: dict[Connection, ShardTask] = {}
    processes = []
    try:
        for _ in range(min(workers, len(tasks))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, os.getpid()), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            busy[ours] = waiting.pop()
            ours.send(busy[ours])
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                kind, value = _receive(connection)
                if kind == "frames":
                    progress(value)
                    continue
                yield busy.pop(connection), value
                if waiting:
                    busy[connection] = waiting.pop()
                    connection.send(busy[connection])
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _receive(connection: Connection) -> tuple[str, Any]:
    try:
        kind, value = connection.recv()
    except (EOFError, OSError):
        raise InputError(
            "a worker process was killed, perhaps because the memory was full: what is finished is kept; give the "
            "same command again, with fewer --workers if it happens again."
        ) from None
    if isinstance(value, OSError | InputError):
        raise value
    return kind, value


def _work(connection: Connection, parent: int) -> None:
    """A worker's life: task in, frames counted and result out, until there is nobody to give it tasks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
    with suppress(EOFError, BrokenPipeError):
        try:
            from rgcn_jax.data import shards
        except InputError as error:
            connection.send(("failed", error))
            return
        while True:
            task = connection.recv()
            counter = _Counter(connection, parent)
            try:
                result = shards.run(task, counter.advance)
            except OSError as error:
                if isinstance(error, BrokenPipeError):
                    raise
                connection.send(("failed", OSError(str(error))))
                return
            counter.tell()
            connection.send(("done", result))


class _Counter:
    """Tells the parent how many frames were done, not too often."""

    def __init__(self, connection: Connection, parent: int):
        self._connection, self._parent, self._frames, self._told = connection, parent, 0, time.monotonic()

    def advance(self) -> None:
        self._frames += 1
        if time.monotonic() - self._told > _TELL_EVERY:
            if os.getppid() != self._parent:
                sys.exit()  # the command was killed, and may be running again already
            self.tell()

    def tell(self) -> None:
        self._connection.send(("frames", self._frames))
        self._frames, self._told = 0, time.monotonic()
