"""Reading weight files: real ones that PyTorch wrote, and hostile or damaged ones made here by hand."""

import copyreg
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from rgcn_jax.errors import InputError
from rgcn_jax.models import weight_files
from rgcn_jax.models.weight_files import read_weights

DATA = Path(__file__).parent / "data"


@pytest.fixture
def weights():
    with np.load(DATA / "small_trunk.npz") as file:
        return dict(file)


def zipped(path, **records):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name.replace('__', '/').replace('data_pkl', 'data.pkl')}", content)
    return path


def safetensors(path, table, data, length=None):
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


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


def test_safetensors_are_read_exactly(tmp_path, weights):
    weights["half"] = np.arange(6, dtype=np.float16).reshape(2, 3)
    weights["brain"] = np.arange(6, dtype=jnp.bfloat16)
    weights["empty"] = np.zeros((0, 3), np.float32)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = read_weights(tmp_path / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrapped", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, wrapped):
    trace = tmp_path / "was_run"
    hostile = Hostile(os.system, f"touch {trace}")
    content = pickle.dumps({"state_dict": {"conv1.weight": hostile}} if wrapped else hostile, protocol=2)
    pickle.loads(content)
    assert trace.exists()  # the file does what it threatens where it is unpickled plainly
    trace.unlink()
    path = zipped(tmp_path / "hostile.pth", data_pkl=content)
    with pytest.raises(InputError, match=r"hostile\.pth asks for (posix|nt)\.system, which no table of weights needs"):
        read_weights(path)
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, __import__])
def test_builtins_are_refused_by_name(tmp_path, function):
    path = zipped(tmp_path / "hostile.pt", data_pkl=pickle.dumps(Hostile(function, "1"), protocol=2))
    with pytest.raises(InputError, match=rf"asks for (__builtin__|builtins)\.{function.__name__}"):
        read_weights(path)


def torch_pickle(size, strides, offset=0, count=4):
    """A state dict of one float32 tensor, opcode by opcode: what torch.save writes, with any numbers in it."""
    numbers = [str(number).encode() for number in (count, offset)]
    sizes, steps = (b"(" + b"".join(b"I%d\n" % value for value in values) + b"t" for values in (size, strides))
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI" + numbers[0] + b"\ntQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I" + numbers[1] + b"\n" + sizes + steps
    return b"\x80\x02}Vw\n" + rebuild + b"I00\nccollections\nOrderedDict\n)RtRs."


FOUR = np.arange(4, dtype="<f4").tobytes()


def test_the_pickle_made_by_hand_is_a_valid_one(tmp_path):
    path = zipped(tmp_path / "w.pth", data_pkl=torch_pickle((2, 2), (1, 2)), data__0=FOUR, byteorder=b"little")
    np.testing.assert_array_equal(read_weights(path)["w"], [[0, 2], [1, 3]])


def process_state():
    """What a file must not alter: the bfloat16 type, OrderedDict, the attributes of the reader's functions."""
    bfloat16 = np.dtype(jnp.bfloat16)
    own = [value for value in vars(weight_files).values() if getattr(value, "__module__", "") == weight_files.__name__]
    members = [member for value in own if isinstance(value, type) for member in vars(value).values()]
    return (
        [getattr(bfloat16, field) for field in ("itemsize", "alignment", "byteorder", "str", "flags", "hasobject")],
        dict(vars(OrderedDict)),
        [(value, dict(getattr(value, "__dict__", {}))) for value in own + members],
        {name: (dtype, dtype.itemsize) for name, dtype in weight_files._TORCH_DTYPES.items()},
    )


NAMES = {
    "function": b"torch._utils\n_rebuild_tensor_v2\n",
    "parameter": b"torch._utils\n_rebuild_parameter\n",
    "table": b"collections\nOrderedDict\n",
    "bfloat16": b"torch\nBFloat16Storage\n",
    "float32": b"torch\nFloatStorage\n",
}
MARK = b"Vmark\nI1\n"
ATTACKS = {
    "BUILD of attributes": b"c%b}" + MARK + b"sb",
    "BUILD of slots": b"c%bN}" + MARK + b"s\x86b",
    "BUILD of attributes and slots": b"c%b}" + MARK + b"s}" + MARK + b"s\x86b",
    "BUILD of a dtype": b"c%b(I3\nV>\nNNNI-1\nI-1\nI0\ntb",
    "BUILD of another object": b"c%bVmark\nb",
    "SETITEM": b"c%b" + MARK + b"s",
    "SETITEMS": b"c%b(" + MARK + b"u",
    "APPEND": b"c%bI1\na",
    "APPENDS": b"c%b(I1\ne",
    "ADDITEMS": b"c%b(I1\n\x90",
    "NEWOBJ": b"c%b)\x81",
    "NEWOBJ_EX": b"c%b)}\x92",
    "BUILD through the memo": b"c%bq\x000h\x00}" + MARK + b"sb",
    "OBJ of wrong arguments": b"(c%bI1\no",
    "INST of wrong arguments": b"(I1\ni%b",
    "REDUCE of wrong arguments": b"c%bI1\n\x85R",
}
WITHOUT_EFFECT = {("parameter", f"{opcode} of wrong arguments") for opcode in ("OBJ", "INST", "REDUCE")}
"""_rebuild_parameter gives its first argument back, whatever it is."""


