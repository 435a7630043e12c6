"""Graceful preemption: on SIGTERM, SIGINT or SIGHUP finish the step, save a checkpoint, exit with 75 (EX_TEMPFAIL).

A scheduler that preempts a job sends SIGTERM, followed by SIGKILL about half a minute later. Status 75 means that
nothing failed and the same command resumes the run; status 2 means that rerunning it is useless. A closed terminal or
ssh session sends SIGHUP, which is ignored under ``nohup``.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rgcn_jax.runtime import processes

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """Raised after a signal, once the state is saved. A ``KeyboardInterrupt``, not an ``Exception``."""


class Stopping:
    """Context manager that handles ``SIGNALS``; if it is not entered, it never requests a stop.

    Only the command enters it. Programs and notebooks that call ``train`` keep Python's handling: an interrupt raises
    ``KeyboardInterrupt`` immediately, and the last checkpoint is kept. Outside of the main thread, where Python cannot
    handle signals, entering has no effect.

    A separate thread receives the signals, since the main thread cannot handle them while it waits for a device. Before
    the first step, the first signal exits immediately with ``processes.AGAIN``. During a step it sets ``received``, and
    the loop finishes the step and saves. Within ``interruptible`` (an evaluation, after the state was saved) it raises
    ``Stopped``. A second SIGTERM or SIGINT exits immediately with 128 + signal number.
    """

    def __init__(self):
        self.received = ""
        """Name of the received signal, or empty."""
        self._steps_begun = self._interruptible = False
        self._before: dict[int, Any] = {}

    def first_step(self) -> None:
        """Call before the first step, after which there is state to save."""
        self._steps_begun = True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Context in which a signal raises ``Stopped``, as does one received before.

        In a job of several processes the block runs to its end, since the others would wait.
        """
        if processes.joined:
            yield
            return
        self._interruptible = bool(self._before)
        try:
            if self.received:
                raise Stopped(self.received)
            yield
        finally:
            self._interruptible = False

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is not threading.main_thread():
            return self
        processes.signal_received = False
        ours, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._wakes_before = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(ours,), daemon=True, name="signals").start()
        ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        wanted = [number for number in SIGNALS if number != signal.SIGHUP or not ignores_hangup]
        self._before = {number: signal.signal(number, self._in_main_thread) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        if not self._before:
            return
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}
        signal.set_wakeup_fd(self._wakes_before)
        self._wakes.close()  # ends the thread

    def _in_main_thread(self, number: int, _: object) -> None:
        self.received = self.received or signal.Signals(number).name
        if self._interruptible:
            self._interruptible = False
            raise Stopped(self.received)

    def _listen(self, wake_up: socket.socket) -> None:
        first = ""
        with wake_up:
            while received := wake_up.recv(1):
                number = received[0]
                if number not in SIGNALS:
                    continue
                name = signal.Signals(number).name
                if first and number == signal.SIGHUP:  # sent twice when a terminal closes, by shell and kernel
                    continue
                if first:
                    _leave(128 + number, f"{name} after {first}: exiting at once; the last checkpoint is kept")
                first = self.received = name
                processes.signal_received = True
                if not self._steps_begun:
                    _leave(processes.AGAIN, f"received {name} before the first step: rerun the same command")


def _leave(status: int, text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)
