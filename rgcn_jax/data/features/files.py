"""Reader of features files of other programs: MATLAB ``.mat`` (5 and 7.3), NumPy ``.npz``, PyTorch ``.pth``, and
``.csv``.

A ``.csv`` file is in the format of GAF-Net: a header, then D numbers, person and camera for each tracklet.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from rgcn_jax.data.datasets import matlab
from rgcn_jax.data.features.keys import EXPECTED, PARTS, Role, roles
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.npz import LARGEST, read_arrays
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.torch_files.pickles import NumpyArray
from rgcn_jax.torch_files.reader import is_torch_file, read_torch_file

_SUFFIXES = (".mat", ".npz", ".pth", ".pt", ".tar", ".csv")


class Rows(NamedTuple):
    """Features of N tracklets of a part of a data set, with their metadata in the file; None for missing metadata."""

    features: Float32[np.ndarray, "n d"]
    person_ids: Int64[np.ndarray, "n"] | None
    camera_ids: Int64[np.ndarray, "n"] | None
    names: list[str] | None
    """The name of one frame of each tracklet."""


def read_features(paths: Iterable[Path]) -> dict[str, Rows]:
    """Read the rows of each part ("query", "gallery", "train", or "" for all) from one file or several.

    Raises:
      InputError: a file cannot be read or has no such arrays, two files have the same arrays, or arrays do not fit each
        other.
    """
    found: dict[Role, tuple[Path, str, Any]] = {}
    for path in paths:
        arrays = _read(path)
        if not arrays:
            raise InputError(f"{path} has no arrays named {EXPECTED}.")
        for role, (key, value) in arrays.items():
            if role in found:
                raise InputError(f"{found[role][0]} and {path} both have the {role.what} of {role.part or 'all'}.")
            found[role] = path, key, value
    parts = {part: _rows(part, found) for part in ("", *PARTS) if Role(part, "features") in found}
    if spare := [f"{path}: {key}" for role, (path, key, _) in found.items() if role.part not in parts]:
        raise InputError(f"there are no features for {listed(spare)}: expected {EXPECTED}.")
    if "" in parts and len(parts) > 1:
        raise InputError(
            f"found features of {', '.join(filter(None, parts))}, and others without a part: expected one kind."
        )
    return parts


def _rows(part: str, found: Mapping[Role, tuple[Path, str, Any]]) -> Rows:
    path, key, value = found[Role(part, "features")]
    features = _array(value)
    if features is None or features.ndim != 2 or 0 in features.shape or not _is_float(features):
        kind = f"{features.dtype}{list(features.shape)}" if features is not None else type(value).__name__
        raise InputError(f"{path}: {key}: expected features [N, D], floating-point numbers, found {kind}.")
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(features).all(axis=1))):
        raise InputError(f"{path}: {len(bad):,} rows of {key} are not finite, the first is row {bad[0] + 1}.")

    def column(what: str, convert: Callable[[Any], Any], kind: str) -> Any:
        if Role(part, what) not in found:
            return None
        there, name, raw = found[Role(part, what)]
        values = convert(raw)
        if values is None:
            raise InputError(f"{there}: {name}: expected {kind}, one for each row of {key}.")
        if len(values) != len(features):
            raise InputError(f"{there}: {name} has {len(values):,} entries for {len(features):,} rows of {key}.")
        return values

    return Rows(
        features,
        column("person_ids", _whole_numbers, "whole numbers"),
        column("camera_ids", _whole_numbers, "whole numbers"),
        column("names", _texts, "names of frames"),
    )


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _array(value: Any) -> np.ndarray | None:
    """Convert an array, or a list of numbers or of equally long rows. Returns None for anything else."""
    if isinstance(value, NumpyArray):
        return value.array
    if isinstance(value, (list, tuple)):
        rows = [_array(row) if isinstance(row, NumpyArray) else row for row in value]
        if not all(isinstance(row, (int, float, np.generic, np.ndarray)) for row in rows):
            return None
        arrays = [np.asarray(row) for row in rows]
        if not arrays or len({array.shape for array in arrays}) > 1 or arrays[0].ndim > 1:
            return None
        return np.stack(arrays)
    return value if isinstance(value, np.ndarray) else None


def _whole_numbers(value: Any) -> np.ndarray | None:
    numbers = _array(value)
    if numbers is None or (not _is_float(numbers) and numbers.dtype.kind not in "iu"):
        return None
    numbers = numbers.ravel()  # MATLAB stores vectors as matrices
    numbers = numbers.astype(np.float64) if _is_float(numbers) else numbers
    if np.any(numbers != np.round(numbers)) or np.any(np.abs(numbers.astype(np.float64)) > 2**31):
        return None
    return numbers.astype(np.int64)


def _texts(value: Any) -> list[str] | None:
    """Convert to names. From a list of frame names, the first one is used."""
    if (array := _array(value)) is not None:
        if array.dtype.kind not in "US" or array.ndim != 1:
            return None
        try:
            names = [str(name, "utf-8") if isinstance(name, bytes) else str(name) for name in array.tolist()]
        except ValueError:  # undecodable bytes
            return None
        return [name.rstrip() for name in names]  # MATLAB pads the rows of a matrix of characters
    if not isinstance(value, (list, tuple)):
        return None
    found = [name[0] if isinstance(name, (list, tuple)) and name else name for name in value]
    names = [name for name in found if isinstance(name, str)]
    return names if len(names) == len(found) else None


def _read(path: Path) -> dict[Role, tuple[str, Any]]:
    """Read the arrays with a role from a file: role -> key and value."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a regular file")  # a pipe would block
        if path.suffix == ".npz":
            keys = roles(read_arrays(path, ())[1], path.stem)
            found: Mapping[str, Any] = read_arrays(path, keys.values())[0]
        elif path.suffix == ".mat":
            found = _read_mat(path)
            keys = roles(found, path.stem)
        elif path.suffix == ".csv":
            found = _read_csv(path)
            keys = roles(found, path.stem)
        elif is_torch_file(path):
            content = read_torch_file(path)
            if not isinstance(content, Mapping):
                raise InputError(f"{path} contains a {type(content).__name__}, expected a dict with {EXPECTED}.")
            found = {key: value for key, value in content.items() if isinstance(key, str)}
            keys = roles(found, path.stem)
        else:
            raise InputError(f"{path}: expected a file of one of the types {', '.join(_SUFFIXES)}.")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the features {path} cannot be read ({error}).") from error
    return {role: (key, found[key]) for role, key in keys.items()}


