"""Files of torch.save made by hand, opcode by opcode, so that any of their numbers can be wrong."""

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "models" / "data"


def zipped(path, **records):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name.replace('__', '/').replace('data_pkl', 'data.pkl')}", content)
    return path


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def torch_pickle(size, strides, offset=0, count=4):
    """A state dict of one float32 tensor, opcode by opcode: what torch.save writes, with any numbers in it."""
    numbers = [str(number).encode() for number in (count, offset)]
    sizes, steps = (b"(" + b"".join(b"I%d\n" % value for value in values) + b"t" for values in (size, strides))
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI" + numbers[0] + b"\ntQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I" + numbers[1] + b"\n" + sizes + steps
    return b"\x80\x02}Vw\n" + rebuild + b"I00\nccollections\nOrderedDict\n)RtRs."


FOUR = np.arange(4, dtype="<f4").tobytes()


def legacy(path, pickled, keys=("0",), count=4, numbers=FOUR, little_endian=True):
    """The older form by hand: a number, a version, the machine, the content, the keys, the storages."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": little_endian}]
    stream = [pickle.dumps(value, protocol=2) for value in head] + [pickled, pickle.dumps(list(keys), protocol=2)]
    path.write_bytes(b"".join(stream) + struct.pack("<q", count) + numbers)
    return path
