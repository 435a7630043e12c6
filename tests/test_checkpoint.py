"""What is saved comes back bit for bit; a checkpoint of another model is refused by name."""

import jax
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.checkpoint import Checkpoints
from rgcn_jax.types import InputError
from tests import tiny


def advanced(steps, **changes):
    state, step, mesh = tiny.start(1, **changes)
    for seed in range(steps):
        state, _ = step(state, parallel.shard(tiny.batch(seed), mesh))
    return state


@pytest.mark.jit
def test_the_whole_state_comes_back(tmp_path):
    state = advanced(2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", state, {"mAP": 1.5})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 2
        assert checkpoints.latest_step("best") is None
        restored = checkpoints.restore("latest", tiny.start(1)[0])
        assert checkpoints.record("latest") == {"mAP": 1.5}
        assert checkpoints.record("best") == {}
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.jit
def test_two_latest_and_one_best_are_kept(tmp_path):
    state, step, mesh = tiny.start(1)
    with Checkpoints(tmp_path) as checkpoints:
        for seed in range(4):
            state, _ = step(state, parallel.shard(tiny.batch(seed), mesh))
            checkpoints.save("latest", state, {})
            checkpoints.save("best", state, {})
    kept = {kind: sorted(p.name for p in (tmp_path / "checkpoints" / kind).iterdir()) for kind in ("latest", "best")}
    assert kept == {"latest": ["3", "4"], "best": ["4"]}


@pytest.mark.jit
def test_another_model_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", advanced(1), {})
    with Checkpoints(tmp_path) as checkpoints:
        told = r"is of another model \(appearance/trunk/bn1/bias: .*\(4,\), the model \(8,\)"
        with pytest.raises(InputError, match=told):
            checkpoints.restore("latest", tiny.start(1, width=8)[0])
        with pytest.raises(InputError, match=r"the model has none.*another --workdir"):
            checkpoints.restore("latest", tiny.start(1, pose="none")[0])
        with pytest.raises(InputError, match=r"no 'best' checkpoint in .*train first"):
            checkpoints.restore("best", tiny.start(1)[0])


@pytest.mark.jit
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_can_be_used(tmp_path):
    state, step, mesh = tiny.start(1)
    with Checkpoints(tmp_path) as checkpoints:
        for seed in range(2):
            state, _ = step(state, parallel.shard(tiny.batch(seed), mesh))
            checkpoints.save("latest", state, {})
    newest = tmp_path / "checkpoints" / "latest" / "2"
    (newest / "state" / "_METADATA").write_text('{"tree_metadata": ')  # cut off in the middle
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(InputError, match=r"latest/2 cannot be read .*move this"):
        checkpoints.restore("latest", tiny.start(1)[0])
    newest.rename(tmp_path / "damaged")
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.restore("latest", tiny.start(1)[0]).step) == 1
