"""Reader of files that ``torch.save`` wrote: the zip archive (PyTorch 1.6 and later) and the older stream of pickles.

Memory is bounded by the size of the file: nothing in it is compressed, and no tensor has more numbers than its storage.
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
"""The first pickle of the older form, a number, behind the two bytes of its protocol."""
_PROTOCOL = 1001


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as ``torch.save`` begins one; other archives begin so, too. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(2 + len(_LEGACY))
    return start.startswith(_ZIP) or start[2:] == _LEGACY


def read_torch_file(path: Path) -> Any:
    """What ``torch.save`` was given: dicts, lists, numbers, text; tensors as read-only arrays in their own types, NumPy
    arrays as ``pickles.NumpyArray``.

    Raises:
      InputError: the file cannot be read, is of another kind, damaged, or asks for code to be run; nothing of it is
        run.
    """
    try:
        if not is_torch_file(path):
            raise InputError(f"{path} is no file that torch.save wrote.")
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                file.seek(0)
                return _read_stream(path, file)
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except InputError:
        raise
    except Exception as error:  # damaged pickles and archives raise nearly anything
        words = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"{path} cannot be read as a file that torch.save wrote; it is damaged or was cut off ({words})."
        ) from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> Any:
    pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(f"{path} is a zip archive, but not one that torch.save wrote: it has no single data.pkl.")
    folder = pickles[0].removesuffix("data.pkl")
    left = path.stat().st_size

    def content(name: str) -> bytes:
        nonlocal left
        record = archive.getinfo(folder + name)
        left -= record.file_size
        if record.compress_type != zipfile.ZIP_STORED or left < 0:
            raise ValueError(f"{name} is compressed, or in the archive twice")
        return archive.read(record)

    if f"{folder}byteorder" in archive.namelist() and content("byteorder") != b"little":
        raise InputError(f"{path} was written on a big-endian machine, which is not supported.")
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if key not in storages:
            size = archive.getinfo(f"{folder}data/{key}").file_size
            if size != count * dtype.itemsize:
                raise ValueError(f"storage {key} has {size} bytes for {count} numbers of {dtype}")
            storages[key] = np.frombuffer(content(f"data/{key}"), dtype)
        return storages[key]

    return RestrictedUnpickler(io.BytesIO(content("data.pkl")), path, storage).load()


def _read_stream(path: Path, file: io.BufferedIOBase) -> Any:
    """Pickles one after another: a number, a version, the machine, the content, the keys of the storages; then the
    storages in the order of the keys, each with its count before it.
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
        raise ValueError("the storages are not those that its tensors lie in")
    for key in keys:
        numbers = storages[key]
        count, content_bytes = int.from_bytes(file.read(8), "little"), file.read(numbers.nbytes)
        if count != numbers.size or len(content_bytes) != numbers.nbytes:
            raise ValueError(f"storage {key} is cut off, or has {count} numbers for {numbers.size}")
        numbers[:] = np.frombuffer(content_bytes, numbers.dtype)
    return content
