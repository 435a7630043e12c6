import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention
from tests.models.untyped import untyped

READOUTS = [MeanReadout, NodeAttention, TimeAttention, DualAttention]
MASK = np.array(
    [[True] * 5, [True, True, True, False, False], [False, True, False, True, True], [False, False, False, False, True]]
)


def embeddings(seed=0, n=4):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((4, 5, 14, n)), jnp.float32)


def softmax(scores):
    e = [np.exp(s) for s in scores]
    return np.array(e) / sum(e)


def by_equation(H, params, mask):
    """h_n, a_v, h_t, a_t of eq. 9-14 of one clip, in float64, from its frames that count."""
    frames = [np.asarray(frame, np.float64) for frame, keep in zip(H, mask, strict=True) if keep]
    h_bar = sum(frames, np.zeros(H.shape[1:])) / len(frames)
    a_v = softmax([h_bar[j] @ np.asarray(params["w_n"], np.float64) for j in range(14)])
    h_n = sum(a_v[j] * h_bar[j] for j in range(14))
    per_frame = [sum(frame[j] for j in range(14)) / 14 for frame in frames]
    a_t = softmax([h @ np.asarray(params["w_t"], np.float64) for h in per_frame])
    h_t = sum(a * h for a, h in zip(a_t, per_frame, strict=True))
    return h_n, a_v, h_t, a_t


@pytest.mark.parametrize("mask", [np.ones_like(MASK), MASK])
def test_equals_the_equations_written_as_loops(mask):
    H = embeddings()
    params = {"w_n": jax.random.normal(jax.random.key(1), (4,)), "w_t": jax.random.normal(jax.random.key(2), (4,))}
    m = jnp.asarray(mask)
    dual, weights = untyped(DualAttention()).apply({"params": params}, H, m)
    nam, nam_weights = untyped(NodeAttention()).apply({"params": {"w_n": params["w_n"]}}, H, m)
    tam, tam_weights = untyped(TimeAttention()).apply({"params": {"w_t": params["w_t"]}}, H, m)
    mean, no_weights = MeanReadout().apply({}, H, m)
    assert no_weights == {}
    for b in range(4):
        h_n, a_v, h_t, a_t = by_equation(H[b], params, mask[b])
        np.testing.assert_allclose(dual[b], np.concatenate([h_n, h_t]), atol=1e-5)
        np.testing.assert_allclose(nam[b], h_n, atol=1e-5)
        np.testing.assert_allclose(tam[b], h_t, atol=1e-5)
        np.testing.assert_allclose(mean[b], np.asarray(H[b])[mask[b]].reshape(-1, 4).mean(axis=0), atol=1e-5)
        for w in (weights, nam_weights):
            np.testing.assert_allclose(w["node"][b], a_v, atol=1e-5)
        for w in (weights, tam_weights):
            np.testing.assert_allclose(w["time"][b][mask[b]], a_t, atol=1e-5)


@pytest.mark.parametrize(("readout", "names"), [(NodeAttention, ["w_n"]), (DualAttention, ["w_n", "w_t"])])
def test_score_vectors_begin_with_the_deviation_of_one_over_root_n(readout, names):
    params = readout().init(jax.random.key(0), jnp.zeros((1, 1, 14, 10_000)))["params"]
    assert sorted(params) == names
    for w in params.values():
        assert np.std(w) == pytest.approx(0.01, rel=0.03)
        assert np.mean(w) == pytest.approx(0, abs=4e-4)


def test_attention_worked_by_hand():
    # One dimension, one frame: node j holds the number j on the first two nodes, 0 elsewhere.
    H = jnp.zeros((1, 1, 14, 1)).at[0, 0, 1, 0].set(np.log(3.0))
    f, weights = untyped(NodeAttention()).apply({"params": {"w_n": jnp.ones(1)}}, H)
    np.testing.assert_allclose(weights["node"][0], [1 / 16, 3 / 16] + [1 / 16] * 12, rtol=1e-6)
    np.testing.assert_allclose(f[0, 0], np.log(3.0) * 3 / 16, rtol=1e-6)


