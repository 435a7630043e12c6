"""Arrays in ``.npz`` files: atomic writing, and reading of untrusted files without pickle and with bounded memory."""

import hashlib
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from rgcn_jax.runtime.files import atomic_file
from rgcn_jax.runtime.handed_over import open_file

LARGEST = 4 * 2**30
"""Bytes that the arrays take in memory; the 14 keypoints of MARS take a third of a gigabyte, with their names."""


def read_arrays(
    path: Path, wanted: Collection[str] | None = None, largest: int | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Those of the wanted arrays that are there, or all, and the names of all that are there; ``largest``: bytes that
    they may take in memory, if not ``LARGEST``.

    Raises:
      ValueError: the file is no such archive, cut off or damaged, or the wanted arrays would not fit in memory.
      OSError: it cannot be read.
    """
    try:
        with open_file(path) as opened, zipfile.ZipFile(opened) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in members}
        if len(sizes) < len(members):
            raise ValueError("an array is in it twice")
        chosen = [name for name in sizes if wanted is None or name in wanted]
        size = sum(sizes[name] for name in chosen)
        limit = LARGEST if largest is None else largest
        if size > limit:
            raise ValueError(f"its arrays would take {size / 2**30:,.1f} GiB, more than {limit / 2**30:,.2g}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[f"{name}.npy"] for name in chosen}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # no magic string: its bytes
            raise ValueError("it holds something that is no array")
        return arrays, [*sizes]
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(f"{type(error).__name__}: {error}") from error


def arrays_hash(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 over types, shapes and values of arrays, in their order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compressed: bool = False) -> None:
    """Writes an ``.npz`` file atomically. Raises OSError."""
    save = np.savez_compressed if compressed else np.savez
    with atomic_file(path) as file:
        save(file, **arrays)  # pyright: ignore[reportArgumentType]
