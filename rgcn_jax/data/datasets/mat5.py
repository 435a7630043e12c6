"""Reader of MATLAB files up to version 7 (``-v4``, ``-v6``, ``-v7``), by SciPy in a child process.

SciPy does not validate such files: a wrong byte in a type or a size can end the process, and a few kilobytes can unpack
to any size. The child, ``python -m rgcn_jax.data.datasets.mat5``, has limits on time and memory, and returns arrays in
NumPy's format. Published files, recognised by their hash, are read without a child.
"""

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.user_files import file_hash, open_file

_PUBLISHED = {
    "2b580c94cf7934dbe3320c628b915dba76153c60effa94c1f48995ae8b96a932": "query_IDX.mat of MARS, 3,830 bytes",
    "35a5464d1219cc42001ddb6cdb2c1e88ae2bc9d516e559d44a68310521386b56": "tracks_test_info.mat of MARS, 47,540 bytes",
    "bae1ca16a6afbad1db664fbd4a60f8761585d7fb591c5e20b714f637dba3636b": "tracks_train_info.mat of MARS, 34,151 bytes",
}
_SECONDS = 300
_PROGRAM_BYTES = 2**29  # memory of Python, NumPy and SciPy

Arrays = tuple[dict[str, np.ndarray], list[str]]


def read(wanted: Mapping[Path, Collection[str]], largest: int, todo: str) -> list[Arrays]:
    """Read arrays of numbers or of characters; the latter as an array of rows.

    Args:
      wanted: file -> names of arrays in it.
      largest: maximum size of a file, and of an array, in bytes.
      todo: what the user can do about a damaged file, for messages.

    Returns:
      For each file: those of the wanted arrays that it has, without larger ones and other kinds of value (cells,
      structs, sparse matrices); and the names of all its values.

    Raises:
      InputError: a file cannot be read, or is damaged or of another format.
    """
    hashes = []
    for path in wanted:
        with as_input_error(f"{path} cannot be read", todo), open_file(path, largest):
            hashes.append(file_hash(path))
    if _PUBLISHED.keys() >= {*hashes}:
        return [_load(path, keys, largest) for path, keys in wanted.items()]
    files = json.dumps([[str(path), *keys] for path, keys in wanted.items()])
    return _read_in_child(files, tuple(hashes), largest, todo)


@lru_cache(maxsize=8)  # the lists of a data set are read once for each of its splits
def _read_in_child(files: str, hashes: tuple[str, ...], largest: int, todo: str) -> list[Arrays]:
    del hashes  # files with other contents are read again
    paths = [path for path, *_ in json.loads(files)]
    command = [sys.executable, "-m", __name__, str(largest), files]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread would reserve memory
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{', '.join(paths)}: not read after {_SECONDS} seconds: {todo}.") from error
    output, found = io.BytesIO(done.stdout), []
    for path in paths:
        if output.tell() == len(done.stdout):
            reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] if done.returncode > 0 else ""
            raise InputError(
                f"{path} cannot be read as a MATLAB file ({reason or 'SciPy crashed'}), it may be cut off: {todo}."
            )
        names, kept = (np.load(output, allow_pickle=False).tolist() for _ in range(2))
        found.append(({key: np.load(output, allow_pickle=False) for key in kept}, names))
    return found


def _load(path: str | Path, keys: Collection[str], largest: int) -> Arrays:
    from scipy.io import loadmat, whosmat

    with open_file(path, largest) as file:
        names = [name for name, _, _ in whosmat(file)]
        values = loadmat(file, variable_names=list(keys)) if keys else {}
    arrays = {key: values[key] for key in keys if isinstance(values.get(key), np.ndarray)}
    return {k: a for k, a in arrays.items() if a.dtype.kind in "biufcU" and a.nbytes <= largest}, names


def main(largest: int, files: list[list[str]]) -> None:
    """Read files, each a path and names as for ``read``, and write names and arrays to the standard output."""
    limit = _PROGRAM_BYTES + 3 * largest
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for path, *keys in files:
        arrays, names = _load(path, keys, largest)
        encoded = io.BytesIO()
        for array in (np.array(names, np.str_), np.array([*arrays], np.str_), *arrays.values()):
            np.save(encoded, array, allow_pickle=False)
        sys.stdout.buffer.write(encoded.getbuffer())
        sys.stdout.buffer.flush()  # the files before one that crashes are known


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
