import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models import cpu
from rgcn_jax.models.gcn_rnn import GCNLSTM, GCNRNN, lstm_step, rnn_step
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from tests import encoder_checks as check
from tests.encoder_checks import N, a_hat, drawn, in_float64, inputs
from tests.models.untyped import untyped

ENCODERS = [
    pytest.param(cls, layers, relu, id=f"{cls.__name__}-{layers}{'-relu' if relu else ''}")
    for cls in (GCNRNN, GCNLSTM)
    for layers, relu in ((1, False), (3, False), (3, True))
]
BOTH = pytest.mark.parametrize("cls", [GCNRNN, GCNLSTM])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_equation(cls, params, x, layers, relu):
    """Eq. 4, then eq. 5 or an LSTM, node by node, in float64."""
    p, x = in_float64(params), x.astype(np.float64)
    chain = [p["W_g"]] if layers == 1 else [p[f"W_g{i}"] for i in range(1, layers + 1)]
    out = np.zeros((*x.shape[:3], N))
    for b in range(len(x)):
        h, c = np.zeros((14, N)), np.zeros((14, N))
        for t in range(x.shape[1]):
            z = x[b, t]
            for w in chain:
                z = a_hat() @ z @ w
                z = np.maximum(z, 0) if relu else z
            z = np.maximum(z, 0)
            for v in range(14):
                if cls is GCNRNN:
                    h[v] = np.tanh(p["W_h"].T @ h[v] + p["W_x"].T @ z[v] + p["b"])
                else:
                    gate = p["W_h"].T @ h[v] + p["W_x"].T @ z[v] + p["b"]
                    f, i, o, g = (gate[k * N : (k + 1) * N] for k in range(4))
                    c[v] = sigmoid(f) * c[v] + sigmoid(i) * np.tanh(g)
                    h[v] = sigmoid(o) * np.tanh(c[v])
            out[b, t] = h
    return out


@pytest.mark.parametrize(("cls", "layers", "relu"), ENCODERS)
def test_equals_the_equations_written_as_loops(cls, layers, relu):
    x = inputs()
    module = cls(N, num_layers=layers, relu_each_layer=relu)
    variables = drawn(module, x)
    h = module.apply(variables, x)
    assert h.shape == (4, 5, 14, N)
    np.testing.assert_allclose(h, by_equation(cls, variables["params"], x, layers, relu), atol=1e-5)
    np.testing.assert_array_equal(module.apply(variables, x, train=True), h)


@pytest.mark.jit
@pytest.mark.parametrize(("cls", "layers", "relu"), ENCODERS)
def test_gradients_equal_finite_differences(cls, layers, relu):
    check.gradients_equal_finite_differences(cls(N, num_layers=layers, relu_each_layer=relu))


@pytest.mark.jit
@BOTH
def test_every_parameter_gets_a_gradient(cls):
    x = inputs()
    module = cls(N, num_layers=2)
    for name, g in check.gradient(module, drawn(module, x), x).items():
        assert (g != 0).all(), name


