"""Killed and preempted, the run that comes out equals the one that was left alone; the driver's short form."""

import re

import jax
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.config_io import load_config_file, override, typed
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.run import prepare
from tests.faults import driver
from tests.faults.job import REPOSITORY, TINY
from tests.kills import KILLS

pytestmark = pytest.mark.slow


def test_a_run_killed_again_comes_out_bit_for_bit(tmp_path):
    """Killed within a save, then by SIGTERM. In full: ``python -m tests.faults.driver --kills=30 --terms=10``."""
    said, times = [], KILLS // 4
    lives = driver.drive(tmp_path, kills=times, terms=times, say=said.append, limit=200)
    assert len(lives) == 2 * times + 1
    assert f"survived {2 * times} of {2 * times} ({times} SIGKILL, {times} SIGTERM)" in said
    assert re.search(r"goodput \d+\.\d %", said[-1])


@pytest.mark.jit
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, monkeypatch):
    """From a checkpoint of one device on two: the same batch, and numbers that differ by the order of sums alone."""
    monkeypatch.chdir(REPOSITORY)

    def run_on(devices):
        changes = [f"--config.parallel.num_devices={devices}", "--config.model.pose=none"]
        return prepare(typed(override(load_config_file(TINY[0].removeprefix("--config=")), [*TINY[1:], *changes])))

    def step(run, state, number):
        batch = next(iter(run.data.read(run.sampler.plans(number - 1, number))))
        return *run.train_step(state, parallel.shard(batch, run.mesh)), batch

    alone, moved = run_on(1), run_on(2)
    state, _, _ = step(alone, alone.state, 1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", state, {})
        checkpoints.wait()
        newest = checkpoints.newest_intact("latest", moved.state)
    assert newest is not None
    restored, _, _ = newest
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored.params)} == {2}
    _, expected, batch = step(alone, state, 2)
    _, found, same_batch = step(moved, restored, 2)
    for name, value in batch.items():
        np.testing.assert_array_equal(same_batch[name], value, err_msg=name)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4), name
