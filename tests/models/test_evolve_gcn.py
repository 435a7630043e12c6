import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models.evolve_gcn import EvolveGCN, matrix_gru, summary
from tests import encoder_checks as check
from tests.encoder_checks import N, a_hat, drawn, in_float64, inputs
from tests.models.untyped import untyped

VARIANTS = pytest.mark.parametrize("variant", ["O", "H"])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def top_k(x, p, n):
    """Z of the H variant: n columns, best first, the last repeated."""
    y = x @ p / np.linalg.norm(p)
    best = sorted(range(len(y)), key=lambda v: (-y[v], v))[:n]
    best += [best[-1]] * (n - len(best))
    return np.stack([x[v] * np.tanh(y[v]) for v in best], axis=1)


def by_equation(variant, params, x, n=N):
    """Layer by layer, clip by clip, frame by frame, in float64."""
    h = x.astype(np.float64)
    for name in ("layer1", "layer2"):
        p, below = in_float64(params[name]), h
        h = np.zeros((*x.shape[:3], n))
        for b in range(len(x)):
            q = p["Q_0"]
            for t in range(x.shape[1]):
                z = q if variant == "O" else top_k(below[b, t], p["p"], n)
                u = sigmoid(p["W_U"] @ z + p["V_U"] @ q + p["B_U"])
                r = sigmoid(p["W_R"] @ z + p["V_R"] @ q + p["B_R"])
                c = np.tanh(p["W_C"] @ z + p["V_C"] @ (r * q) + p["B_C"])
                q = (1 - u) * q + u * c
                y = a_hat() @ below[b, t] @ q
                h[b, t] = np.where(y > 0, y, y * 11 / 48)
    return h


@pytest.mark.jit
@pytest.mark.parametrize(("variant", "n"), [("O", N), ("H", N), ("H", 17)])
def test_equals_the_equations_written_as_loops(variant, n):
    """17 columns are more than there are keypoints."""
    x = inputs()
    variables = drawn(EvolveGCN(n, variant), x)
    h = check.run(EvolveGCN(n, variant), variables, x)
    assert h.shape == (4, 5, 14, n)
    np.testing.assert_allclose(h, by_equation(variant, variables["params"], x, n), atol=2e-5)


@pytest.mark.slow
@VARIANTS
def test_the_scan_equals_a_loop_of_steps(variant):
    x = inputs()
    variables = drawn(EvolveGCN(N, variant), x)
    h = x
    for layer in ("layer1", "layer2"):
        p = variables["params"][layer]
        q = jnp.broadcast_to(p["Q_0"], (len(x), *p["Q_0"].shape))
        frames = []
        for t in range(x.shape[1]):
            q = matrix_gru(p, q, q if variant == "O" else summary(h[:, t], p["p"], N))
            frames.append(jax.nn.leaky_relu(a_hat().astype(np.float32) @ h[:, t] @ q, 11 / 48))
        h = jnp.stack(frames, axis=1)
    np.testing.assert_allclose(untyped(EvolveGCN(N, variant)).apply(variables, x), h, atol=1e-5)


def test_one_evolution_worked_by_hand():
    """C = n = 1: U = sigmoid(0) = 1/2, R = sigmoid(log 3) = 3/4, C = tanh(3/4 * 2 * 2 + 1)."""
    one = {f"{s}_{k}": jnp.zeros((1, 1)) for s in "WVB" for k in "URC"}
    one |= {"B_R": jnp.full((1, 1), np.log(3.0)), "V_C": jnp.full((1, 1), 2.0), "W_C": jnp.full((1, 1), 1.0)}
    q = matrix_gru(one, jnp.full((1, 1), 2.0), jnp.full((1, 1), 1.0))
    np.testing.assert_allclose(q, [[0.5 * 2 + 0.5 * np.tanh(0.75 * 2 * 2 + 1)]], rtol=1e-6)


def test_the_summary_worked_by_hand():
    x = np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
    z = summary(x, np.array([0.0, 2.0]), 2)
    np.testing.assert_allclose(z, np.array([[0.0, 3 * np.tanh(3)], [2 * np.tanh(1), np.tanh(1)]]).T, rtol=1e-6)
    assert summary(x, np.array([0.0, 2.0]), 256).shape == (2, 3)


