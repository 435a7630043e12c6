"""Robust stdout and stderr: write errors are counted and reported at the end instead of ending the command.

If the reader of a pipe has exited (``... | head``), the terminal was closed or the disk of the log is full, ``print``
would raise in the middle of a step. Names from files are escaped so that they cannot control a terminal: control
characters, bidirectional marks and undecodable bytes are written as their numbers.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from rgcn_jax.errors import printable

_BAR = re.compile(r"(\r|[\n\x1b\[A]*$)")
"""Prefixes of tqdm's output: a progress bar, or cursor movements between bars."""


class RobustStream:
    """Wrapper of a text stream that raises no OSError.

    ``lost`` counts the lines that could not be written; ``reason`` is the cause. Other attributes are those of the
    wrapped stream.
    """

    def __init__(self, stream: Any):
        self.stream = stream
        self.lost, self.reason = 0, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write escaped text; return its length even on failure."""
        shown = self._escaped(text)
        try:
            try:
                self.stream.write(shown)
            except UnicodeEncodeError:  # the terminal cannot show these characters
                encoding = self.stream.encoding or "ascii"
                self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._failed(error, text)
        return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self._failed(error, "\n")

    def guard_final_flush(self) -> None:
        """Prevent an error in Python's final flush of the stream, which would change the exit status."""
        self.flush()
        if self.reason:
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)
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
def robust_output() -> Iterator[None]:
    """Replace stdout and stderr by ``RobustStream``; at the end, report lines lost on one of them on the other.

    Closed file descriptors 0 to 2 (``>&-``) are first opened on the null device; otherwise a file of the run would get
    their number, and libraries would write messages into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # the new one gets the lowest free number, this one
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
    before = sys.stdout, sys.stderr
    out, err = (RobustStream(stream or open(os.devnull, "w", encoding="utf-8")) for stream in before)  # noqa: SIM115
    sys.stdout, sys.stderr = cast(Any, out), cast(Any, err)
    try:
        yield
    finally:
        for stream, name, other in ((out, "stdout", err), (err, "stderr", out)):
            stream.flush()
            if stream.lost:
                other.write(f"{stream.lost} lines of {name} could not be written ({stream.reason})\n")
        for stream in (out, err):
            stream.guard_final_flush()
        sys.stdout, sys.stderr = before