def _read_csv(path: Path) -> dict[str, Any]:
    """Read features, persons and cameras. An untitled first column with row numbers is ignored."""
    titles, _, body = read_text(path, LARGEST // 8).removeprefix("\ufeff").partition("\n")
    names = [name.strip().strip('"') for name in titles.split(",")]
    rows = [line for line in body.splitlines() if line.strip()]
    if any(re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", name) for name in names[-2:]):
        raise InputError(f"{path}: expected a header, found numbers ({titles[:60]!r}): add a line of column names.")
    table = np.array([line.split(",") for line in rows]).astype(np.float64) if rows else np.zeros((0, 0))
    if len(table) and names[0] in ("", "Unnamed: 0") and np.array_equal(table[:, 0], np.arange(len(table))):
        names, table = names[1:], table[:, 1:]
    if len(names) < 3 or table.shape[1:] != (len(names),):
        raise InputError(
            f"{path}: expected the {len(names)} columns of the header in every line, at least a feature, person and "
            f"camera; found {len(table)} lines of {table.shape[-1]}."
        )
    return {"features": table[:, :-2], "pids": table[:, -2], "camids": table[:, -1]}


def _read_mat(path: Path) -> dict[str, Any]:
    def wanted(names: Iterable[str]) -> list[str]:
        return list(roles(names, path.stem).values())

    found, names = matlab.read_arrays(path, wanted, LARGEST, "save it again")
    for key in wanted(names):
        if key not in found:
            raise InputError(
                f"{path}: {key} is no matrix of numbers of at most {LARGEST / 2**30:,.2g} GiB; give names of frames by "
                "--names."
            )
    return found
