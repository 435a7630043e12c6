"""Reader of ``torch.save`` files: zip archives (PyTorch 1.6 and later) and the older sequence of pickles.

Memory is bounded by the size of the file, since compressed archives are rejected and tensors cannot exceed their
storage.
"""

import io
import reprlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.torch_files.pickles import RestrictedUnpickler

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of the older format, a magic number, after the two bytes of its protocol."""
_PROTOCOL = 1001


def is_torch_file(path: Path) -> bool:
    """Whether a file starts like one of ``torch.save``, or another zip archive. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(2 + len(_LEGACY))
    return start.startswith(_ZIP) or start[2:] == _LEGACY


def read_torch_file(path: Path) -> Any:
    """Read the object passed to ``torch.save``: dicts, lists, numbers and text, tensors as read-only arrays of their
    dtype, NumPy arrays as ``pickles.NumpyArray``.

    Raises:
      InputError: the file cannot be read, is of another kind, is damaged, or would execute code, which is never done.
    """
    try:
        if not is_torch_file(path):
            raise InputError(f"{path} is not a file of torch.save.")
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                file.seek(0)
                return _read_stream(path, file)
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except InputError:
        raise
    except Exception as error:  # damaged pickles and archives may raise anything
        words = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"{path} cannot be read as a file of torch.save; it is damaged or truncated ({words})."
        ) from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> Any:
    pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(f"{path} is a zip archive, but not one of torch.save: it has no single data.pkl.")
    folder = pickles[0].removesuffix("data.pkl")
    left = path.stat().st_size

    def content(name: str) -> bytes:
        nonlocal left
        record = archive.getinfo(folder + name)
        left -= record.file_size
        if record.compress_type != zipfile.ZIP_STORED or left < 0:
            raise ValueError(f"{name} is compressed, or occurs twice in the archive")
        return archive.read(record)

    if f"{folder}byteorder" in archive.namelist() and content("byteorder") != b"little":
        raise InputError(f"{path} was written on a big-endian machine, which is not supported.")
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if key not in storages:
            size = archive.getinfo(f"{folder}data/{key}").file_size
            if size != count * dtype.itemsize:
                raise ValueError(f"storage {key} has {size} bytes for {count} values of {dtype}")
            storages[key] = np.frombuffer(content(f"data/{key}"), dtype)
        return storages[key]

    return RestrictedUnpickler(io.BytesIO(content("data.pkl")), path, storage).load()


def _read_stream(path: Path, file: io.BufferedIOBase) -> Any:
    """Read consecutive pickles: magic number, version, machine, content, storage keys; followed by the storages in this
    order, each preceded by its size.
    """
    storages: dict[str, np.ndarray] = {}
    left = path.stat().st_size

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        nonlocal left
        if key not in storages:
            left -= count * dtype.itemsize
            if left < 0:
                raise ValueError("its tensors need more bytes than it has")
            storages[key] = np.zeros(count, dtype)
        seen = storages[key].view()
        seen.flags.writeable = False
        return seen

    def load() -> Any:
        return RestrictedUnpickler(file, path, storage).load()

    load()
    if (version := load()) != _PROTOCOL:
        raise InputError(f"{path} is in an unknown version ({reprlib.repr(version)}) of PyTorch's older format.")
    machine = load()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InputError(f"{path} was written on a big-endian machine, which is not supported.")
    content, keys = load(), load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    for key in keys:
        numbers = storages[key]
        count, content_bytes = int.from_bytes(file.read(8), "little"), file.read(numbers.nbytes)
        if count != numbers.size or len(content_bytes) != numbers.nbytes:
            raise ValueError(f"storage {key} is truncated, or has {count} values instead of {numbers.size}")
        numbers[:] = np.frombuffer(content_bytes, numbers.dtype)
    return content
