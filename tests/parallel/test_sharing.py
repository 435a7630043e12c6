"""What several processes read: consecutive clips of each batch, which together are the batch; from files and arrays."""

import numpy as np
import pytest

from rgcn_jax.data.clips.memory import MemoryReader
from rgcn_jax.data.clips.pipeline import ClipReader, LooseFiles
from rgcn_jax.data.clips.reader import ProcessReader
from rgcn_jax.errors import InputError
from tests import frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return frames.write(tmp_path_factory.mktemp("frames"))


@pytest.mark.parametrize(("kind", "processes"), [("files", 2), ("memory", 2), ("memory", 4)])
def test_the_clips_of_all_processes_in_order_are_the_batches_of_one(kind, processes, data):
    read = MemoryReader(data.read)
    if kind == "files":
        read = ClipReader(LooseFiles(data.root), data.source, frames.HEIGHT, frames.WIDTH)
    plans = frames.plans(4, crop=0.5, flip=0.5, erase=0.5)
    shares = [list(ProcessReader(read, index, processes)(plans)) for index in range(processes)]
    for parts, whole in zip(zip(*shares, strict=True), read(plans), strict=True):
        together = {name: np.concatenate([part[name] for part in parts]) for name in whole}
        frames.assert_batches_equal(together, whole)


def test_batches_that_cannot_be_shared_are_reported(data):
    with pytest.raises(InputError, match="7 processes"):
        list(ProcessReader(MemoryReader(data.read), 0, 7)(frames.plans(1)))
