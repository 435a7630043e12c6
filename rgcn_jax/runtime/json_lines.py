"""Crash-safe JSON Lines files: records are appended, and a truncated last line is dropped."""

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgcn_jax.runtime.files import writing
from rgcn_jax.runtime.user_files import NO_FILE, read_file

_LARGEST = 2**31
"""Maximum size of a file in bytes; a record of a training step takes 300."""

_PIECE = 2**16
"""Bytes read at a time to find the end of the last complete line."""


def read_json_lines(path: Path) -> tuple[list[tuple[dict[str, Any], bytes]], int]:
    """Read the records of a file, each with its line, and the number of invalid lines (truncated, or not an object).

    A missing file counts as empty. Raises OSError.
    """
    if not os.path.lexists(path):
        return [], 0
    records, dropped = [], 0
    for line in read_file(path, _LARGEST, follow_links=False).splitlines(keepends=True):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and line.endswith(b"\n"):
            records.append((record, line))
        else:
            dropped += 1
    return records, dropped


def open_to_append(path: Path, mode: int = 0o644) -> int:
    """Open a file for appending, after removing a truncated last line; return its descriptor.

    A symbolic link is not followed. ``mode``: permissions of a new file. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {NO_FILE}", str(path))
        end = size = status.st_size
        while end and (piece := os.pread(descriptor, min(end, _PIECE), max(end - _PIECE, 0))):
            newline = piece.rfind(b"\n")
            end = end - len(piece) + newline + 1
            if newline >= 0:
                break
        if end < size:
            os.ftruncate(descriptor, end)
        return descriptor
    except BaseException:
        os.close(descriptor)
        raise


def append_record(descriptor: int, record: Mapping[str, Any]) -> None:
    """Append a record as a line. Raises OSError, after which a part of the line may have been written."""
    line = (json.dumps(record, allow_nan=False) + "\n").encode()
    while line:  # on a nearly full disk a write may be partial, and the next one raises
        line = line[os.write(descriptor, line) :]


def append_json_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record to a file and flush it to disk. Raises InputError if it cannot be written."""
    with writing(path):
        descriptor = open_to_append(path)
        try:
            append_record(descriptor, record)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
