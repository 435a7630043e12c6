"""A checkpoint's weights read alone are those that were saved; a damaged one is refused; nothing is written."""

import jax
import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.training.checkpoint import Checkpoints, DamagedError
from rgcn_jax.training.weights import read_weights
from tests import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("weights")
    with jax.disable_jit(False), Checkpoints(workdir) as checkpoints:
        state, _, _ = tiny.start(1)
        checkpoints.save("latest", state, {})
    return workdir, state


@pytest.mark.jit
def test_they_come_back_bit_for_bit_and_nothing_is_written(saved):
    workdir, state = saved
    before = sorted(workdir.rglob("*"))
    found = read_weights(workdir, "latest")
    assert found.step == 0
    expected, values = host_leaves(state.variables), host_leaves(found.variables)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert sorted(workdir.rglob("*")) == before


def test_a_kind_that_is_not_there(saved):
    with pytest.raises(InputError, match="no 'best' checkpoint"):
        read_weights(saved[0], "best")


@pytest.mark.jit
def test_another_record_is_a_damaged_checkpoint(saved):
    record = saved[0] / "checkpoints" / "latest" / "0" / "record" / "metadata"
    record.write_text(record.read_text().replace('"variables": "', '"variables": "0'))
    with pytest.raises(DamagedError, match="damaged"):
        read_weights(saved[0], "latest")
