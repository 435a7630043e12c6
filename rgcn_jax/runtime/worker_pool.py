"""Process pool (``concurrent.futures``, spawn) with progress; its workers exit when their parent does, however it ends.

For the preparation of a data set and for pose detection. Needs neither TensorFlow nor what the tasks need.
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
_NO_MAIN_GUARD = 79  # exit status of a worker that was asked to start workers while it started

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    work: Callable[[Task, Callable[[], None]], Result],
    tasks: Sequence[Task],
    workers: int,
    progress: Callable[[int], object],
) -> Iterator[tuple[Task, Result]]:
    """Runs tasks in several processes and yields each with its result when it is done, in any order.

    When the caller stops iterating, by an error or Ctrl-C, the tasks that are running are finished first.

    Args:
      work: does a task, and calls its second argument after each frame. A function of a module, which is imported by
        the workers; what costs time or memory to import, it imports itself.
      tasks: what to do.
      workers: number of processes.
      progress: called with the number of frames done since its last call.

    Raises:
      InputError: a worker was killed; and whatever ``work`` raises.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker that imports the caller's script
        os._exit(_NO_MAIN_GUARD)
    context = multiprocessing.get_context("spawn")  # TensorFlow and JAX do not survive a fork
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
        pool.shutdown()  # waits for the exit statuses
        raise _broken([process.exitcode for process in processes]) from None
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:  # a second one
            for process in processes:
                process.terminate()
            raise


def _broken(statuses: Sequence[int | None]) -> InputError:
    """The error for a worker that died; the pool terminates the others."""
    status = next((status for status in statuses if status is not None and status > 0), None)
    if status == _NO_MAIN_GUARD:
        return InputError(
            "the worker processes cannot start, because each imports the script that was started, and that starts "
            'workers as well: put what the script does below a main guard, if __name__ == "__main__":'
        )
    if status is not None:
        return InputError(
            f"a worker process ended with exit status {status}; what it printed above says why. What is finished is "
            "kept; rerun the same command to resume."
        )
    return InputError(
        "a worker process was killed, perhaps because the memory was full: what is finished is kept; rerun the same "
        "command to resume, with fewer --workers if it happens again."
    )


_counters: Any = None  # frames done by each worker of the pool, without a lock that a killed worker would hold
_number = 0  # of this worker


def _initialize(started: Any, counters: Any) -> None:
    """Sets up a worker."""
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
