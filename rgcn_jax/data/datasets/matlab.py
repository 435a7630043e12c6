"""Reader of matrices in MATLAB files, up to version 7 (by ``mat5.py``) or of version 7.3 (HDF5, by h5py)."""

from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from rgcn_jax.data.datasets import mat5
from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.errors import InputError, as_input_error, listed, needs_extra
from rgcn_jax.runtime.user_files import open_file

_LARGEST = 80_000_000  # bytes of a list; those of every supported data set are far smaller


def read_matrices(keys: Mapping[Path, str], title: str, source: str) -> list[Int64[np.ndarray, "rows columns"]]:
    """Read an integer matrix of each of several files.

    Args:
      keys: the ``.mat`` file -> name of the matrix in it.
      title: name of the data set in messages.
      source: origin of the files: "the info folder", "the archive".

    Raises:
      InputError: a file is missing, damaged or not a MATLAB file, lacks the matrix or has another type of value; or the
        library for its format is not installed.
    """
    for path in keys:
        if not path.is_file():
            raise InputError(
                f"{title} is incomplete: there is no file {path}; it comes with {source}, copy it there. In its place: "
                f"{beside(path.parent, path.name)}."
            )
    todo = f"download {source} again"
    old = {path: (key,) for path, key in keys.items() if not _is_hdf5(path)}
    found = dict(zip(old, mat5.read(old, _LARGEST, todo), strict=True)) if old else {}
    matrices = []
    for path, key in keys.items():
        if path in found:
            arrays, names = found[path]
        else:
            arrays, names = _read_hdf5(path, lambda _: keys.values(), _LARGEST, todo, by_matlab=True)
        if key not in names:
            there = listed([name[:60] for name in names], 20) or "nothing"
            raise InputError(f"{path}: expected a matrix called {key}, found {there}: {todo}.")
        matrix = arrays.get(key, np.zeros(0))
        numeric = matrix.dtype.kind in "iuf" and matrix.ndim == 2
        whole = numeric and np.all((matrix >= -(2**53)) & (matrix <= 2**53)) and not np.any(matrix != np.round(matrix))
        if not whole:
            raise InputError(f"{path}: {key} must be a matrix of whole numbers: {todo}.")
        matrices.append(matrix.astype(np.int64))
    return matrices


def read_arrays(
    path: Path, choose: Callable[[list[str]], Collection[str]], largest: int, todo: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read matrices of a file: of numbers or, up to version 7, of characters (as an array of rows).

    Args:
      path: the ``.mat`` file.
      choose: names of all matrices in the file -> the wanted ones.
      largest: maximum size of a matrix in bytes.
      todo: what the user can do about a damaged file, for messages.

    Returns:
      The wanted matrices, without larger ones and other kinds of value, and the names of all.

    Raises:
      InputError: the file cannot be read, or is damaged or of another format.
    """
    if _is_hdf5(path):
        return _read_hdf5(path, choose, largest, todo)
    ((_, names),) = mat5.read({path: ()}, largest, todo)
    return mat5.read({path: choose(names)}, largest, todo)[0]


def _is_hdf5(path: Path) -> bool:
    with as_input_error(f"{path} cannot be read"), open_file(path) as file:
        start = file.read(520)
    return b"\x89HDF\r\n\x1a\n" in (start[:8], start[512:520])


def _read_hdf5(
    path: Path, choose: Callable[[list[str]], Collection[str]], largest: int, todo: str, by_matlab: bool = False
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read as ``read_arrays``. ``by_matlab``: whether MATLAB wrote the file even if it lacks MATLAB's attributes."""
    with needs_extra("data", f"{path} is a MATLAB file of version 7.3, which needs h5py"):
        import h5py
    arrays = {}
    try:
        with h5py.File(path, mode="r") as file:
            names = list(file)
            for key in choose(names):
                data = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
                if isinstance(data, h5py.Dataset) and _is_matrix(data, largest):
                    value = np.asarray(data[()])
                    arrays[key] = value.T if by_matlab or "MATLAB_class" in data.attrs else value  # axes are reversed
            return arrays, names
    except InputError:  # of choose
        raise
    except Exception as error:  # almost any type, on damaged files
        raise InputError(
            f"{path} cannot be read as a MATLAB file ({type(error).__name__}: {error}), it may be cut off: {todo}."
        ) from error


def _is_matrix(data: Any, largest: int) -> bool:
    """Whether an HDF5 dataset has numbers that fit in memory, and not in other files, which HDF5 would follow."""
    if data.external or data.is_virtual or data.dtype.kind not in "iuf":
        return False
    chunk = prod(data.chunks or ()) * data.dtype.itemsize  # decompressed as a whole
    return max(data.nbytes, 4 * chunk) <= largest
