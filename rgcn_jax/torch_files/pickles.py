"""Restricted unpickler for ``torch.save``: tensors, NumPy values, containers, numbers and text only.

A pickle may name any function of any module, call it, and set attributes. This reader supports the opcodes of plain
data and a few names, each replaced by a token that can only be called. Time and memory are proportional to the length
of the pickle.
"""

import io
import math
import pickle
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from rgcn_jax.errors import InputError

STORAGES: Mapping[str, np.dtype] = {
    "HalfStorage": np.dtype("<f2"),
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "CharStorage": np.dtype("i1"),
    "ShortStorage": np.dtype("<i2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
"""PyTorch's storage types and their dtypes."""

_INSTRUCTIONS = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.LONG, pickle.LONG1, pickle.FLOAT, pickle.BINFLOAT),
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BINBYTES, pickle.SHORT_BINBYTES),
    *(pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE),
    *(pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.BINPERSID),
)
"""Opcodes of plain data handled by the standard library; dicts, REDUCE and BUILD are implemented below. No others are
allowed.
"""


class _Table(dict[Any, Any]):
    """Replacement for OrderedDict and Counter; attributes saved with one (``_metadata``) are dropped."""

    __slots__ = ()

    def fill(self, state: Any) -> None:
        """Drop the attributes."""


class _Token:
    """Replacement for an allowed name."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]):
        self.call = call


class _NumpyType:
    """A NumPy dtype of numbers, booleans or text: its code, and its byte order, which BUILD sets."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iuf][1248]|[US][0-9]{1,5}", code):
            raise ValueError(f"NumPy values of type {reprlib.repr(code)}")
        self.dtype = np.dtype(code)

    def fill(self, state: Any) -> None:
        """Set the byte order."""
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise ValueError("a structured NumPy type")
        self.dtype = self.dtype.newbyteorder(order)


class NumpyArray:
    """A NumPy array in a pickle, created empty and filled by BUILD."""

    __slots__ = ("array",)

    def __init__(self, *_: Any):
        self.array = np.zeros(0, np.float32)

    def fill(self, state: Any) -> None:
        """Set shape, dtype and values."""
        _, shape, kind, is_fortran, data = state
        if not isinstance(kind, _NumpyType) or not isinstance(data, (bytes, str)):
            raise ValueError("a NumPy array of Python objects")
        flat = np.frombuffer(_as_bytes(data), kind.dtype)
        self.array = flat.reshape(sizes(shape), order="F" if is_fortran else "C")


def _as_bytes(data: bytes | str) -> bytes:
    """Convert to bytes; Python 2 wrote them as text."""
    return data.encode("latin-1") if isinstance(data, str) else data


def _numpy_scalar(kind: Any, data: Any) -> Any:
    if not isinstance(kind, _NumpyType) or not isinstance(data, (bytes, str)):
        raise ValueError("a NumPy value without a dtype")
    return np.frombuffer(_as_bytes(data), kind.dtype, 1)[0]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _table(entries: Any = ()) -> _Table:
    table = _Table()
    pairs = entries.items() if isinstance(entries, dict) else entries
    _set_items(table, (part for key, value in pairs for part in (key, value)))
    return table


def _set_items(table: Any, alternating: Iterable[Any]) -> None:
    """Add keys and values to a dict; tuples as keys are rejected, since hashing nested ones could take forever."""
    if not isinstance(table, dict):
        raise ValueError(f"items of a {type(table).__name__}")
    parts = iter(alternating)
    for key, value in zip(parts, parts, strict=True):
        if not isinstance(key, (str, int, float, bytes)):
            raise ValueError(f"a {type(key).__name__} as the key of a dict")
        table[key] = value


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    (offset,), shape, strides = sizes((offset,)), sizes(shape), sizes(strides)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if not isinstance(storage, np.ndarray) or (0 not in shape and last >= storage.size):
        raise ValueError(f"a tensor of shape {list(shape)} extends beyond its storage")
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    if math.prod(shape) > storage.size:  # stride 0 would create any number of values from one
        raise ValueError(f"a tensor of shape {list(shape)} from {storage.size} values")
    steps = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def sizes(values: Any) -> tuple[int, ...]:
    """Convert to a tuple of non-negative integers. Raises ValueError for anything else."""
    if not isinstance(values, (list, tuple)) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"{reprlib.repr(values)} are not valid sizes")
    return tuple(values)


