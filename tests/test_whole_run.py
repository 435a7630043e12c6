"""A short real training with evaluations: what is compiled, and what goes between host and device."""

import logging
from collections import Counter

import jax
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.config_io import override, packaged_config, typed
from rgcn_jax.models.two_branch import feature_statistics
from rgcn_jax.training.train import train
from tests import mars_folder
from tests.test_architecture import REPOSITORY

STEPS = 5


@pytest.fixture
def config(monkeypatch):
    """Five steps, evaluated after every second and at the end, with a checkpoint each time."""
    monkeypatch.chdir(REPOSITORY)
    small = {
        "train_identities": 4,
        "test_identities": 4,
        "group_size": 2,
        "cameras": 2,
        "max_frames": 5,
        "min_frames": 3,
    }
    changes = {f"data.walkers.{name}": value for name, value in small.items()}
    changes |= {"num_steps": STEPS, "eval_every_epochs": 1, "log_every_steps": 1, "evaluation.clips": "dense"}
    arguments = [f"--config.{name}={value}" for name, value in changes.items()]
    return typed(override(packaged_config("walkers"), [*mars_folder.TINY, *arguments]))


@pytest.mark.slow
@pytest.mark.jit
def test_each_step_is_compiled_once_and_no_array_travels_unasked(config, tmp_path, monkeypatch, caplog):
    """From the first batch on: a step that is given NumPy arrays, or a number that is turned into an array between two
    steps, would raise.
    """
    sharded, shard = [], parallel.shard

    def guarded(batch, mesh):
        sharded.append(batch)
        jax.config.update("jax_transfer_guard", "disallow")
        return shard(batch, mesh)

    def unguarded(batch_stats):  # once an evaluation
        with jax.transfer_guard("allow"):
            return feature_statistics(batch_stats)

    monkeypatch.setattr(parallel, "shard", guarded)
    monkeypatch.setattr("rgcn_jax.evaluation.scorer.feature_statistics", unguarded)
    try:
        with caplog.at_level(logging.WARNING), jax.log_compiles():
            train(config, tmp_path / "run")
    finally:
        jax.config.update("jax_transfer_guard", "allow")
    assert len(sharded) > STEPS  # and those of the evaluations
    compiled = Counter(r.getMessage().split()[1] for r in caplog.records if r.getMessage().startswith("Compiling "))
    assert compiled["jit(train_step)"] == 1
    assert compiled["jit(embed)"] == 1


@pytest.mark.jit
def test_the_guard_sees_a_batch_that_was_not_put_on_the_device():
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        jax.jit(lambda x: 2 * x)(np.ones(3))
