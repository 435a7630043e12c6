"""MATLAB's files of version 5 beside SciPy's reader: files of many versions of MATLAB, and damaged ones of its own."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from rgcn_jax.data.datasets import mat5
from tests.fuzzing import short

OF_SCIPY = Path(scipy.io.__file__).parent / "matlab/tests/data"


def saved(packed=True, **matrices):
    file = io.BytesIO()
    savemat(file, matrices, do_compression=packed)
    return file.getvalue()


def is_wanted(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "iufb" and value.ndim == 2


def test_files_of_matlab_itself():
    """Those that SciPy is tested with, where its wheel brings them: MATLAB 5.3 to 8, both byte orders."""
    read, refused = 0, 0
    for path in sorted(OF_SCIPY.glob("*.mat")):
        contents = path.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                of_scipy = loadmat(path)
        except Exception:  # damaged on purpose, or of version 7.3
            of_scipy = {}
        for key in [name for name in of_scipy if not name.startswith("__")] or ["x"]:
            try:
                matrix, _ = mat5.read(contents, key)
            except (ValueError, TypeError):
                assert contents[126:128] not in (b"IM", b"MI") or not is_wanted(of_scipy.get(key)), path
                refused += 1
                continue
            if matrix is not None:
                np.testing.assert_array_equal(matrix, of_scipy[key], err_msg=str(path))
                read += 1
    assert not OF_SCIPY.is_dir() or (read >= 20 and refused >= 20)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_kind_of_number(kind, packed):
    matrix = np.arange(12).reshape(3, 4).astype(kind)
    file = saved(packed, before=np.ones(5000), text="abc", cell=np.array([1, "a"], object), wanted=matrix, after=1)
    found, others = mat5.read(file, "wanted")
    np.testing.assert_array_equal(found, matrix)
    assert found is not None
    np.testing.assert_array_equal(found, matrix)
    assert found.dtype.kind == matrix.dtype.kind
    assert others == ["before", "text", "cell"]
    assert mat5.read(file, "absent") == (None, ["before", "text", "cell", "wanted", "after"])


def test_what_is_no_matrix_of_real_numbers():
    for other in ("text", np.array([[1j]]), np.ones((2, 2, 2)), np.array([1, "a"], object), {"a": 1}):
        with pytest.raises(TypeError):
            mat5.read(saved(wanted=other), "wanted")


def element(kind, contents):
    return struct.pack("<II", kind, len(contents)) + contents + bytes(-len(contents) % 8)


def hostile(rows, numbers, packed=True, kind=9):
    """A file whose only matrix claims some rows of one column, and holds these bytes."""
    parts = [struct.pack("<II", 6, 0), struct.pack("<ii", rows, 1), b"wanted", numbers]
    kinds = (6, 5, 1, kind)
    matrix = element(14, b"".join(element(k, part) for k, part in zip(kinds, parts, strict=True)))
    if packed:
        data = zlib.compress(matrix)
        matrix = struct.pack("<II", 15, len(data)) + data
    return bytes(124) + b"\0\1IM" + matrix


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_and_types_that_lie(packed):
    one = struct.pack("<d", 7.0)
    np.testing.assert_array_equal(mat5.read(hostile(1, one, packed), "wanted")[0], [[7.0]])
    for rows, numbers, kind in ((2, one, 9), (2**31 - 1, one, 9), (0, one, 9), (1, one * 2, 9)):
        with pytest.raises(ValueError, match="numbers"):
            mat5.read(hostile(rows, numbers, packed, kind), "wanted")
    for rows, kind in ((-1, 9), (1, 0xFFFF), (1, 14)):
        with pytest.raises(TypeError):
            mat5.read(hostile(rows, one, packed, kind), "wanted")


def test_a_file_that_would_fill_the_memory():
    bomb = hostile(10**7, bytes(8 * 10**7))
    assert len(bomb) < 10**5
    with pytest.raises(ValueError, match="more than 100,000 numbers"):
        mat5.read(bomb, "wanted", largest=10**5)
    with pytest.raises(ValueError, match="more than 9"):
        mat5.read(hostile(10, bytes(80), False), "wanted", largest=9)
    assert mat5.read(bomb, "other") == (None, ["wanted"])  # of which the header alone is unpacked


whole = {packed: saved(packed, before=np.ones((2, 3)), wanted=np.arange(8.0)[None]) for packed in (False, True)}
changes = st.lists(st.tuples(st.integers(124, 400), st.integers(0, 255)), max_size=6)


@short
@given(st.booleans(), changes, st.integers(0, 400))
@example(False, [], 400)
@example(True, [], 400)
def test_damaged_files_are_read_or_refused(packed, changed, length):
    """Where SciPy's reader reads past the end of its tables, and the process ends."""
    file = bytearray(whole[packed])
    for at, byte in changed:
        file[at % len(file)] = byte
    try:
        matrix, names = mat5.read(bytes(file[:length]), "wanted")
    except (ValueError, TypeError):
        assert changed or length < len(file)
        return
    assert matrix is None or matrix.ndim == 2
    assert all(isinstance(name, str) for name in names)
