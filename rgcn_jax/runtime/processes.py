"""Which of several processes this one is, and how it ends when another one is gone. Without JAX.

A job of several processes is started by whoever starts them (launch/): the same command in each, and three variables
in its environment. Nothing else is looked at: no cluster is detected.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rgcn_jax.errors import InputError

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

AGAIN = 75
"""Exit status (EX_TEMPFAIL): told to go by a signal, with all saved; starting again resumes."""

LOST = 1
"""Exit status: another process is gone, and nobody has told this one to go. Not ``AGAIN``: what ended the other may be
an error that comes again, and where the highest status of all processes counts, as in SLURM, the error's own must not
hide behind this one.
"""

START_AGAIN = "start all processes again, with the same command: the run goes on from its latest checkpoint."


@dataclass(frozen=True)
class Place:
    """One of several processes: the ``index``-th of ``count``; process 0 listens at ``host``:``port``."""

    host: str
    port: int
    count: int
    index: int

    @property
    def address(self) -> str:
        """As in ``JAX_COORDINATOR_ADDRESS``."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"process {self.index} of {self.count} (they count from 0)"


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """What the environment says: this process's place among several, or None where none of the variables is set.

    Raises:
      InputError: only some are set, or one is not what it must be; the message says all that is wrong.
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
        wrong.append(f"{INDEX} is {numbers[INDEX]}, but the {numbers[COUNT]} processes count from 0")
    if wrong:
        raise InputError(
            f"{'; '.join(wrong)}: set {ADDRESS}, {COUNT} and {INDEX} for each of several processes, or none of them "
            "for a single one."
        )
    return Place(host, int(port), numbers[COUNT], numbers[INDEX])


def find_coordinator(there: Place, seconds: int) -> None:
    """Waits until process 0 listens; in process 0 looks whether it can listen.

    JAX would end the process with a stack trace of its own instead.

    Raises:
      InputError: nobody listens there after so many seconds, or the port is taken.
    """
    if there.index == 0:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", there.port))
            except OSError as error:
                raise InputError(
                    f"{ADDRESS} is {there.address}, but process 0 cannot listen at port {there.port} "
                    f"({error.strerror}): choose a port that is free on its machine."
                ) from error
        return
    give_up = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((there.host, there.port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > give_up:
                raise InputError(
                    f"{there} found nobody at {ADDRESS}={there.address} in {seconds} s ({error}): start process 0 "
                    "there at about the same time, and see that this machine can reach that port."
                ) from error
        time.sleep(0.2)


class LastWords:
    """Says a sentence on stderr when this process ends without being able to: killed, or aborted by JAX's runtime,
    which ends every process once another one is lost.

    A small process of its own waits for that; ``let_go`` sends it away.
    """

    _WAIT = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
words = ""
for line in sys.stdin: words = line
sys.stderr.write(words.lstrip()); sys.stderr.flush()
"""

    def __init__(self, words: str):
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", self._WAIT], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.change(words)

    def change(self, words: str) -> None:
        """From now on these."""
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            return
        try:
            print(words.replace("\n", " "), file=pipe, flush=True)
        except OSError:  # somebody has killed it
            pipe.close()

    def let_go(self) -> None:
        """From now on the process can speak for itself."""
        self._process.kill()
        self._process.wait()


signal_received = False
"""Whether this process has received SIGTERM, SIGINT or SIGHUP (``preemption.py``)."""

last_words: LastWords | None = None
"""Of this process, once it is one of several."""


def leave(status: int) -> None:
    """Ends this process with an exit status.

    One of several ends with nothing but its output flushed: JAX would first wait for all others, and they wait for this
    one. They notice, and end too; those that lose the first one at once, so that it gives them a second to say what
    they know.
    """
    if last_words is None:
        sys.exit(status)
    last_words.let_go()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    there = place()
    if there is not None and there.index == 0:
        time.sleep(1)
    os._exit(status)


_SIGNS = (
    "gloo",
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "socket closed",
    "remote process exited",
    "timed out",
    "deadline_exceeded",
    "unavailable",
    "coordination service",
)


def is_loss(error: BaseException) -> bool:
    """Whether an error is JAX's word for "another process is gone": an error of its runtime, or caused by one, of one
    of several processes, with words for a broken connection. The file system's errors are no loss, nor is a misuse of
    NCCL.
    """
    if last_words is None:
        return False
    from jax.errors import JaxRuntimeError  # imported already, in one of several processes

    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # an error may be its own cause
        seen.add(id(cause))
        # JAX raises a ValueError for some of them (Gloo's); both begin with a status, such as "UNKNOWN: ".
        of_runtime = isinstance(cause, JaxRuntimeError | ValueError) and re.match("[A-Z_]+: ", str(cause))
        if of_runtime and any(sign in str(cause).lower() for sign in _SIGNS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def loss(error: BaseException) -> str:
    """What a process says that lost another one."""
    return (
        f"{place()} lost another one, which has ended or was killed; its own output says why (JAX: "
        f"{str(error).splitlines()[0][:200]}): {START_AGAIN}"
    )
