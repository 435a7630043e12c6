"""Graceful preemption: on SIGTERM, SIGINT or SIGHUP finish the step, save a checkpoint, exit with 75 (EX_TEMPFAIL).

A scheduler that takes a machine away sends SIGTERM and, half a minute or so later, SIGKILL. Status 75 (EX_TEMPFAIL)
tells it that nothing failed and that the same command goes on from there; 2 tells that starting again is of no use.
A closed terminal or ssh session sends SIGHUP; under ``nohup`` it is ignored, and stays so.
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
    """The run received a signal and has saved its state. A ``KeyboardInterrupt``, so that nothing which catches errors
    holds it up.
    """


class Stopping:
    """Listens to ``SIGNALS`` while it is entered; before, or where it never is, nobody asks for anything.

    Only the command enters it: a program or a notebook that calls ``train`` keeps Python's own handling, where an
    interrupt is a ``KeyboardInterrupt`` at once and the last checkpoint is kept. Outside of the main thread, where
    Python has no signals, entering does nothing.

    A thread of its own listens, for the main thread hears a signal only between two instructions of Python, and so not
    while it waits for a device that never answers. What the first signal does depends on what there is to lose:
    before the first step the process leaves at once with ``processes.AGAIN``; in a step ``asked`` is set, for the loop
    to finish it and save; within ``interruptible`` (an evaluation: the state is saved already) ``Stopped`` is raised.
    A second SIGTERM or SIGINT leaves at once with 128 + its number.
    """

    def __init__(self):
        self.asked = ""
        """Name of the signal that asked; empty as long as none did."""
        self._steps_begun = self._interruptible = False
        self._before: dict[int, Any] = {}

    def first_step(self) -> None:
        """From now on there is something to save."""
        self._steps_begun = True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends by ``Stopped``, and that is not begun if one came before.

        One of several processes carries it through: the others would wait for it.
        """
        if processes.last_words is not None:
            yield
            return
        self._interruptible = bool(self._before)
        try:
            if self.asked:
                raise Stopped(self.asked)
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
        self._wakes.close()  # which ends the thread

    def _in_main_thread(self, number: int, _: object) -> None:
        self.asked = self.asked or signal.Signals(number).name
        if self._interruptible:
            self._interruptible = False
            raise Stopped(self.asked)

    def _listen(self, wakes: socket.socket) -> None:
        first = ""
        with wakes:
            while heard := wakes.recv(1):
                number = heard[0]
                if number not in SIGNALS:
                    continue
                name = signal.Signals(number).name
                if first and number == signal.SIGHUP:  # a closed terminal sends it twice: the shell, and the kernel
                    continue
                if first:
                    _leave(128 + number, f"{name} after {first}: leaving at once; the last checkpoint is kept")
                first = self.asked = name
                processes.signal_received = True
                if not self._steps_begun:
                    _leave(processes.AGAIN, f"received {name} before the first step: rerun the same command")


def _leave(status: int, text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    if processes.last_words is not None:
        processes.last_words.let_go()
    os._exit(status)