@BOTH
def test_the_scan_equals_a_loop_of_steps(cls):
    x = inputs()
    variables = drawn(cls(N), x)
    p = variables["params"]
    xw = jax.nn.relu(jnp.einsum("uv,btvc->btuc", a_hat().astype(np.float32), x) @ p["W_g"]) @ p["W_x"]
    h = c = jnp.zeros((4, 14, N))
    expected = []
    for t in range(x.shape[1]):
        if cls is GCNRNN:
            h = rnn_step(p, h, xw[:, t])
        else:
            h, c = lstm_step(p, (h, c), xw[:, t])
        expected.append(h)
    np.testing.assert_allclose(untyped(cls(N)).apply(variables, x), jnp.stack(expected, axis=1), atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize(("cls", "layers", "relu"), [*ENCODERS, (RGCN, 1, False), (LGCN, 1, False), (LGCN, 3, True)])
def test_the_fast_form_for_a_cpu_gives_the_same_embeddings_and_gradients(cls, layers, relu):
    """The products of all frames in the scan instead of before it, unrolled instead of in a loop: another program. In
    float64, so that only the order of sums is left.
    """
    x, plain = inputs(), cls(N, layers, relu)
    fast = plain.clone(**cpu.ENCODERS[cls])
    variables = drawn(plain, x)
    with jax.enable_x64(True):
        x, variables = x.astype(np.float64), {"params": in_float64(variables["params"])}
        programs = [check.run.lower(module, variables, x, check.MASK).as_text() for module in (plain, fast)]
        assert programs[0] != programs[1]
        h, expected = (check.run(module, variables, x, check.MASK) for module in (fast, plain))
        assert h.dtype == np.float64
        np.testing.assert_allclose(h, expected, rtol=0, atol=1e-13)
        gradient = check.gradient(plain, variables, x)
        for name, g in check.gradient(fast, variables, x).items():
            np.testing.assert_allclose(
                g, gradient[name], rtol=0, atol=1e-12 * np.abs(gradient[name]).max(), err_msg=name
            )


@pytest.mark.jit
@pytest.mark.parametrize("cls", [GCNRNN, GCNLSTM, RGCN, LGCN])
def test_a_scan_is_unrolled_up_to_a_number_of_frames(cls):
    def loops(frames):
        module = cls(N, unroll=5)
        x = inputs(t=frames)
        variables = jax.eval_shape(module.init, jax.random.key(0), x)
        jaxpr = jax.make_jaxpr(module.apply)(variables, x)
        (scan,) = (equation for equation in jaxpr.eqns if equation.primitive.name == "scan")
        return scan.params["length"] // scan.params["unroll"]

    assert [loops(4), loops(5), loops(6)] == [1, 1, 6]


@BOTH
def test_relabelled_keypoints_give_relabelled_embeddings(cls):
    x = inputs()
    order = np.random.default_rng(0).permutation(14)
    variables = drawn(cls(N), x)
    relabelled = cls(N, adjacency=tuple(map(tuple, a_hat()[np.ix_(order, order)].tolist())))
    h = np.asarray(cls(N).apply(variables, x))
    np.testing.assert_allclose(relabelled.apply(variables, x[:, :, order]), h[:, :, order], atol=1e-6)
    assert np.abs(cls(N).apply(variables, x[:, :, order]) - h[:, :, order]).max() > 0.01


@BOTH
def test_no_message_crosses_between_nodes_over_time(cls):
    """What sets the pipeline apart from nothing but the graph convolution: a node's past stays its own."""
    x = inputs()
    identity = cls(N, adjacency=tuple(map(tuple, np.eye(14).tolist())))
    variables = drawn(identity, x)
    other = x.copy()
    other[:, :, 3] += 1
    moved = np.abs(identity.apply(variables, other) - identity.apply(variables, x)).max(axis=(0, 1, 3)) > 0
    np.testing.assert_array_equal(np.flatnonzero(moved), [3])


@pytest.mark.jit
@BOTH
def test_a_clip_knows_nothing_of_the_others_in_the_batch(cls):
    check.knows_nothing_of_the_other_clips(cls(N), drawn(cls(N), inputs()), inputs())


@pytest.mark.jit
@BOTH
def test_a_masked_frame_changes_nothing(cls):
    x = inputs()
    variables = drawn(cls(N), x)
    check.a_masked_end_changes_nothing(cls(N), variables, x)
    h = check.run(cls(N), variables, x, check.MASK)
    np.testing.assert_array_equal(h[0, 3:], jnp.stack([h[0, 2]] * 2))
    frames = np.array([0, 2, 3])
    np.testing.assert_allclose(h[1, frames], check.run(cls(N), variables, x[:, frames])[1], atol=1e-6)


@pytest.mark.jit
@BOTH
def test_bfloat16_stays_close_with_a_float32_state(cls):
    x = inputs()
    check.bfloat16_stays_close(cls(32), cls(32, dtype=jnp.bfloat16), drawn(cls(32), x), x, 0.05, 0.005)


@pytest.mark.jit
@BOTH
def test_a_mesh_changes_nothing(cls):
    check.a_mesh_changes_nothing(cls(N), cls(N), drawn(cls(N), inputs()), inputs())


@pytest.mark.jit
def test_initialisation():
    x, n = inputs(), 64
    rnn, lstm = (jax.jit(cls(n, num_layers=2).init)(jax.random.key(0), x)["params"] for cls in (GCNRNN, GCNLSTM))
    for p in (rnn, lstm):
        assert float(p["W_g1"].std()) == pytest.approx(2**-0.5, rel=0.2)
        assert float(p["W_g2"].std()) == pytest.approx(n**-0.5, rel=0.1)
        assert float(p["W_x"].std()) == pytest.approx(n**-0.5, rel=0.1)
        for w_h in jnp.split(p["W_h"], p["W_h"].shape[1] // n, axis=1):
            np.testing.assert_allclose(w_h.T @ w_h, np.eye(n), atol=1e-4)
    np.testing.assert_array_equal(rnn["b"], np.zeros(n))
    np.testing.assert_array_equal(lstm["b"], [1] * n + [0] * 3 * n)


@BOTH
def test_no_layer_is_refused(cls):
    with pytest.raises(ValueError, match="num_layers is 0"):
        cls(N, num_layers=0).init(jax.random.key(0), inputs())
