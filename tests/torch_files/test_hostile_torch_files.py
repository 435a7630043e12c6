"""Files of torch.save that would run code, alter the process or fill the memory: refused, and nothing happens."""

import copyreg
import os
import pickle
import struct
from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.models.weight_files import read_weights
from rgcn_jax.torch_files import pickles
from tests.torch_files.handmade import FOUR, Hostile, torch_pickle, zipped


@pytest.mark.parametrize("wrapped", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, wrapped):
    trace = tmp_path / "was_run"
    hostile = Hostile(os.system, f"touch {trace}")
    content = pickle.dumps({"state_dict": {"conv1.weight": hostile}} if wrapped else hostile, protocol=2)
    pickle.loads(content)
    assert trace.exists()  # the file does what it threatens where it is unpickled plainly
    trace.unlink()
    path = zipped(tmp_path / "hostile.pth", data_pkl=content)
    with pytest.raises(InputError, match=r"hostile\.pth refers to (posix|nt)\.system"):
        read_weights(path)
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, __import__])
def test_builtins_are_refused_by_name(tmp_path, function):
    path = zipped(tmp_path / "hostile.pt", data_pkl=pickle.dumps(Hostile(function, "1"), protocol=2))
    with pytest.raises(InputError, match=rf"refers to (__builtin__|builtins)\.{function.__name__}"):
        read_weights(path)


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
        with pytest.raises(InputError, match=r"w\.pth .*torch\.save"):
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
