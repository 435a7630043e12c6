"""A JSON list or object read entry by entry, so that the poses of a million frames need not fit in memory as objects.

The poses of MARS by AlphaPose are more than a gigabyte in one file. Entries are parsed by the standard library.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rgcn_jax.data.keypoints.numbers import LARGEST_FRAME
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.handed_over import open_file
from rgcn_jax.runtime.strict_json import DECODER, DuplicateKey

_SPACE = re.compile(r"[ \t\n\r]*")
_CHUNK = 2**20  # bytes read at a time
_DECODE = DECODER.raw_decode


def entries(path: Path) -> Iterator[tuple[str | None, Any]]:
    """The entries of a JSON list as (None, value), or those of an object as (key, value), in the file's order.

    Raises:
      InputError: whose message is the reason alone: the file cannot be read, is not JSON, is cut off, is neither a
        list nor an object, or an entry is larger than ``LARGEST_FRAME`` or nested too deeply.
    """
    try:
        with open_file(path) as file:
            yield from _entries(_Window(file))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error


def _entries(window: "_Window") -> Iterator[tuple[str | None, Any]]:
    opening = window.peek()
    if not opening:
        raise InputError("is empty")
    if opening not in "[{":
        raise InputError("is neither a JSON list nor an object")
    window.at += 1
    number = 0
    while window.peek() != (closing := "]" if opening == "[" else "}"):
        if number:
            window.expect(",", number)
        number += 1
        key = None
        if opening == "{":
            if window.peek() != '"':
                raise InputError(f"is not JSON: entry {number:,} has no name")
            key = window.value(number)
            window.expect(":", number)
        yield key, window.value(number)
    window.expect(closing, number)
    if window.peek():
        raise InputError("is not JSON: something follows after its end")


class _Window:
    """The part of the text that is parsed now: ``text`` from ``at`` on."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._ended = False
        self.text, self.at = "", 0

    def _more(self, size: int) -> None:
        chunk = self._file.read(size)
        self._ended = not chunk
        try:
            self.text, self.at = self.text[self.at :] + self._decoder.decode(chunk, final=self._ended), 0
        except UnicodeDecodeError as error:
            raise InputError(f"is not JSON: it is not text in UTF-8 ({error.reason})") from error

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if self._ended:
                return ""
            self._more(_CHUNK)

    def expect(self, character: str, number: int) -> None:
        found = self.peek()
        if found != character:
            what = f"found {found!a}" if found else "it is cut off"
            raise InputError(f"is not JSON: after entry {number:,} expected {character}, {what}")
        self.at += 1

    def value(self, number: int) -> Any:
        """The next value. One that reaches the end of the text may go on in the file, so more is read first."""
        self.peek()
        while True:
            try:
                value, end = _DECODE(self.text, self.at)
            except RecursionError as error:
                raise InputError(f"is nested too deeply in entry {number:,}") from error
            except DuplicateKey as error:
                raise InputError(f"is ambiguous in entry {number:,}: {error}") from error
            except ValueError as error:
                if self._ended:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise InputError(f"is not JSON or is cut off in entry {number:,}: {reason}") from error
                end = len(self.text)
            else:
                # "10" may be the beginning of "10.5": a number is whole once something else follows.
                whole = isinstance(value, str | list | dict) or self.text[end : end + 1] in tuple(" \t\n\r,]}")
                if (end < len(self.text) and whole) or self._ended:
                    self.at = end
                    return value
            if end - self.at > LARGEST_FRAME:
                raise InputError(f"is not JSON, or entry {number:,} is larger than {LARGEST_FRAME >> 20} MiB")
            self._more(max(_CHUNK, end - self.at))  # twice as much each time: an entry is parsed a few times at most
