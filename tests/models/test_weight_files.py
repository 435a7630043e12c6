"""Reading weight files: the safetensors form, and which form a file is in. ``torch.save``'s is in tests/torch_files."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from rgcn_jax.errors import InputError
from rgcn_jax.models.weight_files import read_weights

DATA = Path(__file__).parent / "data"
FOUR = np.arange(4, dtype="<f4").tobytes()


def safetensors(path, table, data, length=None):
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


def test_safetensors_are_read_exactly(tmp_path):
    with np.load(DATA / "small_trunk.npz") as file:
        weights = dict(file)
    weights["half"] = np.arange(6, dtype=np.float16).reshape(2, 3)
    weights["brain"] = np.arange(6, dtype=jnp.bfloat16)
    weights["empty"] = np.zeros((0, 3), np.float32)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = read_weights(tmp_path / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)


def test_other_kinds_of_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="not one of torch.save"):  # a zip archive as well
        read_weights(DATA / "small_trunk.npz")
    (tmp_path / "w.pth").write_bytes(b"weights")
    with pytest.raises(InputError, match="neither"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(InputError, match="absent.pth cannot be read"):
        read_weights(tmp_path / "absent.pth")


GOOD = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}


@pytest.mark.parametrize(
    ("table", "data", "length"),
    [
        (GOOD, FOUR, 10**9),
        (GOOD, FOUR, 2**63),
        (b"not json", FOUR, None),
        ([1], FOUR, None),
        ({"w": {**GOOD["w"], "dtype": "C64"}}, FOUR, None),
        ({"w": {**GOOD["w"], "shape": [-4]}}, FOUR, None),
        ({"w": {**GOOD["w"], "shape": [5]}}, FOUR, None),
        ({"w": {**GOOD["w"], "data_offsets": [0]}}, FOUR, None),
        (GOOD, FOUR[:-1], None),
        (GOOD, FOUR + b"x", None),
        ({**GOOD, "v": GOOD["w"]}, FOUR, None),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}, FOUR, None),
        # Shapes that NumPy cannot have, though the numbers in them are few.
        ({"w": {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]}}, b"", None),
        ({"w": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b"", None),
        ({"w": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}, FOUR[:4], None),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path, table, data, length):
    assert read_weights(safetensors(tmp_path / "good.safetensors", GOOD, FOUR))["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"w\.safetensors is not a safetensors file"):
        read_weights(safetensors(tmp_path / "w.safetensors", table, data, length))


def test_a_file_shorter_than_its_length_field_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\x00\x00\x00")
    with pytest.raises(InputError, match=r"w\.safetensors"):
        read_weights(path)
