"""Adam with coupled L2 against the update written out; the schedule by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.training.optim import adam_coupled_l2, step_schedule


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
