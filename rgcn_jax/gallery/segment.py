"""Segments of a gallery on disk: up to 64 MiB of features and their entries, append-only.

A segment consists of two files:

- ``NAME.vectors``: rows of little-endian float32, appearance then pose.
- ``NAME.entries``: one record per ``add``. A record has a header (``RECORD``), the entries' ``COLUMNS``, and their JSON
  texts. The header contains magic, number of entries, bytes of their texts, CRC-32 of the rest of the record, and
  CRC-32 of their rows in the other file.

The gallery's manifest stores the committed number of entries and bytes. Data beyond them was never committed, and the
next append overwrites it.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import COLUMNS
from rgcn_jax.runtime.user_files import open_file

RECORD = struct.Struct("<4sIQII")
MAGIC = b"RJG1"
SEGMENT_BYTES = 64 * 2**20
"""Bytes of features that are read, searched, verified or rewritten at once."""


@dataclass
class Segment:
    """The committed part of a segment.

    ``records`` contains the number of entries and the CRC-32 of the rows of each record.
    """

    folder: Path
    name: str
    width: int
    columns: np.ndarray = field(default_factory=lambda: np.empty(0, COLUMNS))
    text_starts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    records: list[tuple[int, int]] = field(default_factory=list)
    num_bytes: int = 0
    verified: int = 0
    _squares: tuple[tuple[float, float], np.ndarray] | None = field(default=None, init=False, repr=False)

    @property
    def state(self) -> tuple[str, int, int]:
        """Name, number of entries and bytes of the entries file, as in the manifest."""
        return self.name, len(self.columns), self.num_bytes

    @property
    def paths(self) -> tuple[Path, Path]:
        """Paths of both files: features and entries."""
        return self.folder / f"{self.name}.vectors", self.folder / f"{self.name}.entries"

    @cached_property
    def mapped(self) -> tuple[np.ndarray, np.ndarray]:
        """The committed part of both files, memory-mapped. Remains readable if another process deletes the files.

        Raises:
          InputError: a file is shorter than its committed size.
          FileNotFoundError: another process has replaced the segment.
        """
        vectors, entries = self.paths
        return _map(vectors, "<f4", (len(self.columns), self.width)), _map(entries, "u1", (self.num_bytes,))

    @property
    def vectors(self) -> np.ndarray:
        """Features [n, width], float32, memory-mapped. Their checksums are verified on first access.

        Raises:
          InputError: the features are corrupt.
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
        """Contiguous copy of the ids. Reading one field of the columns costs as much as reading all of them."""
        return np.ascontiguousarray(self.columns["id"])

    def squares(self, weights: tuple[float, float]) -> np.ndarray:
        """Return α² |y_a|² + β² |y_p|² of the stored features y, float32. Cached for the last weights."""
        kept = self._squares  # read once: another thread may search with other weights
        if kept is None or kept[0] != weights:
            (a, p), of = weights, self.columns
            kept = self._squares = weights, (a**2 * of["square_a"] + p**2 * of["square_p"]).astype(np.float32)
        return kept[1]

    def texts(self, rows: np.ndarray | slice) -> list[bytes]:
        """Return the JSON texts of the entries in some rows."""
        starts = self.text_starts[rows]
        ends, data = starts + self.columns["text"][rows], self.mapped[1].data
        return [bytes(data[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def append(self, columns: np.ndarray, texts: bytes, vectors: np.ndarray) -> "Segment":
        """Append entries and return the longer segment. Durable on return, but committed only by the manifest.

        Raises OSError.
        """
        rows = np.ascontiguousarray(vectors, "<f4")
        body, checksum = columns.tobytes() + texts, zlib.crc32(rows.data)
        fields = struct.pack("<4sIQ", MAGIC, len(columns), len(texts))
        record = RECORD.pack(MAGIC, len(columns), len(texts), zlib.crc32(body, zlib.crc32(fields)), checksum)
        _write(self.paths[0], 4 * self.width * len(self.columns), rows.data)
        _write(self.paths[1], self.num_bytes, record + body)
        longer = replace(
            self,
            columns=np.concatenate([self.columns, columns]),
            text_starts=np.concatenate([self.text_starts, _text_starts(columns, self.num_bytes)]),
            records=[*self.records, (len(columns), checksum)],
            num_bytes=self.num_bytes + len(record) + len(body),
        )
        _ = longer.mapped
        return longer


def open_segment(folder: Path, name: str, width: int, count: int, num_bytes: int) -> Segment:
    """Read the entries of a segment, as many as the manifest has committed.

    Raises:
      InputError: the entries are corrupt.
      FileNotFoundError: the segment does not exist, because another process has rewritten it.
    """
    segment = Segment(folder, name, width)
    columns, starts = [segment.columns], [segment.text_starts]
    with _reading(segment.paths[1]):
        with open_file(segment.paths[1], follow_links=False) as file:
            there = os.fstat(file.fileno()).st_size
            data = file.read(min(num_bytes, there))  # the manifest is untrusted
        while (at := segment.num_bytes) < num_bytes:
            magic, n, text_bytes, checksum, of_rows = RECORD.unpack_from(data, at)
            end = at + RECORD.size + n * COLUMNS.itemsize + text_bytes
            body = memoryview(data)[at + RECORD.size : end]
            fields = data[at : at + struct.calcsize("<4sIQ")]
            if magic != MAGIC or end > len(data) or zlib.crc32(body, zlib.crc32(fields)) != checksum:
                raise ValueError(f"checksum mismatch at byte {at}")
            columns.append(np.frombuffer(data, COLUMNS, n, at + RECORD.size))
            starts.append(_text_starts(columns[-1], at))
            segment.records.append((n, of_rows))
            segment.num_bytes = end
        segment.columns, segment.text_starts = np.concatenate(columns), np.concatenate(starts)
        if len(segment.columns) != count:
            raise ValueError(f"{len(segment.columns)} entries, {count} in the manifest")
    _ = segment.mapped
    return segment


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert errors to InputError, except FileNotFoundError: another process may have rewritten the segment."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError, OverflowError, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} is damaged ({reason}): restore the gallery from a copy.") from error


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    with _reading(path), open_file(path, follow_links=False) as file:
        return np.asarray(np.memmap(file, dtype, "r", shape=shape))  # plain array: indexing a memmap is slow


def _text_starts(columns: np.ndarray, record_start: int) -> np.ndarray:
    """Return the offset of each entry's text in the entries file."""
    lengths = columns["text"].astype(np.int64)
    return record_start + RECORD.size + columns.nbytes + np.cumsum(lengths) - lengths


def _write(path: Path, at: int, data: bytes | memoryview) -> None:
    """Write to a file from a position, truncate after the data and flush to the disk. Does not follow links."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
