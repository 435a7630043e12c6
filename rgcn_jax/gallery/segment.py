"""Segments of a gallery on disk: features of up to 64 MiB and the entries that they belong to, append-only.

A segment is two files. ``NAME.vectors``: rows of little-endian float32, appearance then pose. ``NAME.entries``: a
record for every ``add``: a header (``RECORD``: magic, number of entries, bytes of their texts, CRC-32 of what follows
and of their rows in the other file), the entries' ``COLUMNS``, and their JSON texts. How many entries and bytes count
is in the gallery's manifest: what lies behind them was never acknowledged, and the next append writes over it.
"""

import os
import struct
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import COLUMNS
from rgcn_jax.runtime.user_files import open_file

RECORD = struct.Struct("<4sIQII")
MAGIC = b"RJG1"
SEGMENT_BYTES = 64 * 2**20
"""Of features: what is read, searched, checked or rewritten at a time."""


@dataclass
class Segment:
    """A segment as far as it is acknowledged. ``records``: number of entries and CRC-32 of the rows of each record."""

    folder: Path
    name: str
    width: int
    columns: np.ndarray = field(default_factory=lambda: np.empty(0, COLUMNS))
    text_starts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    records: list[tuple[int, int]] = field(default_factory=list)
    num_bytes: int = 0
    verified: int = 0
    _squares: tuple[tuple[float, float], np.ndarray] = field(default=((0.0, 0.0), np.empty(0, np.float32)), repr=False)

    @property
    def state(self) -> tuple[str, int, int]:
        """Name, number of entries and bytes of the entries file, as in the manifest."""
        return self.name, len(self.columns), self.num_bytes

    @property
    def paths(self) -> tuple[Path, Path]:
        """Both files: features and entries."""
        return self.folder / f"{self.name}.vectors", self.folder / f"{self.name}.entries"

    @cached_property
    def mapped(self) -> tuple[np.ndarray, np.ndarray]:
        """Both files in memory as far as they are acknowledged; they stay readable when another process deletes them.

        Raises:
          InputError: a file is shorter than that.
          FileNotFoundError: another process has replaced the segment.
        """
        vectors, entries = self.paths
        return _map(vectors, "<f4", (len(self.columns), self.width)), _map(entries, "u1", (self.num_bytes,))

    @property
    def vectors(self) -> np.ndarray:
        """The features [n, width], float32, on the disk; their checksums are verified when they are first used.

        Raises:
          InputError: they are damaged.
        """
        rows, start = self.mapped[0], 0
        if self.verified < len(self.records):
            for index, (count, checksum) in enumerate(self.records):
                if index >= self.verified and zlib.crc32(rows[start : start + count].data) != checksum:
                    raise InputError(f"{self.paths[0]} is damaged: checksum mismatch. Restore the gallery from a copy.")
                start += count
            self.verified = len(self.records)
        return rows

    @cached_property
    def ids(self) -> np.ndarray:
        """The ids of the entries, apart: a field of the columns costs as much to read as all of them."""
        return np.ascontiguousarray(self.columns["id"])

    def squares(self, weights: tuple[float, float]) -> np.ndarray:
        """α² |y_a|² + β² |y_p|² of the stored features y, float32; those of the last weights are kept."""
        kept = self._squares  # once: another thread may search with other weights
        if kept[0] != weights:
            (a, p), of = weights, self.columns
            kept = self._squares = weights, (a**2 * of["square_a"] + p**2 * of["square_p"]).astype(np.float32)
        return kept[1]

    def texts(self, rows: np.ndarray) -> list[bytes]:
        """The JSON texts of the entries of some rows."""
        starts = self.text_starts[rows]
        ends, data = starts + self.columns["text"][rows], self.mapped[1].data
        return [bytes(data[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def append(self, columns: np.ndarray, texts: bytes, vectors: np.ndarray) -> "Segment":
        """The segment with more entries, on the disk when this returns; they count once the manifest says so.

        Raises OSError.
        """
        rows = np.ascontiguousarray(vectors, "<f4")
        body = columns.tobytes() + texts
        fields = struct.pack("<4sIQ", MAGIC, len(columns), len(texts))
        record = RECORD.pack(
            MAGIC, len(columns), len(texts), zlib.crc32(body, zlib.crc32(fields)), zlib.crc32(rows.data)
        )
        _write(self.paths[0], 4 * self.width * len(self.columns), rows.data)
        _write(self.paths[1], self.num_bytes, record + body)
        longer = Segment(
            self.folder,
            self.name,
            self.width,
            np.concatenate([self.columns, columns]),
            np.concatenate([self.text_starts, _text_starts(columns, self.num_bytes)]),
            [*self.records, (len(columns), zlib.crc32(rows.data))],
            self.num_bytes + len(record) + len(body),
            self.verified,
        )
        _ = longer.mapped
        return longer


def open_segment(folder: Path, name: str, width: int, count: int, num_bytes: int) -> Segment:
    """Reads the entries of a segment, as many as the manifest acknowledges.

    Raises:
      InputError: they are damaged.
      FileNotFoundError: there is no such segment, for another process has rewritten it.
    """
    segment = Segment(folder, name, width)
    path = segment.paths[1]
    try:
        with open_file(path, follow_links=False) as file:
            there = os.fstat(file.fileno()).st_size
            data = file.read(min(num_bytes, there))  # the manifest may claim anything
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): restore the gallery from a copy.") from error
    try:
        at, columns, starts = 0, [segment.columns], [segment.text_starts]
        while at < num_bytes:
            magic, n, text_bytes, checksum, of_rows = RECORD.unpack_from(data, at)
            end = at + RECORD.size + n * COLUMNS.itemsize + text_bytes
            body = memoryview(data)[at + RECORD.size : end]
            fields = data[at : at + struct.calcsize("<4sIQ")]
            if magic != MAGIC or end > len(data) or zlib.crc32(body, zlib.crc32(fields)) != checksum:
                raise ValueError(f"checksum mismatch at byte {at}")
            columns.append(np.frombuffer(data, COLUMNS, n, at + RECORD.size))
            starts.append(_text_starts(columns[-1], at))
            segment.records.append((n, of_rows))
            at = end
        segment.columns, segment.text_starts = np.concatenate(columns), np.concatenate(starts)
        segment.num_bytes = num_bytes
        if len(segment.columns) != count:
            raise ValueError(f"{len(segment.columns)} entries, {count} in the manifest")
        _ = segment.mapped
    except InputError:
        raise
    except (ValueError, struct.error) as error:
        raise InputError(f"{path} is damaged ({error}): restore the gallery from a copy.") from error
    return segment


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with open_file(path, follow_links=False) as file:
            return np.asarray(np.memmap(file, dtype, "r", shape=shape))  # a plain array: memmap is slow to index
    except FileNotFoundError:
        raise
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({error}): restore the gallery from a copy.") from error


def _text_starts(columns: np.ndarray, record_start: int) -> np.ndarray:
    """Where in the entries file the text of each entry of a record starts."""
    lengths = columns["text"].astype(np.int64)
    return record_start + RECORD.size + columns.nbytes + np.cumsum(lengths) - lengths


def _write(path: Path, at: int, data: bytes | memoryview) -> None:
    """Writes to a file from a position on, which ends there, and flushes it to the disk. No link is followed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
