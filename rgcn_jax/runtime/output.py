"""Robust stdout and stderr: write errors are counted and reported at the end, and do not end the command.

A log is not worth a run: where the reader of a pipe has exited (``... | head``), the terminal was closed or the disk
that the log lies on is full, ``print`` would raise in the middle of a step. Names from files cannot steer a terminal
either: control characters, marks of writing direction and bytes that are no text are written as their numbers.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from rgcn_jax.errors import printable

_BAR = re.compile(r"(\r|[\n\x1b\[A]*$)")
"""How the pieces of text begin that tqdm writes: a bar, or a movement of the cursor between bars."""


class SteadyStream:
    """Wraps a text stream. Writing to it raises no OSError; ``lost`` counts the lines that could not be written, and
    ``reason`` is the cause. Everything but ``write`` and ``flush`` is the wrapped stream's.
    """

    def __init__(self, stream: Any):
        self.stream = stream
        self.lost, self.reason = 0, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Writes text, escaped. Returns its length whatever happens."""
        shown = self._escaped(text)
        try:
            try:
                self.stream.write(shown)
            except UnicodeEncodeError:  # a terminal without these characters
                encoding = self.stream.encoding or "ascii"
                self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._failed(error, text)
        return len(text)

    def flush(self) -> None:
        """Flushes, if that is possible."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error, "\n")

    def let_go(self) -> None:
        """Makes sure that Python's last flush of the stream does not fail either (it would change the exit status)."""
        self.flush()
        if self.reason:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)
                self.stream.flush()

    def _failed(self, error: Exception, text: str) -> None:
        self.lost += text.count("\n")
        self.reason = getattr(error, "strerror", None) or str(error)

    def _escaped(self, text: str) -> str:
        if _BAR.match(text) and self._is_terminal():
            return text if text.strip("\r\n\x1b[A") == "" else text[0] + printable(text[1:].replace("\x1b[A", ""))
        return printable(text.replace("\t", "    "))

    def _is_terminal(self) -> bool:
        with suppress(OSError, ValueError):
            return self.stream.isatty()
        return False


@contextmanager
def steady_output() -> Iterator[None]:
    """In this block stdout and stderr are ``SteadyStream``; at its end what was lost on one is reported on the other.

    File descriptors 0 to 2 that were closed (``>&-``) are opened on the null device first: a file of the run would
    get their number, and libraries would write their messages into it.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    out, err = (SteadyStream(stream or open(os.devnull, "w", encoding="utf-8")) for stream in before)  # noqa: SIM115
    sys.stdout, sys.stderr = cast(Any, out), cast(Any, err)
    try:
        yield
    finally:
        for stream, name, other in ((out, "stdout", err), (err, "stderr", out)):
            stream.flush()
            if stream.lost:
                other.write(f"{stream.lost} lines of {name} could not be written ({stream.reason})\n")
        for stream in (out, err):
            stream.let_go()
        sys.stdout, sys.stderr = before


def _open_closed_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)  # the lowest free number: this one
