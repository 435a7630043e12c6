"""Streaming JSON reader (ijson): yields the entries of a large list or object in constant memory.

AlphaPose's poses of MARS are a single file of more than a gigabyte.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rgcn_jax.data.keypoints.numbers import LARGEST_FRAME
from rgcn_jax.errors import InputError, needs_extra
from rgcn_jax.runtime.user_files import open_file

_CHUNK = 2**16  # bytes per read
_MARK = b"\xef\xbb\xbf"  # byte order mark, which some editors write before UTF-8
_SCALARS = frozenset(("null", "boolean", "number", "string"))

_Events = Iterator[tuple[str, Any]]


def entries(path: Path) -> Iterator[tuple[str | None, Any]]:
    """Yield the entries of a JSON list as (None, value), or of an object as (key, value), in the file's order.

    Raises:
      InputError: the file cannot be read, is not JSON, is truncated, is neither a list nor an object, or an entry is
        larger than ``LARGEST_FRAME``, nested too deeply or has a duplicate key.
    """
    with needs_extra("data", f"The keypoint file {path} needs ijson"):
        import ijson  # noqa: F401 (training on walkers does not need it)
    try:
        with open_file(path) as file:
            yield from _entries(_Reader(file))
    except OSError as error:
        raise InputError(f"The keypoint file {path} cannot be read ({error.strerror}).") from error
    except InputError as error:
        raise InputError(f"The keypoint file {path} {error}: write it again.") from error


def _entries(reader: "_Reader") -> Iterator[tuple[str | None, Any]]:
    import ijson

    if not reader.start:
        raise InputError("is empty")
    if reader.start[:1] not in b"[{":
        raise InputError("is neither a JSON list nor an object")
    number, key = 0, None
    events: _Events = ijson.basic_parse(reader, use_float=True, buf_size=_CHUNK)
    try:
        next(events)
        for event, value in events:
            if event == "map_key":
                key = value
            elif event not in ("end_array", "end_map"):  # ends of the outermost list or object
                number += 1
                yield key, _value(event, value, events)
                reader.since_entry = 0
    except RecursionError as error:
        raise InputError(f"is nested too deeply in entry {number:,}") from error
    except InputError as error:
        raise InputError(f"{error} (entry {max(number, 1):,})") from error
    except ijson.JSONError as error:
        text = error.args[0]  # bytes if it quotes invalid UTF-8
        reason = (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)).strip().splitlines()[0]
        raise InputError(f"is not JSON or is truncated, at entry {max(number, 1):,}: {reason}") from error


def _value(event: str, value: Any, events: _Events) -> Any:
    """Return the value that starts with this event."""
    if event == "start_array":
        found = []
        for event, value in events:
            if event == "end_array":
                break
            found.append(value if event in _SCALARS else _value(event, value, events))
        return found
    if event == "start_map":
        fields: dict[str, Any] = {}
        for event, key in events:
            if event == "end_map":
                break
            if key in fields:
                raise InputError(f"is ambiguous: the key {key[:60]!a} occurs twice in an object")
            fields[key] = _value(*next(events), events)
        return fields
    return value


class _Reader:
    """A file for ijson, without byte order mark and leading space, that limits the size of an entry."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.since_entry = 0
        """Bytes read since the last complete entry."""
        self.start = file.read(_CHUNK).removeprefix(_MARK).lstrip(b" \t\n\r")

    def read(self, size: int) -> bytes:
        """Return the next bytes; empty at the end, or for a size of 0, by which ijson tests for text mode."""
        if not size:
            return b""
        chunk, self.start = self.start or self._file.read(size), b""
        self.since_entry += len(chunk)
        if self.since_entry > LARGEST_FRAME + 2 * _CHUNK:
            raise InputError(f"is not JSON, or an entry is larger than {LARGEST_FRAME >> 20} MiB")
        return chunk
