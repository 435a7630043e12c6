"""List files of the data sets: reading, parsing of frame names that contain ids, and frames in numerical order."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.data.datasets.listing import FolderReader
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.user_files import LARGEST_LIST, read_file
from rgcn_jax.types import JUNK_ID


def read_list(title: str, root: Path, name: str, advice: str = "") -> bytes:
    """Read a list file below a root, without a byte order mark.

    Args:
      title: name of the data set in messages.
      root: folder of the data set.
      name: path of the file below the root.
      advice: where to obtain the file.

    Raises:
      InputError: the file cannot be read; the message lists what is there instead.
    """
    try:
        return read_file(root / name, LARGEST_LIST).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(
            f"{title} is incomplete: cannot read {root / name} ({error.strerror}); {beside(root, name)}. {advice}"
        ) from error


def text_lines(text: bytes, path: str | os.PathLike[str]) -> list[str]:
    """Lines of a text in UTF-8, stripped. Raises InputError with the path for another encoding."""
    try:
        return [line.strip() for line in text.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}).") from error


def parse_names(
    lines: Sequence[bytes], like: str, fields: Mapping[str, slice], path: Path, junk: bytes = b""
) -> tuple[list[str], dict[str, Int64[np.ndarray, "lines"]]]:
    """Parse frame names of a fixed form, and the numbers in them.

    Args:
      lines: lines with one name each.
      like: an example of such a name, whose digits stand for any digits.
      fields: name of a number -> its position in the frame name.
      path: path of the list, for the message.
      junk: beginning of the names whose first field is ``JUNK_ID``; empty for none.

    Raises:
      InputError: a line does not have this form.
    """
    form, size = np.frombuffer(like.encode(), np.uint8), len(like)
    wrong = None
    if {*map(len, lines)} - {size}:
        wrong = next(i for i, line in enumerate(lines) if len(line) != size)
    text = b"\n".join([*lines[:wrong], b""])
    characters = np.frombuffer(text, np.uint8).reshape(-1, size + 1)[:, :size]
    is_junk = np.all(characters[:, : len(junk)] == np.frombuffer(junk, np.uint8), axis=1) & bool(junk)
    any_digit, is_digit = ((c >= ord("0")) & (c <= ord("9")) for c in (form, characters))
    fits = np.where(any_digit, is_digit, characters == form)
    fits[is_junk, : len(junk)] = True
    if not fits.all():
        wrong = int(np.argmin(fits.all(axis=1)))
    if wrong is not None:
        raise InputError(
            f"{path}: line {wrong + 1} must be a frame name like {like} ({', '.join(fields)}), found "
            f"{lines[wrong][:60].decode('utf-8', 'replace')!r}."
        )
    numbers = {field: _number(characters[:, s]) for field, s in fields.items()}
    numbers[next(iter(fields))][is_junk] = JUNK_ID
    # Decoded as one text, which for a million names takes a quarter of the time of decoding them one by one.
    return text.decode().splitlines(), numbers


def _number(digits: UInt8[np.ndarray, "lines digits"]) -> Int64[np.ndarray, "lines"]:
    """Convert rows of decimal digit characters to numbers."""
    return (digits - np.uint8(ord("0"))).astype(np.int64) @ 10 ** np.arange(digits.shape[1])[::-1]


def numbered_frames(folders: FolderReader, folder: str, pattern: re.Pattern[str], like: str) -> tuple[str, ...]:
    """Paths of the frames in a folder in the order of their numbers, the only group of ``pattern``.

    Names of another form (``like`` is an example) and duplicate numbers are recorded in ``folders``.
    """
    frames: dict[int, str] = {}
    for name in folders.frames(folder):
        match = pattern.fullmatch(name)
        if not match:
            folders.wrong(f"{folder}/{name} is no frame name like {like}")
        elif frames.setdefault(int(match[1]), name) != name:
            folders.wrong(f"{folder} holds frame {int(match[1])} twice")
    return tuple(f"{folder}/{frames[number]}" for number in sorted(frames))
