"""Reader of integer matrices in MATLAB files of version 5 (up to ``-v7``, by ``mat5.py``) or 7.3 (HDF5, by h5py)."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from rgcn_jax.data.datasets import mat5
from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.errors import InputError, as_input_error, listed, needs_extra
from rgcn_jax.runtime.user_files import open_file, read_file

_LARGEST_FILE = 2**28  # bytes; those of MARS have 50,000


def read_matrix(path: Path, key: str, title: str, source: str) -> Int64[np.ndarray, "rows columns"]:
    """Read an integer matrix.

    Args:
      path: the ``.mat`` file.
      key: name of the matrix in it.
      title: name of the data set in messages.
      source: origin of the file: "the info folder", "the archive".

    Raises:
      InputError: the file is missing, damaged or not a MATLAB file, lacks the matrix or has another type of value; or
        the library for this format is not installed.
    """
    if not path.is_file():
        raise InputError(
            f"{title} is incomplete: there is no file {path}; it comes with {source}, copy it there. In its place: "
            f"{beside(path.parent, path.name)}."
        )
    with as_input_error(f"{path} cannot be read"), open_file(path) as file:
        start = file.read(520)
    is_hdf5 = b"\x89HDF\r\n\x1a\n" in (start[:8], start[512:520])
    matrix = (_from_hdf5 if is_hdf5 else _from_mat5)(path, key, source)
    numeric = isinstance(matrix, np.ndarray) and matrix.dtype.kind in "iuf" and matrix.ndim == 2
    whole = numeric and np.all((matrix >= -(2**53)) & (matrix <= 2**53)) and not np.any(matrix != np.round(matrix))
    if not whole:
        raise InputError(f"{path}: {key} must be a matrix of whole numbers: download {source} again.")
    return matrix.astype(np.int64)


def _from_mat5(path: Path, key: str, source: str) -> Any:
    try:
        matrix, others = mat5.read(read_file(path, _LARGEST_FILE), key)
    except TypeError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, source, error) from error
    if matrix is None:
        raise _absent(path, key, source, others)
    return matrix


def _from_hdf5(path: Path, key: str, source: str) -> Any:
    with needs_extra("data", f"{path} is a MATLAB file of version 7.3, which needs h5py"):
        import h5py
    try:
        with h5py.File(path, mode="r") as file:
            names = list(file)
            if key in names:
                data = numbers_in(file, key, 8 * mat5.LARGEST)
                return None if data is None else np.asarray(data[()]).T  # MATLAB's axes are reversed
    except Exception as error:  # almost any type, on damaged files
        raise _damaged(path, source, error) from error
    raise _absent(path, key, source, names)


def numbers_in(file: Any, key: str, largest: int) -> Any:
    """Read the numeric dataset ``key`` of an open HDF5 file.

    Returns None for anything else, for more than ``largest`` bytes, and for contents in other files, which HDF5 would
    follow.
    """
    import h5py

    data = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual or data.dtype.kind not in "iuf":
        return None
    chunk = prod(data.chunks or ()) * data.dtype.itemsize  # decompressed as a whole
    return data if max(data.nbytes, 4 * chunk) <= largest else None


def _damaged(path: Path, source: str, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as a MATLAB file ({type(error).__name__}: {error}), it may be cut off: "
        f"download {source} again."
    )


def _absent(path: Path, key: str, source: str, found: list[str]) -> InputError:
    names = listed([name[:60] for name in found], 20) or "nothing"
    return InputError(f"{path}: expected a matrix called {key}, found {names}: download {source} again.")