_NAMES: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _table,
    "collections.Counter": _table,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.Size": sizes,
    "torch.device": lambda *_: None,
    "_codecs.encode": _encode,
    **{f"{builtins}.bytes": lambda: b"" for builtins in ("builtins", "__builtin__")},
    "numpy.dtype": _NumpyType,
    "numpy.ndarray": NumpyArray,
    **{f"numpy.{core}.multiarray.scalar": _numpy_scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": NumpyArray for core in ("core", "_core")},
}
"""All allowed names, with their replacements."""


# The Python implementation, since the C implementation has a fixed set of opcodes.
class RestrictedUnpickler(pickle._Unpickler):
    """Unpickler for dicts, lists, tuples, numbers, text and read-only arrays, with the names listed above only.

    Opcodes can only modify dicts and lists that the pickle itself created, and arrays are read-only, so a file cannot
    change anything else.

    Args:
      stream: stream of the pickle, which is read up to its end.
      path: path of the file, for messages.
      storage: returns the values of a storage, given its key, dtype and count.
    """

    dispatch: ClassVar[dict[int, Any]] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in _INSTRUCTIONS}
    # Attributes of the standard library's class that its type stubs omit.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BufferedIOBase, path: Path, storage: Callable[[str, np.dtype, int], np.ndarray]):
        super().__init__(stream, encoding="latin-1")  # decodes bytes written by Python 2
        self._path, self._storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        """The token of an allowed name, or the name itself for a storage type.

        Raises:
          InputError: the name is not allowed.
        """
        if module == "torch" and name in STORAGES:
            return name
        if found := _NAMES.get(f"{module}.{name}"):
            return _Token(found)
        raise InputError(
            f"{self._path} refers to {module[:60]}.{name[:60]}, which a state dict does not need; nothing was "
            "executed. Save only the state dict, torch.save(model.state_dict(), path), or use a .safetensors file."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The values of a storage: ("storage", type, key, device, count), followed by None before PyTorch 1.6."""
        kind, storage, key, _, count, *view = pid if isinstance(pid, tuple) and len(pid) >= 5 else (None,) * 5
        if kind != "storage" or not isinstance(storage, str) or storage not in STORAGES or not isinstance(key, str):
            raise ValueError(f"unknown reference {reprlib.repr(pid)}")
        if view not in ([], [None]):
            raise ValueError("a storage that is a view of another one")
        (count,) = sizes((count,))
        found = self._storage(key, STORAGES[storage], count)
        if found.dtype != STORAGES[storage] or found.size != count:
            raise ValueError(f"storage {reprlib.repr(key)} is used with two types or sizes")
        return found

    def _load_empty_dict(self) -> None:
        self.append({})

    def _load_dict(self) -> None:
        table: dict[Any, Any] = {}
        _set_items(table, self.pop_mark())
        self.append(table)

    def _load_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set_items(self.stack[-1], (key, value))

    def _load_items(self) -> None:
        items = self.pop_mark()
        _set_items(self.stack[-1], items)

    def _load_call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Token) or not isinstance(arguments, tuple):
            raise ValueError(f"a call of a {type(function).__name__}")
        self.append(function.call(*arguments))

    def _load_state(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, (_Table, _NumpyType, NumpyArray)):
            raise ValueError(f"attributes of a {type(made).__name__}")
        made.fill(state)

    dispatch |= {
        pickle.EMPTY_DICT[0]: _load_empty_dict,
        pickle.DICT[0]: _load_dict,
        pickle.SETITEM[0]: _load_item,
        pickle.SETITEMS[0]: _load_items,
        pickle.REDUCE[0]: _load_call,
        pickle.BUILD[0]: _load_state,
    }