def preceded(attack):
    """The valid file, with an attack before it whose result is thrown away (POP): nothing else is wrong with it."""
    return b"\x80\x04" + attack + b"0" + torch_pickle((4,), (1,))[2:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_cannot_alter_what_it_asked_for(tmp_path, name, attack):
    before = process_state()
    path = zipped(tmp_path / "w.pth", data_pkl=preceded(ATTACKS[attack] % NAMES[name]), data__0=FOUR)
    if (name, attack) in WITHOUT_EFFECT:
        assert read_weights(path).keys() == {"w"}
    else:
        with pytest.raises(InputError, match=r"w\.pth cannot be read as a file that torch\.save wrote"):
            read_weights(path)
    assert process_state() == before
    np.testing.assert_array_equal(np.arange(3, dtype=jnp.bfloat16).astype(np.float32), [0, 1, 2])


@pytest.mark.parametrize("attack", [b"}" + MARK + b"sb", b"I0\nI9\ns", b"(I1\nI4\n\x85NI0\nNtb"])
def test_a_file_cannot_alter_a_storage(tmp_path, attack):
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    read_weights(zipped(tmp_path / "good.pth", data_pkl=preceded(storage), data__0=FOUR))
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(zipped(tmp_path / "w.pth", data_pkl=preceded(storage + attack), data__0=FOUR))


def test_attributes_of_an_ordered_dict_are_dropped(tmp_path):
    """PyTorch saves ``_metadata`` so; a file that would so replace the table's own functions changes nothing."""
    attributes = b"}(V_metadata\n}Vget\nI1\nVitems\nI1\nub"
    content = b"\x80\x02ccollections\nOrderedDict\n)R" + torch_pickle((4,), (1,))[3:-1] + attributes + b"."
    path = zipped(tmp_path / "w.pth", data_pkl=content, data__0=FOUR)
    np.testing.assert_array_equal(read_weights(path)["w"], [0, 1, 2, 3])


def test_extension_codes_are_refused(tmp_path):
    """They give an object that anything in the process has unpickled before, whatever it is."""
    trace = tmp_path / "was_run"
    copyreg.add_extension(os.system.__module__, "system", 240)
    try:
        assert pickle.loads(b"\x80\x02\x82\xf0.") is os.system
        for code in (b"\x82\xf0", b"\x83\xf0\x00", b"\x84\xf0\x00\x00\x00"):
            attack = code + b"Vtouch %b\n\x85R" % str(trace).encode()
            path = zipped(tmp_path / "w.pth", data_pkl=preceded(attack), data__0=FOUR)
            with pytest.raises(InputError, match=r"w\.pth asks for objects by extension codes"):
                read_weights(path)
            assert not trace.exists()
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 240)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"size": (2, 3), "strides": (3, 1)}, r"shape \[2, 3\] reaches beyond its storage"),
        ({"size": (4,), "strides": (1,), "offset": 1}, "reaches beyond its storage"),
        ({"size": (4,), "strides": (-1,), "offset": 3}, r"\(-1,\) are no sizes"),
        ({"size": (4,), "strides": (1,), "offset": -1}, r"\(-1,\) are no sizes"),
        ({"size": (2, 2), "strides": (1,)}, "cannot be read"),
        ({"size": (4,), "strides": (1,), "count": 5}, "storage 0 has 16 bytes for 5 numbers of float32"),
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
    with pytest.raises(InputError, match="damaged or was cut off"):
        read_weights(cut)
    flipped = tmp_path / "flipped.pth"
    flipped.write_bytes(whole.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"))
    with pytest.raises(InputError, match="damaged"):
        read_weights(flipped)
    with pytest.raises(InputError, match=r"has no single data\.pkl"):
        read_weights(zipped(tmp_path / "other.pth", version=b"3"))
    with pytest.raises(InputError, match="big-endian"):
        read_weights(zipped(tmp_path / "big.pth", data_pkl=torch_pickle((4,), (1,)), data__0=FOUR, byteorder=b"big"))
    with pytest.raises(InputError, match=r"cannot be read as a file that torch\.save wrote"):
        read_weights(zipped(tmp_path / "no_numbers.pth", data_pkl=torch_pickle((4,), (1,))))
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(zipped(tmp_path / "list.pth", data_pkl=pickle.dumps([1, 2], protocol=2)))
    with pytest.raises(InputError, match=r"before version 1\.6\. Convert it once"):
        read_weights(DATA / "small_trunk_legacy.pth")


def test_other_kinds_of_file_are_refused():
    with pytest.raises(InputError, match=r"not from '\.npz'"):
        read_weights(DATA / "small_trunk.npz")


GOOD = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}


@pytest.mark.parametrize(
    ("table", "data", "length", "message"),
    [
        (GOOD, FOUR, 10**9, "its header does not fit"),
        (b"not json", FOUR, None, "no table of tensors of known types"),
        ([1], FOUR, None, "no table of tensors of known types"),
        ({"w": {**GOOD["w"], "dtype": "F8_E4M3"}}, FOUR, None, "F8_E4M3"),
        ({"w": {**GOOD["w"], "shape": [-4]}}, FOUR, None, r"\[-4\] are no sizes"),
        (
            {"w": {**GOOD["w"], "shape": [5]}},
            FOUR,
            None,
            r"'w' \(float32, shape \[5\]\) does not lie at bytes 0 to 16 of 16",
        ),
        ({"w": {**GOOD["w"], "data_offsets": [0]}}, FOUR, None, "no table of tensors"),
        (GOOD, FOUR[:-1], None, "bytes 0 to 16 of 15; the file is damaged or was cut off"),
        (GOOD, FOUR + b"x", None, "1 bytes belong to no tensor"),
        ({**GOOD, "v": GOOD["w"]}, FOUR, None, "does not lie at"),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}, FOUR, None, "does not lie at"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path, table, data, length, message):
    path = safetensors(tmp_path / "w.safetensors", table, data, length)
    with pytest.raises(InputError, match=message):
        read_weights(path)


def test_a_file_shorter_than_its_length_field_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\x00\x00\x00")
    with pytest.raises(InputError, match="its header does not fit into 3 bytes"):
        read_weights(path)
