"""MATLAB files up to version 7: of many versions of MATLAB, of every kind of value, and damaged ones."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy.io import loadmat, savemat

from rgcn_jax.data.datasets import mat5, matlab
from rgcn_jax.errors import InputError
from tests.fuzzing import spoilt_bytes

OF_SCIPY = Path(scipy.io.__file__).parent / "matlab/tests/data"
LARGEST = 10**6


def is_wanted(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "iufbcU"


def test_files_of_matlab_itself(tmp_path):
    """Those that SciPy is tested with, where its wheel brings them: MATLAB 4 to 8, both byte orders."""
    expected = {}
    for path in sorted(OF_SCIPY.glob("*.mat")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = loadmat(path)
        except Exception:  # damaged on purpose, or of version 7.3
            continue
        expected[path] = {name: value for name, value in values.items() if not name.startswith("__")}
    found = mat5.read(expected, LARGEST, "save it again") if expected else []
    read = 0
    for (path, values), (arrays, names) in zip(expected.items(), found, strict=True):
        assert values.keys() <= {*names}
        assert arrays.keys() == {name for name, value in values.items() if is_wanted(value)}
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, values[name], err_msg=str(path))
            read += 1
    assert not OF_SCIPY.is_dir() or read >= 40


@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_of_value(packed, tmp_path):
    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    numbers = {kind: np.arange(12).reshape(3, 4).astype(kind) for kind in kinds}
    others = {"cell": np.array([1, "a"], object), "struct": {"a": 1}, "large": np.zeros(LARGEST)}
    path = tmp_path / "x.mat"
    savemat(path, {"text": np.array(["abc", "d"]), **numbers, **others}, do_compression=packed)
    ((arrays, names),) = mat5.read({path: [*numbers, *others, "text", "absent"]}, 10 * LARGEST, "save it again")
    assert names == ["text", *numbers, *others]
    assert arrays.keys() == {*numbers, "text", "large"}
    for kind, array in numbers.items():
        np.testing.assert_array_equal(arrays[kind], array)
        assert arrays[kind].dtype == kind
    assert [row.rstrip() for row in arrays["text"]] == ["abc", "d"]
    if packed:
        ((arrays, _),) = mat5.read({path: ["large", "i1"]}, LARGEST, "save it again")
        assert arrays.keys() == {"i1"}


def test_a_file_that_would_fill_the_memory(tmp_path):
    """A small file with more zeros than the child may have memory."""
    path = tmp_path / "x.mat"
    savemat(path, {"query": np.zeros(6 * 10**8, np.uint8)}, do_compression=True)
    assert path.stat().st_size < 2 * LARGEST
    with pytest.raises(InputError, match="Memory"):
        mat5.read({path: ["query"]}, 2 * LARGEST, "save it again")
    assert mat5.read({path: ()}, 2 * LARGEST, "save it again") == [({}, ["query"])]


def test_only_published_files_are_read_in_this_process(real_data, tmp_path, monkeypatch):
    info = real_data / "mars_info"
    keys = {info / "query_IDX.mat": "query_IDX", info / "tracks_test_info.mat": "track_test_info"}
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    query, test = matlab.read_matrices(keys, "MARS", "the info folder")
    assert (query.shape, test.shape) == ((1, 1980), (12180, 4))
    (tmp_path / "x.mat").write_bytes((info / "query_IDX.mat").read_bytes() + b"\0")
    with pytest.raises(OSError, match="none"):
        matlab.read_matrices({tmp_path / "x.mat": "query_IDX"}, "MARS", "the info folder")


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files_are_read_or_refused(packed, tmp_path):
    """The error names the damaged file, not one that is read before."""
    good, bad = tmp_path / "good.mat", tmp_path / "bad.mat"
    savemat(good, {"wanted": np.arange(8.0)[None]}, do_compression=packed)
    content, rng = good.read_bytes(), np.random.default_rng(0)
    messages = []
    for _ in range(8):
        bad.write_bytes(spoilt_bytes(content, rng))
        try:
            found = mat5.read({good: ["wanted"], bad: ["wanted"]}, LARGEST, "save it again")
        except InputError as error:
            messages.append(str(error))
        else:
            np.testing.assert_array_equal(found[0][0]["wanted"], [np.arange(8)])
    assert len(messages) >= 2
    assert all("bad.mat" in message and "good.mat" not in message for message in messages)


def test_a_crash_of_scipy_names_the_file(tmp_path):
    """A wrong type of an element, for which SciPy reads past the end of a table."""
    good, bad = tmp_path / "good.mat", tmp_path / "bad.mat"
    savemat(good, {"wanted": np.arange(8.0)[None]})
    content = bytearray(good.read_bytes())
    content[184] = 0xFF
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mat cannot be read as a MATLAB file \(.+\), .*: save it again"):
        mat5.read({good: ["wanted"], bad: ["wanted"]}, LARGEST, "save it again")
