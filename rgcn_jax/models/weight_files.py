"""Read named tensors from a weight file without running anything that the file contains.

`read_weights` takes ``.safetensors`` (a length, a JSON table, raw numbers) and PyTorch's zip format (``.pth``,
``.pt``, ``.bin``: a pickle beside raw numbers). A pickle may name any function of any module, call it, and set
attributes of what it named; the reader here knows a handful of names, gives for each a token that can at most be
called, never altered, and refuses a file that asks for more.
"""

import io
import json
import math
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from rgcn_jax.errors import InputError

_BFLOAT16 = np.dtype(jnp.bfloat16)
_SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    "BF16": _BFLOAT16,
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_TORCH_DTYPES: dict[str, np.dtype] = {
    "HalfStorage": np.dtype("<f2"),
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "BFloat16Storage": _BFLOAT16,
    "CharStorage": np.dtype("i1"),
    "ShortStorage": np.dtype("<i2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_TORCH_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LONGEST_HEADER = 100_000_000
"""Bytes; the limit that the safetensors format sets."""


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Tensor name -> array, in the file's own types. A PyTorch file holds a state dict, plain or under the key
    ``state_dict`` or ``model``.

    Raises InputError where the file is of another kind, damaged, or asks for code to be run; nothing of it is run.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt", ".bin"):
        return _state_dict(path, _read_torch(path))
    raise InputError(f"{path}: weights are read from .safetensors, .pth, .pt and .bin files, not from {path.suffix!r}.")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _LONGEST_HEADER):
        raise InputError(
            f"{path} is no safetensors file, or was cut off: its header does not fit into {len(content)} bytes."
        )
    try:
        table = json.loads(content[8 : 8 + length])
        entries = [
            (*_span(entry["data_offsets"]), name, _SAFETENSORS_DTYPES[entry["dtype"]], _sizes(entry["shape"]))
            for name, entry in table.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: the header is no table of tensors of known types ({_words(error)}).") from error
    data = memoryview(content)[8 + length :]
    weights, position = {}, 0
    for begin, end, name, dtype, shape in sorted(entries, key=lambda entry: entry[:2]):
        if begin != position or end - begin != math.prod(shape) * dtype.itemsize or end > len(data):
            raise InputError(
                f"{path}: tensor {name!r} ({dtype}, shape {list(shape)}) does not lie at bytes {begin} to {end} of "
                f"{len(data)}; the file is damaged or was cut off."
            )
        weights[name] = np.frombuffer(data[begin:end], dtype).reshape(shape)
        position = end
    if position != len(data):
        raise InputError(f"{path}: {len(data) - position} bytes belong to no tensor; the file is damaged.")
    return weights


def _read_torch(path: Path) -> Any:
    """What the file's pickle describes, with arrays for tensors."""
    with path.open("rb") as file:
        start = file.read(len(_TORCH_LEGACY_START))
    if start == _TORCH_LEGACY_START:
        raise InputError(
            f"{path} is in PyTorch's format from before version 1.6. Convert it once, where PyTorch is installed: "
            "torch.save(torch.load(old, weights_only=True), new)."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise InputError(
                    f"{path} is a zip archive, but not one that torch.save wrote: it has no single data.pkl."
                )
            reader = _Unpickler(path, archive, pickles[0].removesuffix("data.pkl"))
            return reader.load()
    except InputError:
        raise
    except Exception as error:  # damaged pickles and archives raise nearly anything
        raise InputError(
            f"{path} cannot be read as a file that torch.save wrote; it is damaged or was cut off ({_words(error)})."
        ) from error


class _Table(dict[Any, Any]):
    """What the file calls an OrderedDict. The attributes that PyTorch saves with one (``_metadata``) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Token:
    """Stands for a name that a file asked for: without attributes, and closed to the pickle instruction that sets
    attributes (BUILD). Being no class, it cannot be instantiated by NEWOBJ either.
    """

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it tries to alter a function of the reader")


class _MakeTable(_Token):
    __slots__ = ()

    def __call__(self, *items: Any) -> _Table:
        return _Table(*items)


class _RebuildTensor(_Token):
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
        (offset,), shape, strides = _sizes((offset,)), _sizes(shape), _sizes(strides)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if not isinstance(storage, np.ndarray) or (0 not in shape and last >= storage.size):
            raise ValueError(f"a tensor of shape {list(shape)} reaches beyond its storage")
        if 0 in shape:
            return np.zeros(shape, storage.dtype)
        steps = tuple(stride * storage.itemsize for stride in strides)
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


class _RebuildParameter(_Token):
    __slots__ = ()

    def __call__(self, tensor: Any, *_: Any) -> Any:
        return tensor


class _Unpickler(pickle.Unpickler):
    """Builds dicts, lists, numbers, strings and read-only arrays; knows no name but those of `find_class`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str):
        content = archive.read(f"{folder}data.pkl")
        # Extension codes are looked up in a table of the whole process, past `find_class`.
        if any(opcode.name in ("EXT1", "EXT2", "EXT4") for opcode, _, _ in pickletools.genops(content)):
            raise InputError(f"{path} asks for objects by extension codes, which torch.save never writes.")
        super().__init__(io.BytesIO(content))
        self._path, self._archive, self._folder = path, archive, folder
        self._storages: dict[str, np.ndarray] = {}
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise InputError(f"{path} was written on a big-endian machine, which is not supported.")

    def find_class(self, module: str, name: str) -> Any:
        """The few names a state dict needs: a `_Token` for what is called, the bare name for a type of storage.

        Both are immutable, and nothing mutable that a file can reach was there before it was opened: the dicts, lists
        and sets that its instructions write to they made themselves, and the arrays are read-only. So a file can alter
        nothing but its own content.
        """
        match module, name:
            case "collections", "OrderedDict":
                return _MakeTable()
            case "torch._utils", "_rebuild_tensor_v2":
                return _RebuildTensor()
            case "torch._utils", "_rebuild_parameter":
                return _RebuildParameter()
            case "torch", storage if storage in _TORCH_DTYPES:
                return storage
        raise InputError(
            f"{self._path} asks for {module}.{name}, which no table of weights needs; nothing of it was run. "
            "Save the model's state dict alone, torch.save(model.state_dict(), path), or use a .safetensors file."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The raw numbers that a tensor lies in: ("storage", type, key, device, count)."""
        kind, storage, key, _, count = pid
        if kind != "storage" or storage not in _TORCH_DTYPES or not isinstance(key, str):
            raise ValueError(f"unknown reference {pid!r}")
        dtype = _TORCH_DTYPES[storage]
        if key not in self._storages:
            record = self._archive.getinfo(f"{self._folder}data/{key}")
            if record.compress_type != zipfile.ZIP_STORED or record.file_size != count * dtype.itemsize:
                raise ValueError(f"storage {key} has {record.file_size} bytes for {count} numbers of {dtype}")
            self._storages[key] = np.frombuffer(self._archive.read(record), dtype)
        if self._storages[key].dtype != dtype:
            raise ValueError(f"storage {key} is used with two types")
        return self._storages[key]


def _sizes(values: Any) -> tuple[int, ...]:
    """``values`` as a tuple, if they are integers, none of them negative."""
    if not isinstance(values, (list, tuple)) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"{values!r} are no sizes")
    return tuple(values)


def _span(values: Any) -> tuple[int, int]:
    begin, end = _sizes(values)
    return begin, end


def _state_dict(path: Path, content: Any) -> dict[str, np.ndarray]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise InputError(
            f"{path} holds no state dict (names and tensors), neither plain nor under 'state_dict' or 'model'."
        )
    return {str(name): value for name, value in content.items()}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
