"""Multi-process setup from environment variables, and fail-fast exit when a peer process dies. Does not import JAX.

A launcher (launch/) runs the same command in each process, with three environment variables. Clusters are not detected
automatically.
"""

import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rgcn_jax.errors import InputError, as_input_error

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

AGAIN = 75
"""Exit status (EX_TEMPFAIL) after a signal: a checkpoint was saved, and the same command resumes."""

PEER_EXITED = 1
"""Exit status after a peer exited without a signal to this process.

Not ``AGAIN``, since the error of the peer may recur. Under SLURM, which reports the highest status of all processes,
the error's own status must prevail.
"""


@dataclass(frozen=True)
class Place:
    """One of several processes: ``index`` of ``count``; process 0 listens at ``host``:``port``."""

    host: str
    port: int
    count: int
    index: int

    @property
    def address(self) -> str:
        """Address as in ``JAX_COORDINATOR_ADDRESS``."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"process {self.index} of {self.count} (they count from 0)"


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Read this process's place in a multi-process job from the environment; None if no variable is set.

    Raises InputError, which lists all errors, if only some are set, or some are invalid.
    """
    found = {name: environment.get(name, "").strip() for name in (ADDRESS, COUNT, INDEX)}
    if not any(found.values()):
        return None
    wrong = [f"{name} is not set" for name, value in found.items() if not value]
    host, _, port = found[ADDRESS].rpartition(":")
    if found[ADDRESS] and not (host and port.isdecimal() and 0 < int(port) < 2**16):
        wrong.append(f"{ADDRESS} is {found[ADDRESS]!r}, expected host:port of process 0, such as node1:12345")
    numbers = {}
    for name, least in ((COUNT, 1), (INDEX, 0)):
        if found[name].isdecimal() and int(found[name]) >= least:
            numbers[name] = int(found[name])
        elif found[name]:
            wrong.append(f"{name} is {found[name]!r}, expected a whole number of {least} or more")
    if len(numbers) == 2 and numbers[INDEX] >= numbers[COUNT]:
        wrong.append(f"{INDEX} is {numbers[INDEX]}, expected a number from 0 to {numbers[COUNT] - 1}")
    if wrong:
        raise InputError(
            f"{'; '.join(wrong)}: set {ADDRESS}, {COUNT} and {INDEX} for each of several processes, or none of them "
            "for a single one."
        )
    return Place(host, int(port), numbers[COUNT], numbers[INDEX])


def find_coordinator(there: Place, seconds: int) -> None:
    """Wait until process 0 listens; in process 0, check that its port is free. JAX would abort the process instead.

    Raises InputError after ``seconds``, or if the port is in use.
    """
    if there.index == 0:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with as_input_error(
                f"{ADDRESS} is {there.address}, but process 0 cannot listen at port {there.port}",
                "choose a free port on its machine",
            ):
                probe.bind(("", there.port))
        return
    give_up = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((there.host, there.port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > give_up:
                raise InputError(
                    f"{there} could not connect to {ADDRESS}={there.address} in {seconds} s ({error}): start process "
                    "0 there at about the same time, and check that this machine can reach that port."
                ) from error
        time.sleep(0.2)


signal_received = False
"""Whether this process has received SIGTERM, SIGINT or SIGHUP (``preemption.py``)."""

joined = False
"""Whether this process has joined a multi-process job (``parallel.start_processes``)."""


def leave(status: int) -> None:
    """Exit with a status.

    In a multi-process job the process flushes its output and exits immediately, since JAX's shutdown would wait for the
    peers, which wait for this process. The peers detect it and exit too. Process 0 waits one second, since JAX aborts
    those that lose it and they may have errors to report.
    """
    if not joined:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    there = place()
    if there is not None and there.index == 0:
        time.sleep(1)
    os._exit(status)


_PEER_LOST = re.compile("(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED): |.*(Gloo|remote process exited)", re.DOTALL)
"""Status codes of JAX's coordination service and barriers; errors of collective operations (Gloo, NCCL)."""


def is_peer_exit(error: BaseException) -> bool:
    """Whether an error, or one of its causes, is JAX's for an unresponsive peer process."""
    if not joined:
        return False
    from jax.errors import JaxRuntimeError  # already imported in a multi-process job

    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # chains of causes may be cyclic
        seen.add(id(cause))
        # Gloo raises ValueError, "UNKNOWN: Gloo ...".
        if isinstance(cause, JaxRuntimeError | ValueError) and _PEER_LOST.match(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def peer_exit(error: BaseException) -> str:
    """The message for such an error."""
    return (
        f"{place()}: a peer process exited; see its output for the cause (JAX: {str(error).splitlines()[0][:200]}). "
        "Rerun the same command in all processes to resume from the latest checkpoint."
    )
