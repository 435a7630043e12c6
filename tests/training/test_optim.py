"""Adam with coupled L2 against the update written out; the schedule by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.config import OptimizerConfig
from rgcn_jax.training.optim import (
    adam_coupled_l2,
    cosine_schedule,
    make_schedule,
    step_schedule,
    with_pose_factor,
)


def test_the_decay_joins_the_gradient_before_the_moments():
    rng = np.random.default_rng(0)
    p, rate, decay, b1, b2 = rng.normal(size=5), 1e-2, 0.1, 0.9, 0.999
    optimizer = adam_coupled_l2(lambda _: rate, decay)
    params = jnp.asarray(p, jnp.float32)
    state = optimizer.init(params)
    m, v = np.zeros(5), np.zeros(5)
    for t in range(1, 6):
        gradient = rng.normal(size=5)
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        assert isinstance(updates, jax.Array)
        params = params + updates
        g = gradient + decay * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p = p - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        np.testing.assert_allclose(params, p, rtol=1e-4, atol=1e-6)


def rate_at(schedule, step):
    return float(jnp.asarray(schedule(step)))


def test_the_rate_falls_tenfold_every_200_epochs():
    schedule = step_schedule(3e-4, 0.1, 200 * 78)
    assert rate_at(schedule, 0) == pytest.approx(3e-4)
    assert rate_at(schedule, 200 * 78 - 1) == pytest.approx(3e-4)
    assert rate_at(schedule, 200 * 78) == pytest.approx(3e-5)
    assert rate_at(schedule, 799 * 78) == pytest.approx(3e-7)
    assert rate_at(step_schedule(3e-4, 0.1, 0), 10**6) == pytest.approx(3e-4)


def test_a_warm_up_grows_from_a_hundredth_and_moves_no_decay():
    plain, warm = step_schedule(1e-2, 0.1, 40), step_schedule(1e-2, 0.1, 40, warmup_steps=10)
    assert rate_at(warm, 0) == pytest.approx(1e-4)
    assert rate_at(warm, 5) == pytest.approx(1e-2 * (0.01 + 0.5 * 0.99))
    for step in (10, 39, 40, 79, 80):
        assert rate_at(warm, step) == pytest.approx(rate_at(plain, step))


def test_a_cosine_falls_from_the_end_of_the_warm_up_to_the_last_step():
    for warmup in (0, 10):
        schedule = cosine_schedule(1e-2, 110, 0.01, warmup)
        for step in (warmup, warmup + 1, 60, 109, 110, 200):
            u = min((step - warmup) / (110 - warmup), 1)
            expected = 1e-2 * (0.01 + 0.99 * (1 + np.cos(np.pi * u)) / 2)
            assert rate_at(schedule, step) == pytest.approx(expected, rel=1e-4)
    assert rate_at(schedule, 0) == pytest.approx(1e-4, rel=1e-4)
    assert rate_at(schedule, 5) == pytest.approx(1e-2 * (0.01 + 0.5 * 0.99), rel=1e-4)


def test_the_schedule_is_the_one_of_the_config():
    settings = OptimizerConfig(learning_rate=1e-2, schedule="cosine", final_factor=0.1, warmup_epochs=2)
    for step in (0, 3, 15, 39):
        named, expected = make_schedule(settings, 5, 40), cosine_schedule(1e-2, 40, 0.1, 10)
        assert rate_at(named, step) == rate_at(expected, step)
        step_wise = make_schedule(OptimizerConfig(decay_every_epochs=3, warmup_epochs=2), 5, 40)
        assert rate_at(step_wise, step) == rate_at(step_schedule(3e-4, 0.1, 15, 10), step)


def test_the_update_of_the_pose_branch_is_multiplied_and_no_other():
    names = ("appearance", "classifier", "neck_appearance", "pose", "readout", "keypoint_embedding", "neck_pose")
    params = {name: jnp.full(3, 1.0 + i) for i, name in enumerate(names)}
    gradient = {name: jnp.full(3, 0.1) for name in names}
    plain = adam_coupled_l2(lambda _: 1e-2, 5e-4)
    factor = with_pose_factor(plain, 5.0)
    expected: Any
    found: Any
    expected, _ = plain.update(gradient, plain.init(params), params)
    found, _ = factor.update(gradient, factor.init(params), params)
    assert isinstance(expected, dict)
    assert isinstance(found, dict)
    for i, name in enumerate(names):
        np.testing.assert_allclose(found[name], (5.0 if i >= 3 else 1.0) * np.asarray(expected[name]), rtol=1e-6)
    assert with_pose_factor(plain, 1.0) is plain
