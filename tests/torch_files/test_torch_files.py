"""Reading files of torch.save: real ones that PyTorch wrote, and hostile or damaged ones made here by hand."""

import copyreg
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.models.weight_files import read_weights
from rgcn_jax.torch_files import pickles
from rgcn_jax.torch_files.reader import read_torch_file

DATA = Path(__file__).parents[1] / "models" / "data"


@pytest.fixture
def weights():
    with np.load(DATA / "small_trunk.npz") as file:
        return dict(file)


def zipped(path, **records):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name.replace('__', '/').replace('data_pkl', 'data.pkl')}", content)
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
    with pytest.raises(InputError, match=r"hostile\.pth asks for (posix|nt)\.system"):
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
    own = [value for value in vars(pickles).values() if getattr(value, "__module__", "") == pickles.__name__]
    members = [member for value in own if isinstance(value, type) for member in vars(value).values()]
    return (
        [getattr(bfloat16, field) for field in ("itemsize", "alignment", "byteorder", "str", "flags", "hasobject")],
        dict(vars(OrderedDict)),
        [(value, dict(getattr(value, "__dict__", {}))) for value in own + members],
        {name: (dtype, dtype.itemsize) for name, dtype in pickles.STORAGES.items()},
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
WITHOUT_EFFECT = {("parameter", "REDUCE of wrong arguments")}
"""_rebuild_parameter gives its first argument back, whatever it is."""


def preceded(attack):
    """The valid file, with an attack before it whose result is discarded (POP): nothing else is wrong with it."""
    return b"\x80\x04" + attack + b"0" + torch_pickle((4,), (1,))[2:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_cannot_alter_what_it_asked_for(tmp_path, name, attack):
    before = process_state()
    path = zipped(tmp_path / "w.pth", data_pkl=preceded(ATTACKS[attack] % NAMES[name]), data__0=FOUR)
    if (name, attack) in WITHOUT_EFFECT:
        assert read_weights(path).keys() == {"w"}
    else:
        with pytest.raises(InputError, match=r"w\.pth cannot be read as a file of torch\.save"):
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
            with pytest.raises(InputError, match=r"w\.pth cannot be read"):
                read_weights(path)
            assert not trace.exists()
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 240)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"size": (2, 3), "strides": (3, 1)}, r"shape \[2, 3\] extends beyond its storage"),
        ({"size": (4,), "strides": (1,), "offset": 1}, "extends beyond its storage"),
        ({"size": (4,), "strides": (-1,), "offset": 3}, r"\(-1,\) are not valid sizes"),
        ({"size": (4,), "strides": (1,), "offset": -1}, r"\(-1,\) are not valid sizes"),
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
    with pytest.raises(InputError, match=r"cannot be read as a file of torch\.save"):
        read_weights(zipped(tmp_path / "no_numbers.pth", data_pkl=torch_pickle((4,), (1,))))
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(zipped(tmp_path / "list.pth", data_pkl=pickle.dumps([1, 2], protocol=2)))


def test_the_form_of_before_pytorch_1_6_is_read_exactly(weights):
    found = read_weights(DATA / "small_trunk_legacy.pth")
    assert weights.keys() <= found.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def legacy(path, pickled, keys=("0",), count=4, numbers=FOUR, little_endian=True):
    """The older form by hand: a number, a version, the machine, the content, the keys, the storages."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": little_endian}]
    stream = [pickle.dumps(value, protocol=2) for value in head] + [pickled, pickle.dumps(list(keys), protocol=2)]
    path.write_bytes(b"".join(stream) + struct.pack("<q", count) + numbers)
    return path


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
    with pytest.raises(InputError, match=r"asks for (posix|nt)\.system"):
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


def doubled(levels, make):
    """A value nested so deep, each level twice: short as a pickle, and 2^levels long to whoever walks through it."""
    content = make(b"")
    for i in range(levels):
        content += b"q" + bytes([i]) + b"0" + make(b"h" + bytes([i]) + b"h" + bytes([i]))
    return content


LIST, TUPLE = (lambda inner: b"(" + inner + b"l"), (lambda inner: b"(" + inner + b"t")


@pytest.mark.parametrize(
    "content",
    [
        b"}r" + struct.pack("<I", 2**32 - 1) + b"(Vw\nI1\nu",
        b"}" + doubled(60, TUPLE) + b"I1\ns",
        b"ccollections\nOrderedDict\n((" + doubled(60, TUPLE) + b"I1\nl" + b"tR",
        b"(" + doubled(60, LIST) + b"tQ",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NI0\n" + doubled(60, LIST) + b"h\x3btR",
        torch_pickle((2**20, 2**20), (0, 0))[2:-1],
    ],
    ids=["memo", "key", "key of a table", "reference", "sizes", "strides of 0"],
)
def test_a_short_file_takes_neither_for_ever_nor_the_memory(tmp_path, content):
    with pytest.raises(InputError, match=r"w\.pth"):
        read_weights(zipped(tmp_path / "w.pth", data_pkl=b"\x80\x02" + content + b".", data__0=FOUR))


def test_a_table_within_itself_has_an_end(tmp_path):
    with pytest.raises(InputError, match="no state dict"):
        read_weights(zipped(tmp_path / "w.pth", data_pkl=b"\x80\x02}q\x00Vmodel\nh\x00s."))


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", torch_pickle((4,), (1,)))
        archive.writestr("archive/data/0", FOUR)
    with pytest.raises(InputError, match="compressed"):
        read_weights(path)
