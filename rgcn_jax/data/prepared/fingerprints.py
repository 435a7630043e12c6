"""Fingerprints of the images in a shard: size, modification time and hash, to detect later which have changed.

Beside a shard ``NAME`` lies ``sources/NAME.npz``, written before the shard gets its name.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rgcn_jax.runtime.handed_over import open_file, read_file
from rgcn_jax.runtime.npz import read_arrays, write_arrays

FOLDER = "sources"
_HASH = 16  # bytes


def path_of(shard: Path) -> Path:
    """Where the fingerprints of a shard's images are."""
    return shard.parent / FOLDER / f"{shard.name}.npz"


@dataclass
class Fingerprints:
    """Of some images in their order: bytes, time of the last change in nanoseconds, hash of the contents."""

    sizes: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)

    def read(self, path: Path) -> bytes:
        """The contents of an image, whose fingerprint is added. Raises OSError."""
        with open_file(path) as file:
            status, contents = os.fstat(file.fileno()), file.read()
        self.sizes.append(status.st_size)
        self.times.append(status.st_mtime_ns)
        self.hashes.append(_hash(contents))
        return contents

    def save(self, shard: Path) -> None:
        """Writes them beside a shard, atomically. Raises OSError."""
        path = path_of(shard)
        path.parent.mkdir(exist_ok=True)
        hashes = np.frombuffer(b"".join(self.hashes), np.uint8).reshape(-1, _HASH)
        write_arrays(path, {"sizes": np.array(self.sizes), "times": np.array(self.times), "hashes": hashes})


def load(shard: Path, count: int) -> Fingerprints | None:
    """The fingerprints of a shard of so many images; None if they are missing or damaged."""
    try:
        stored, _ = read_arrays(path_of(shard))
        sizes, times, hashes = stored["sizes"], stored["times"], stored["hashes"]
        if not len(sizes) == len(times) == count or hashes.shape != (count, _HASH) or hashes.dtype != np.uint8:
            return None
        return Fingerprints(sizes.tolist(), times.tolist(), [row.tobytes() for row in hashes])
    except Exception:  # a damaged archive raises nearly anything
        return None


def changed(root: Path, names: Sequence[str], before: Fingerprints) -> Iterator[str]:
    """Names of images that were modified or removed since. An image is read only where its size is the same and its
    time is not: a data set that was copied or unpacked again has not changed.
    """
    for name, size, time, contents in zip(names, before.sizes, before.times, before.hashes, strict=True):
        path = root / name
        try:
            status = path.stat()
            same = status.st_size == size and (status.st_mtime_ns == time or _hash(read_file(path)) == contents)
        except OSError:
            same = False
        if not same:
            yield name


def _hash(contents: bytes) -> bytes:
    return hashlib.blake2b(contents, digest_size=_HASH).digest()