@pytest.mark.parametrize("readout", READOUTS)
def test_weights_sum_to_one_and_masked_frames_weigh_exactly_nothing(readout):
    H = embeddings() * 20
    (_, weights), _ = readout().init_with_output(jax.random.key(0), H, jnp.asarray(MASK))
    expected = {MeanReadout: set(), NodeAttention: {"node"}, TimeAttention: {"time"}, DualAttention: {"node", "time"}}
    assert set(weights) == expected[readout]
    for w in weights.values():
        assert (np.asarray(w) >= 0).all()
        np.testing.assert_allclose(w.sum(axis=1), 1.0, atol=1e-6)
    if "time" in weights:
        assert not np.asarray(weights["time"])[~MASK].any()


@pytest.mark.parametrize("readout", READOUTS)
def test_what_masked_frames_hold_changes_nothing(readout):
    H = embeddings()
    mask = jnp.asarray(MASK)
    variables = readout().init(jax.random.key(0), H)
    one, _ = readout().apply(variables, H, mask)
    other, _ = readout().apply(variables, jnp.where(mask[..., None, None], H, jnp.inf), mask)
    np.testing.assert_array_equal(other, one)
    np.testing.assert_allclose(one[1:2], readout().apply(variables, H[:, :3])[0][1:2], atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("readout", READOUTS)
def test_a_clip_without_frames_gives_zeros_and_finite_gradients(readout):
    H = embeddings()
    mask = jnp.zeros((4, 5), bool).at[0].set(True)
    variables = jax.jit(readout().init)(jax.random.key(0), H)

    def total(variables, H):
        f, weights = readout().apply(variables, H, mask)
        return f.sum(), (f, weights)

    gradient, (f, weights) = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(variables, H)
    assert not np.asarray(f)[1:].any()
    assert all(np.isfinite(w).all() for w in weights.values())
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("readout", READOUTS)
def test_order_of_keypoints_does_not_matter_and_clips_are_independent(readout):
    H = embeddings()
    variables = readout().init(jax.random.key(0), H)
    f, weights = readout().apply(variables, H)
    order = np.random.default_rng(0).permutation(14)
    shuffled, shuffled_weights = readout().apply(variables, H[:, :, order])
    np.testing.assert_allclose(shuffled, f, atol=1e-5)
    if "node" in weights:
        np.testing.assert_allclose(shuffled_weights["node"], weights["node"][:, order], atol=1e-6)
    np.testing.assert_allclose(readout().apply(variables, H[::-1])[0], f[::-1], atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("readout", READOUTS)
def test_gradients_equal_finite_differences(readout):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        H = rng.standard_normal((4, 5, 14, 4))
        params = jax.eval_shape(lambda: readout().init(jax.random.key(1), H)).get("params", {})
        inputs = {"H": H, **{name: rng.standard_normal(w.shape) for name, w in params.items()}}
        mask = jnp.asarray(MASK)

        @jax.jit
        @jax.value_and_grad
        def loss(inputs):
            params = {name: value for name, value in inputs.items() if name != "H"}
            return (readout().apply({"params": params}, inputs["H"], mask)[0] ** 2).sum()

        _, gradient = jax.device_get(loss(inputs))
        for name in inputs:
            direction = rng.standard_normal(inputs[name].shape)
            ahead, behind = (float(loss({**inputs, name: inputs[name] + e * direction})[0]) for e in (1e-6, -1e-6))
            expected = (ahead - behind) / 2e-6
            assert np.abs(expected) > 1e-5
            np.testing.assert_allclose((gradient[name] * direction).sum(), expected, rtol=1e-5)


def test_half_precision_embeddings_are_read_out_in_float32():
    H = embeddings().astype(jnp.bfloat16)
    (f, weights), _ = DualAttention().init_with_output(jax.random.key(0), H)
    assert f.dtype == weights["node"].dtype == weights["time"].dtype == jnp.float32
    np.testing.assert_allclose(weights["time"].sum(axis=1), 1.0, atol=1e-6)
