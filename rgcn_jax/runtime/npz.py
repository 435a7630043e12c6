"""Reading and writing of ``.npz`` files: atomic writes; reads without pickle and with bounded memory."""

import hashlib
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from rgcn_jax.runtime.files import atomic_file
from rgcn_jax.runtime.user_files import open_file

LARGEST = 4 * 2**30
"""Maximum size of the arrays in bytes; the 14 keypoints of MARS take a third of a gigabyte, with their names."""


def read_arrays(
    path: Path, wanted: Collection[str] | None = None, largest: int | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the wanted arrays that exist, or all, and the names of all; ``largest``: maximum size in bytes.

    Raises:
      ValueError: the file is not such an archive, is truncated or damaged, or the arrays would exceed the size.
      OSError: it cannot be read.
    """
    try:
        with open_file(path) as opened, zipfile.ZipFile(opened) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in members}
        if len(sizes) < len(members):
            raise ValueError("it contains an array twice")
        chosen = [name for name in sizes if wanted is None or name in wanted]
        size = sum(sizes[name] for name in chosen)
        limit = LARGEST if largest is None else largest
        if size > limit:
            raise ValueError(f"its arrays would take {size / 2**30:,.1f} GiB, more than {limit / 2**30:,.2g}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[f"{name}.npy"] for name in chosen}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # entries without NumPy's magic string
            raise ValueError("it contains an entry that is not an array")
        return arrays, [*sizes]
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged archive may raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error


def arrays_hash(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of types, shapes and values of arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compressed: bool = False) -> None:
    """Write an ``.npz`` file atomically. Raises OSError."""
    save = np.savez_compressed if compressed else np.savez
    with atomic_file(path) as file:
        save(file, **arrays)  # pyright: ignore[reportArgumentType]
