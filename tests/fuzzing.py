"""Spoils files: values of their JSON replaced, removed or doubled, arrays of other types and shapes, bytes changed."""

import contextlib
import io
import json
import math
import struct
import warnings
from typing import Any

import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from rgcn_jax.errors import InputError

MUTANTS = 100

short = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@contextlib.contextmanager
def refused_or_read():
    """Suppresses ``InputError`` and warnings; any other exception goes on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with contextlib.suppress(InputError):
            yield


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 2**31, 2**70, 10**400, 1.5, math.nan, math.inf, "", "x", "\ud800", "../../x", "0" * 300,
    [], [None], [[]], [1, 2], {}, {"x": None}, {"x": [1]},
)  # fmt: skip


def places(value, at=()):
    """Paths of all values below one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def spoilt_value(value, rng):
    """A copy with one to three of its values replaced, removed or put at another place."""
    found = json.loads(json.dumps(value))
    for _ in range(rng.integers(1, 4)):
        known = list(places(found))
        if not known:
            return ODD[rng.integers(len(ODD))]
        *way, last = known[rng.integers(len(known))]
        holder = found
        for key in way:
            holder = holder[key]
        match rng.integers(4):
            case 0:
                del holder[last]
            case 1:
                holder[last] = ODD[rng.integers(len(ODD))]
            case 2:
                holder[last] = holder[last], holder[last]
            case 3 if isinstance(holder, dict):
                holder[("x", "", "1e9", "appearance", "a/b/c")[rng.integers(5)]] = holder.pop(last)
        found = json.loads(json.dumps(found))
    return found


def spoilt_bytes(content, rng, near_ends=False):
    """Bytes replaced, removed, put in or repeated; or cut off. Anywhere, or most of them ``near_ends``: where formats
    have their descriptions.
    """
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if near_ends:
            distance = int(min(rng.exponential(600), max(len(changed) - 1, 0)))
            at = distance if rng.random() < 0.6 else max(len(changed) - 1 - distance, 0)
        else:
            at = int(rng.integers(len(changed) or 1))
        match rng.integers(5):
            case 0:
                changed[at : at + 1] = rng.bytes(1)
            case 1:
                del changed[at : at + int(rng.integers(1, 9))]
            case 2:
                changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                changed[at:at] = changed[at : at + 40]
            case 4:
                del changed[at:]
    return bytes(changed)


def spoilt_json(content, rng):
    if rng.random() < 0.2:
        return (spoilt_bytes(content, rng), b"[" * 100_000, b"", b"null")[min(int(rng.exponential(1)), 3)]
    return json.dumps(spoilt_value(json.loads(content), rng)).encode()


def spoilt_lines(content, rng):
    """JSON Lines of which one is spoilt, and perhaps the end."""
    lines = content.splitlines()
    at = rng.integers(len(lines))
    lines[at] = spoilt_json(lines[at], rng)
    return b"\n".join(lines) + b"\n" * int(rng.integers(2))


ARRAYS = (
    np.zeros(0), np.array(1.5), np.array("x"), np.array(["a", "b"]), np.ones((3, 2), np.float16), np.arange(3),
    np.full(3, 2**62, np.uint64), np.array([np.nan, 1, 2], np.float32), np.zeros((3, 0), np.float32),
    np.array([True] * 3), np.array([b"x", b"\xff"]), np.zeros(3, "M8[s]"), np.zeros(3, [("a", "f4")]),
    np.ones(3, complex), np.zeros((1, 3, 3)),
)  # fmt: skip


def spoilt_arrays(content, rng):
    """An archive of which one array is another, is missing, or holds spoilt JSON; or with other bytes."""
    if rng.random() < 0.3:
        return spoilt_bytes(content, rng)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    name = sorted(arrays)[rng.integers(len(arrays))]
    match rng.integers(4):
        case 0:
            del arrays[name]
        case 1 if arrays[name].dtype.kind == "U" and arrays[name].ndim == 0:
            arrays[name] = np.array(spoilt_json(str(arrays[name]).encode(), rng).decode("utf-8", "replace"))
        case 2 if arrays[name].ndim:
            arrays[name] = arrays[name][: rng.integers(3)]
        case _:
            arrays[name] = ARRAYS[rng.integers(len(ARRAYS))]
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


def spoilt_tensors(content, rng):
    """A safetensors file with another header, or with other bytes."""
    (size,) = struct.unpack("<Q", content[:8])
    if rng.random() < 0.4:
        return spoilt_bytes(content, rng)
    header = json.dumps(spoilt_value(json.loads(content[8 : 8 + size]), rng)).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def read_or_refused(prepare, spoil, tmp_path):
    """Fails where a reader of a file that is spoilt again and again raises anything but an ``InputError``.

    Args:
      prepare: writes a good file into a folder; returns its path, and what reads it.
      spoil: (bytes, generator) -> other bytes.
      tmp_path: an empty folder; all that ``prepare`` wrote there is put back each time.
    """
    file, read = prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    jaxtyping.config.update("jaxtyping_disable", True)  # the suite's checks of types refuse what the program should
    try:
        read()  # the good one
        _try_mutants(file, read, spoil, before, tmp_path)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def _try_mutants(file, read, spoil, before, tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(MUTANTS):
        for path in [p for p in tmp_path.rglob("*") if p.is_file() and p not in before]:
            path.unlink()
        for path, content in before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        mutant = spoil(before[file], rng)
        file.write_bytes(mutant)
        try:
            with refused_or_read():
                read()
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} for {mutant[:2000]!r}") from error


def damaged_files_test(readers):
    """The test that each file of a table, name -> (prepare, spoil) of ``read_or_refused``, is read or refused."""

    @pytest.mark.parametrize("name", readers)
    def test(name, tmp_path):
        prepare, spoil = readers[name]
        read_or_refused(prepare, spoil, tmp_path)

    return test