@pytest.mark.jit
@VARIANTS
def test_gradients_equal_finite_differences(variant):
    check.gradients_equal_finite_differences(EvolveGCN(N, variant))


@pytest.mark.slow
@pytest.mark.jit
@VARIANTS
def test_the_first_weights_and_every_gate_get_a_gradient(variant):
    x = inputs()
    module = EvolveGCN(N, variant)
    gradient = check.gradient(module, drawn(module, x), x)
    symbols = {"Q_0", *(f"{s}_{k}" for s in "WVB" for k in "URC"), *(["p"] if variant == "H" else [])}
    assert set(gradient) == {f"['{layer}']['{s}']" for layer in ("layer1", "layer2") for s in symbols}
    for name, g in gradient.items():
        assert (g != 0).all(), name


@VARIANTS
def test_every_sequence_starts_from_the_first_weights_and_evolves(variant):
    """A clip of equal frames: the embeddings change from frame to frame, and a second call repeats the first."""
    x = np.repeat(inputs()[:, :1], 5, axis=1)
    variables = drawn(EvolveGCN(N, variant), x)
    h = untyped(EvolveGCN(N, variant)).apply(variables, x)
    assert (np.abs(np.diff(h, axis=1)).max(axis=(0, 2, 3)) > 1e-3).all()
    np.testing.assert_array_equal(EvolveGCN(N, variant).apply(variables, x), h)


def test_only_the_weights_of_h_depend_on_the_clip():
    """From the second frame on, H of the same frame differs with the first frame, if the weights saw it."""
    x = inputs()
    other = x.copy()
    other[:, 0] += 1
    for variant, depends in (("O", False), ("H", True)):
        variables = drawn(EvolveGCN(N, variant), x)
        h, moved = (untyped(EvolveGCN(N, variant)).apply(variables, v) for v in (x, other))
        assert (np.abs(moved - h)[:, 1:].max() > 1e-4) == depends


@VARIANTS
def test_relabelled_keypoints_give_relabelled_embeddings(variant):
    x = inputs()
    order = np.random.default_rng(0).permutation(14)
    module = EvolveGCN(N, variant)
    variables = drawn(module, x)
    relabelled = untyped(EvolveGCN(N, variant, adjacency=tuple(map(tuple, a_hat()[np.ix_(order, order)].tolist()))))
    h = np.asarray(module.apply(variables, x))
    np.testing.assert_allclose(relabelled.apply(variables, x[:, :, order]), h[:, :, order], atol=1e-5)
    assert np.abs(module.apply(variables, x[:, :, order]) - h[:, :, order]).max() > 0.01


@pytest.mark.jit
@VARIANTS
def test_a_clip_knows_nothing_of_the_others_in_the_batch(variant):
    module = EvolveGCN(N, variant)
    check.knows_nothing_of_the_other_clips(module, drawn(module, inputs()), inputs())


@pytest.mark.slow
@pytest.mark.jit
@VARIANTS
def test_the_weights_do_not_evolve_over_masked_frames(variant):
    x = inputs()
    module = EvolveGCN(N, variant)
    variables = drawn(module, x)
    check.a_masked_end_changes_nothing(module, variables, x)
    h = check.run(module, variables, x, check.MASK)
    frames = np.array([0, 2, 3])
    np.testing.assert_allclose(h[1, frames], check.run(module, variables, x[:, frames])[1], atol=1e-6)
    assert not np.asarray(h)[~check.MASK].any()


@pytest.mark.jit
@VARIANTS
def test_bfloat16_stays_close_with_float32_weights(variant):
    x = inputs()
    exact = EvolveGCN(32, variant)
    check.bfloat16_stays_close(exact, exact.clone(dtype=jnp.bfloat16), drawn(exact, x), x, 0.1, 0.005)


@pytest.mark.slow
@pytest.mark.jit
@VARIANTS
def test_a_mesh_changes_nothing(variant):
    module = EvolveGCN(N, variant)
    check.a_mesh_changes_nothing(module, module, drawn(module, inputs()), inputs())


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant 'o'.* O, H"):
        EvolveGCN(N, "o").init(jax.random.key(0), inputs())
