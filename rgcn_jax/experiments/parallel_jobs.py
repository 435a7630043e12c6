"""Parallel jobs of a sweep on one machine, each with its own GPUs or CPU cores. Does not import JAX.

The processes divide the runs among themselves by the locks of the work directories (``runtime/workdir.py``).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.preemption import SIGNALS
from rgcn_jax.runtime.processes import AGAIN


def run_parallel_jobs(arguments: Sequence[str], jobs: int) -> int:
    """Start ``python -m rgcn_jax.sweep`` with the arguments ``jobs`` times and wait for all.

    Signals are forwarded; each job then saves its run.

    Returns:
      The exit status: 75 if a job was stopped by a signal, else the highest.

    Raises:
      InputError: there are fewer GPUs, or CPU cores, than jobs.
    """
    shares = _shares(jobs)
    command = [sys.executable, "-m", "rgcn_jax.sweep", *arguments]
    running: list[subprocess.Popen] = []
    cores = os.sched_getaffinity(0)
    with _passed_on(running):
        for environment, of_job in shares:
            os.sched_setaffinity(0, of_job or cores)  # inherited by the child process
            # A separate session, so that Ctrl-C reaches each job only once, forwarded by this process.
            running.append(subprocess.Popen(command, env=os.environ | environment, start_new_session=True))
        os.sched_setaffinity(0, cores)
        statuses = [process.wait() for process in running]
    return AGAIN if AGAIN in statuses else max(abs(status) for status in statuses)


@contextmanager
def _passed_on(running: Sequence[subprocess.Popen]) -> Iterator[None]:
    def pass_on(number: int, _: object) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(number)

    wanted = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shares(jobs: int) -> list[tuple[Mapping[str, str], set[int] | None]]:
    """Environment and CPU cores of each job; cores are divided if there is no GPU."""
    if gpus := _gpus():
        if jobs > len(gpus):
            raise InputError(f"--jobs={jobs}: expected at least one GPU per job, found {len(gpus)} GPUs.")
        return [({"CUDA_VISIBLE_DEVICES": ",".join(gpus[i::jobs])}, None) for i in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise InputError(f"--jobs={jobs}: expected at least one CPU core per job, found {len(cores)} cores.")
    return [({}, set(cores[i::jobs])) for i in range(jobs)]


def _gpus() -> list[str]:
    """GPUs in CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists; none if JAX_PLATFORMS=cpu."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []
