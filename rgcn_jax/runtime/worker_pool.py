"""Process pool (``concurrent.futures``, spawn) with progress, whose workers exit when their parent does.

Used to prepare data sets and to detect poses. Imports neither TensorFlow nor the modules of the tasks.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from rgcn_jax.errors import InputError

_REPORT_EVERY = 0.1  # seconds
_NO_MAIN_GUARD = 79  # exit status of a worker whose start would start workers

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    work: Callable[[Task, Callable[[], None]], Result],
    tasks: Sequence[Task],
    workers: int,
    progress: Callable[[int], object],
) -> Iterator[tuple[Task, Result]]:
    """Run tasks in several processes and yield each with its result when it is done, in any order.

    If the caller stops iterating, because of an error or Ctrl-C, running tasks are finished first.

    Args:
      work: performs a task, and calls its second argument after each frame. A module-level function, imported by the
        workers; expensive imports belong inside it.
      tasks: the tasks.
      workers: number of processes.
      progress: called with the number of frames completed since its last call.

    Raises:
      InputError: a worker was killed, or ``work`` raised it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker importing the caller's script
        os._exit(_NO_MAIN_GUARD)
    context = multiprocessing.get_context("spawn")  # TensorFlow and JAX do not support fork
    started, counters, seen = context.Value("i", 0), context.RawArray("L", max(workers, 1)), 0
    waiting = list(reversed(tasks))
    running: dict[Future[Result], Task] = {}
    processes: set[BaseProcess] = set()
    pool = ProcessPoolExecutor(workers, context, _initialize, (started, counters))
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.pop()
                running[pool.submit(_run, work, task)] = task
                processes.update(multiprocessing.active_children())
            done, _ = wait(running, _REPORT_EVERY, FIRST_COMPLETED)
            if (now := sum(counters)) > seen:
                progress(now - seen)
                seen = now
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        pool.shutdown()  # waits for exit statuses
        raise _broken([process.exitcode for process in processes]) from None
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:  # a second Ctrl-C
            for process in processes:
                process.terminate()
            raise


def _broken(statuses: Sequence[int | None]) -> InputError:
    """The error for a worker that died; the pool has terminated the others."""
    status = next((status for status in statuses if status is not None and status > 0), None)
    if status == _NO_MAIN_GUARD:
        return InputError(
            "the worker processes cannot start, since importing the main script in a worker would start workers again: "
            'protect the main part of the script by if __name__ == "__main__":'
        )
    if status is not None:
        return InputError(
            f"a worker process ended with exit status {status}; see its output above. Finished work is kept; rerun the "
            "same command to resume."
        )
    return InputError(
        "a worker process was killed, perhaps for lack of memory. Finished work is kept; rerun the same command to "
        "resume, with fewer --workers if it happens again."
    )


_counters: Any = None  # frames completed by each worker, without a lock that a killed worker could hold
_number = 0  # index of this worker


def _initialize(started: Any, counters: Any) -> None:
    global _counters, _number
    with started.get_lock():
        _counters, _number = counters, started.value
        started.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # handled by the parent
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _run(work: Callable[[Task, Callable[[], None]], Result], task: Task) -> Result:
    return work(task, _advance)


def _advance() -> None:
    _counters[_number] += 1
