"""Matrices of whole numbers from MATLAB files, of the old form (up to v7, SciPy) or the new one (v7.3: HDF5, h5py)."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from rgcn_jax.types import InputError

_LARGEST = 10_000_000  # numbers in a matrix; no data set's lists are near it


def read_matrix(path: Path, key: str, title: str, source: str) -> Int64[np.ndarray, "rows columns"]:
    """A matrix of whole numbers.

    Args:
      path: the ``.mat`` file.
      key: name of the matrix in it.
      title: name of the data set in messages.
      source: where the file comes from: "the info folder", "the archive".

    Raises:
      InputError: the file is missing, damaged or not in MATLAB's form, has no such matrix, or it is something else; or
        the library that reads this form is not installed.
    """
    if not path.is_file():
        raise InputError(f"{title} is incomplete: there is no file {path}; it comes with {source}, copy it there.")
    try:
        with path.open("rb") as file:
            start = file.read(520)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    is_hdf5 = b"\x89HDF\r\n\x1a\n" in (start[:8], start[512:520])
    matrix = (_from_hdf5 if is_hdf5 else _from_scipy)(path, key, source)
    numeric = isinstance(matrix, np.ndarray) and matrix.dtype.kind in "iuf" and matrix.ndim == 2
    whole = numeric and np.all(np.abs(matrix) <= 2**53) and not np.any(matrix != np.round(matrix))
    if not whole:
        raise InputError(f"{path}: {key} must be a matrix of whole numbers: download {source} again.")
    return matrix.astype(np.int64)


def _from_scipy(path: Path, key: str, source: str) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(
            f"SciPy is needed to read {path} and is not installed: pip install 'rgcn_jax[data]'."
        ) from None
    try:
        contents = loadmat(path)
    except Exception as error:  # a damaged file raises nearly anything in SciPy
        raise _damaged(path, source, error) from error
    if key not in contents:
        raise _absent(path, key, source, [name for name in contents if not name.startswith("__")])
    return contents[key]


def _from_hdf5(path: Path, key: str, source: str) -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path} is a MATLAB file of version 7.3; h5py is needed to read it and is not installed: "
            "pip install 'rgcn_jax[data]'."
        ) from None
    try:
        with h5py.File(path, mode="r") as file:
            names = list(file)
            if key in names:
                # HDF5 files can name other files as the place of their contents: those are not followed.
                if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                    return None
                data = file[key]
                if (
                    not isinstance(data, h5py.Dataset)
                    or data.external
                    or data.is_virtual
                    or (data.size or 0) > _LARGEST
                ):
                    return None
                return np.asarray(data[()]).T  # MATLAB counts the axes from the other end
    except Exception as error:  # likewise in h5py
        raise _damaged(path, source, error) from error
    raise _absent(path, key, source, names)


def _damaged(path: Path, source: str, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as a MATLAB file ({type(error).__name__}: {error}), it may be cut off: "
        f"download {source} again."
    )


def _absent(path: Path, key: str, source: str, found: list[str]) -> InputError:
    return InputError(
        f"{path}: expected a matrix called {key}, found {', '.join(found) or 'nothing'}: download {source} again."
    )
