"""Reading files of torch.save: real ones that PyTorch wrote, and hostile or damaged ones made here by hand."""

import os
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.models.weight_files import read_weights
from rgcn_jax.torch_files.reader import read_torch_file
from tests.torch_files.handmade import DATA, FOUR, Hostile, legacy, torch_pickle, zipped


@pytest.fixture
def weights():
    with np.load(DATA / "small_trunk.npz") as file:
        return dict(file)


def test_a_state_dict_that_pytorch_wrote_is_read_exactly(weights):
    found = read_weights(DATA / "small_trunk.pth")
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_a_checkpoint_with_other_types_and_strides_is_read(weights):
    """Channels-last strides, bfloat16, a strided view of float16, a double Parameter, 64-bit integers."""
    found = read_weights(DATA / "small_trunk_checkpoint.pth")
    assert found.keys() == {f"module.{name}" for name in weights}
    kernel = "layer1.0.conv2.weight"
    np.testing.assert_array_equal(found[f"module.{kernel}"], weights[kernel])
    stem = found["module.conv1.weight"]
    assert stem.dtype.name == "bfloat16"
    np.testing.assert_allclose(stem.astype(np.float32), weights["conv1.weight"], rtol=2**-8)
    assert found["module.bn1.weight"].dtype == np.float16
    np.testing.assert_array_equal(found["module.bn1.weight"], [2, 4, 6, 8])
    assert found["module.layer1.0.bn1.bias"].dtype == np.float64
    assert found["module.bn1.num_batches_tracked"].dtype == np.int64


def test_the_pickle_made_by_hand_is_a_valid_one(tmp_path):
    path = zipped(tmp_path / "w.pth", data_pkl=torch_pickle((2, 2), (1, 2)), data__0=FOUR, byteorder=b"little")
    np.testing.assert_array_equal(read_weights(path)["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"size": (2, 3), "strides": (3, 1)}, r"shape \[2, 3\] extends beyond its storage"),
        ({"size": (4,), "strides": (1,), "offset": 1}, "extends beyond its storage"),
        ({"size": (4,), "strides": (-1,), "offset": 3}, r"\(-1,\) are not valid sizes"),
        ({"size": (4,), "strides": (1,), "offset": -1}, r"\(-1,\) are not valid sizes"),
        ({"size": (2, 2), "strides": (1,)}, "cannot be read"),
        ({"size": (4,), "strides": (1,), "count": 5}, "storage 0 has 16 bytes for 5 values of float32"),
    ],
)
def test_a_tensor_outside_its_numbers_is_refused(tmp_path, numbers, message):
    path = zipped(tmp_path / "w.pth", data_pkl=torch_pickle(**numbers), data__0=FOUR)
    with pytest.raises(InputError, match=message):
        read_weights(path)


def test_damaged_and_foreign_torch_files_are_refused(tmp_path):
    whole = (DATA / "small_trunk.pth").read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        read_weights(cut)
    flipped = tmp_path / "flipped.pth"
    flipped.write_bytes(whole.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"))
    with pytest.raises(InputError, match="damaged"):
        read_weights(flipped)
    with pytest.raises(InputError, match=r"has no single data\.pkl"):
        read_weights(zipped(tmp_path / "other.pth", version=b"3"))
    with pytest.raises(InputError, match="big-endian"):
        read_weights(zipped(tmp_path / "big.pth", data_pkl=torch_pickle((4,), (1,)), data__0=FOUR, byteorder=b"big"))
    with pytest.raises(InputError, match=r"torch\.save"):
        read_weights(zipped(tmp_path / "no_numbers.pth", data_pkl=torch_pickle((4,), (1,))))
    with pytest.raises(InputError, match="contains no state dict"):
        read_weights(zipped(tmp_path / "list.pth", data_pkl=pickle.dumps([1, 2], protocol=2)))


def test_the_form_of_before_pytorch_1_6_is_read_exactly(weights):
    found = read_weights(DATA / "small_trunk_legacy.pth")
    assert weights.keys() <= found.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_damaged_and_hostile_files_of_the_older_form_are_refused(tmp_path):
    good = torch_pickle((2, 2), (1, 2))
    np.testing.assert_array_equal(read_weights(legacy(tmp_path / "w.pth", good))["w"], [[0, 2], [1, 3]])
    changed: list[dict[str, Any]] = [
        {"numbers": FOUR[:-1]},
        {"count": 3},
        {"keys": ("0", "1")},
        {"keys": ()},
        {"keys": (("0",),)},
        {"little_endian": False},
    ]
    for changes in changed:
        path = legacy(tmp_path / "w.pth", good, **changes)
        with pytest.raises(InputError, match=r"w\.pth"):
            read_weights(path)
    trace = tmp_path / "was_run"
    with pytest.raises(InputError, match=r"refers to (posix|nt)\.system"):
        read_weights(legacy(tmp_path / "w.pth", pickle.dumps(Hostile(os.system, f"touch {trace}"), protocol=2)))
    assert not trace.exists()
    with pytest.raises(InputError, match="more bytes than it has"):  # before any memory is taken for them
        read_weights(legacy(tmp_path / "w.pth", torch_pickle((4,), (1,), count=2**40), count=2**40))


def test_what_stands_beside_the_weights_is_read_or_left_out(tmp_path):
    """Accuracies as NumPy's numbers, as programs save them; also out of Python 2, where bytes were text."""
    scalar = pickle.dumps(np.float64(0.875), protocol=2).replace(b"numpy._core", b"numpy.core")
    content = (
        b"\x80\x02}(Vstate_dict\n" + torch_pickle((4,), (1,))[2:-1] + b"Vbest_acc\n" + scalar[2:-1] + b"Vepoch\nI3\nu."
    )
    path = zipped(tmp_path / "w.pth.tar", data_pkl=content, data__0=FOUR)
    np.testing.assert_array_equal(read_weights(path)["w"], [0, 1, 2, 3])
    found = read_torch_file(path)
    assert (found["best_acc"], found["epoch"]) == (0.875, 3)
    python2 = b"cnumpy\ndtype\n(U\x02f8I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntb"
    python2 = b"cnumpy.core.multiarray\nscalar\n(" + python2 + b"U\x08" + struct.pack("<d", 0.1) + b"tR"
    assert read_torch_file(zipped(tmp_path / "old.pth", data_pkl=b"\x80\x02" + python2 + b".")) == 0.1


ARRAYS = {
    "numbers": np.arange(6.0).reshape(2, 3).T,
    "big endian": np.arange(3, dtype=">i4"),
    "text": np.array(["0001C1T0001F001.jpg", "é"]),
    "truth": np.array([True, False]),
    "none": np.zeros((0, 2), np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_numpy_are_read(tmp_path, name):
    content = pickle.dumps({"a": ARRAYS[name]}, protocol=2)
    found = read_torch_file(zipped(tmp_path / "a.pth", data_pkl=content))["a"].array
    assert (found.dtype, found.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
    np.testing.assert_array_equal(found, ARRAYS[name])


@pytest.mark.parametrize(
    "value", [np.array([{}], object), np.zeros(1, [("a", "f4")]), np.array(["2020-01-01"], "datetime64[D]")]
)
def test_arrays_of_anything_else_are_refused(tmp_path, value):
    with pytest.raises(InputError, match="cannot be read"):
        read_torch_file(zipped(tmp_path / "a.pth", data_pkl=pickle.dumps(value, protocol=2)))


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", torch_pickle((4,), (1,)))
        archive.writestr("archive/data/0", FOUR)
    with pytest.raises(InputError, match="compressed"):
        read_weights(path)
