"""The self term and the product of the graph convolution against loops, their gradients, symmetries and both forms."""

import jax
import numpy as np
import pytest

from rgcn_jax.models import GCNLSTM, GCNRNN, LGCN, RGCN, DualAttention, cpu
from rgcn_jax.models.recurrent_gcn import named_gates
from rgcn_jax.models.streaming import initial_state, read, step
from rgcn_jax.skeleton import normalized_adjacency
from tests import encoder_checks as check
from tests.encoder_checks import N, a_hat, drawn, in_float64, inputs

CASES = [
    pytest.param(cls, {"num_layers": layers, "relu_each_layer": relu, "self_term": self_term, **product}, id=name)
    for cls, layers, relu, self_term, product, name in (
        (RGCN, 1, False, True, {}, "RGCN-self"),
        (RGCN, 2, False, True, {}, "RGCN-2-self"),
        (RGCN, 1, False, False, {"product": True}, "RGCN-product"),
        (RGCN, 2, True, True, {"product": True}, "RGCN-2-relu-self-product"),
        (LGCN, 1, False, True, {}, "LGCN-self"),
        (LGCN, 2, True, True, {"product": True}, "LGCN-2-relu-self-product"),
        (LGCN, 3, False, True, {"product": True}, "LGCN-3-self-product"),
        (GCNRNN, 1, False, True, {}, "GCNRNN-self"),
        (GCNRNN, 2, True, True, {}, "GCNRNN-2-relu-self"),
        (GCNLSTM, 2, False, True, {}, "GCNLSTM-2-self"),
    )
]
EACH = pytest.mark.parametrize(("cls", "fields"), CASES)
DEEPEST = pytest.mark.parametrize(("cls", "fields"), [CASES[i] for i in (3, 5, 8, 9)])
A_HAT = a_hat()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def chain(p, symbol, layers):
    return [p[symbol]] if layers == 1 else [p[f"{symbol}{i}"] for i in range(1, layers + 1)]


def graph(x, weights, relu, self_term):
    """sigma of the layers of one frame: each row is a keypoint's own value beside the sum over its neighbours."""
    for index, w in enumerate(weights):
        rows = []
        for v in range(14):
            seen = sum(A_HAT[v, u] * x[u] for u in range(14))
            rows.append((np.concatenate([x[v], seen]) if self_term else seen) @ w)
        x = np.stack(rows)
        x = np.maximum(x, 0) if relu or index == len(weights) - 1 else x
    return x


def by_equation(cls, params, x, num_layers, relu_each_layer, self_term, product=False):
    """H, clip by clip and frame by frame, in float64."""
    x = x.astype(np.float64)
    p = in_float64(named_gates(params) if cls is LGCN else params)
    out = np.zeros((*x.shape[:3], N))

    def entering(x, symbol, gate=""):
        name = f"{symbol}{gate}"
        z = graph(x, chain(p, name, num_layers), relu_each_layer, self_term)
        return z @ p[f"P{gate}"] if product else z

    for b in range(len(x)):
        h = c = np.zeros((14, N))
        for t in range(x.shape[1]):
            if cls is RGCN:
                h = np.tanh(h @ p["W_h"] + entering(x[b, t], "W_x") + p["b"])
            elif cls is GCNRNN:
                h = np.tanh(h @ p["W_h"] + entering(x[b, t], "W_g") @ p["W_x"] + p["b"])
            else:
                if cls is LGCN:
                    gates = [entering(x[b, t], "W", f"_{k}") + h @ p[f"U_{k}"] + p[f"b_{k}"] for k in "fiog"]
                else:
                    gates = np.split(h @ p["W_h"] + entering(x[b, t], "W_g") @ p["W_x"] + p["b"], 4, axis=1)
                f, i, o, g = gates
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            out[b, t] = h
    return out


@EACH
def test_equals_the_equations_written_as_loops(cls, fields):
    x = inputs()
    variables = drawn(cls(N, **fields), x)
    expected = by_equation(cls, variables["params"], x, **fields)
    np.testing.assert_allclose(cls(N, **fields).apply(variables, x), expected, atol=1e-5)


@pytest.mark.jit
@DEEPEST
def test_gradients_equal_finite_differences(cls, fields):
    check.gradients_equal_finite_differences(cls(N, **fields))


@pytest.mark.jit
@DEEPEST
def test_the_fast_form_for_a_cpu_gives_the_same_embeddings_and_gradients(cls, fields):
    x, plain = inputs(), cls(N, **fields)
    fast = plain.clone(**cpu.ENCODERS[cls])
    variables = drawn(plain, x)
    h, expected = (check.run(module, variables, x, check.MASK) for module in (fast, plain))
    np.testing.assert_allclose(h, expected, atol=1e-6)
    gradient = check.gradient(plain, variables, x)
    for name, g in check.gradient(fast, variables, x).items():
        np.testing.assert_allclose(g, gradient[name], atol=2e-6 * np.abs(gradient[name]).max(), err_msg=name)


@pytest.mark.jit
@DEEPEST
def test_a_masked_frame_and_other_clips_change_nothing(cls, fields):
    x = inputs()
    variables = drawn(cls(N, **fields), x)
    check.a_masked_end_changes_nothing(cls(N, **fields), variables, x)
    check.knows_nothing_of_the_other_clips(cls(N, **fields), variables, x)


@EACH
def test_relabelled_keypoints_give_relabelled_embeddings(cls, fields):
    x, order = inputs(), np.random.default_rng(0).permutation(14)
    variables = drawn(cls(N, **fields), x)
    relabelled = cls(N, **fields).clone(adjacency=tuple(map(tuple, a_hat()[np.ix_(order, order)].tolist())))
    h = np.asarray(cls(N, **fields).apply(variables, x))
    np.testing.assert_allclose(relabelled.apply(variables, x[:, :, order]), h[:, :, order], atol=1e-6)


def test_the_self_term_gives_back_what_the_graph_loses():
    """X moved along the null vector of A_hat: without a self term no embedding can tell."""
    values, vectors = np.linalg.eigh(normalized_adjacency().astype(np.float64))
    lost = vectors[:, np.abs(values).argmin()]
    assert np.abs(values).min() < 1e-6
    x = inputs()
    moved = (x + lost[:, None]).astype(np.float32)
    for self_term, least, most in ((False, 0, 1e-5), (True, 0.01, np.inf)):
        module = RGCN(N).clone(self_term=self_term)
        variables = drawn(module, x)
        change = np.abs(np.asarray(module.apply(variables, moved)) - np.asarray(module.apply(variables, x))).max()
        assert least <= change <= most


def test_parameters_keep_the_papers_symbols():
    x = inputs()

    def shapes(module):
        return {k: v.shape for k, v in drawn(module, x)["params"].items()}

    assert shapes(RGCN(N, self_term=True, product=True)) == {"W_x": (4, N), "W_h": (N, N), "b": (N,), "P": (N, N)}
    assert shapes(RGCN(N, 2, self_term=True)) == {"W_x1": (4, N), "W_x2": (2 * N, N), "W_h": (N, N), "b": (N,)}
    assert shapes(GCNRNN(N, self_term=True)) == {"W_g": (4, N), "W_x": (N, N), "W_h": (N, N), "b": (N,)}
    named = named_gates(drawn(LGCN(N, 2, self_term=True, product=True), x)["params"])
    expected = {"W_{}1": (4, N), "W_{}2": (2 * N, N), "U_{}": (N, N), "b_{}": (N,), "P_{}": (N, N)}
    assert {k: v.shape for k, v in named.items()} == {
        name.format(k): shape for name, shape in expected.items() for k in "fiog"
    }


@pytest.mark.jit
@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_frame_by_frame_agrees_with_the_batch_path(cls):
    encoder, readout, x = cls(N, 2, True, self_term=True, product=True), DualAttention(), inputs()
    pose = drawn(encoder, x)
    h = encoder.apply(pose, x)
    params = {"pose": pose["params"], "readout": drawn(readout, h)["params"]}
    state = initial_state(encoder, len(x))
    for t in range(x.shape[1]):
        state = step(encoder, params, state, x[:, t])
    expected, _ = readout.apply({"params": params["readout"]}, h)
    np.testing.assert_allclose(read(readout, params, state), expected, atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_a_mesh_changes_nothing(cls):
    module = cls(N, 2, True, self_term=True, product=True)
    check.a_mesh_changes_nothing(module, module, drawn(module, inputs()), inputs())


def test_the_two_fields_are_off_by_default():
    for cls in (RGCN, LGCN):
        assert (cls(N).self_term, cls(N).product) == (False, False)
    assert jax.tree.map(np.shape, drawn(RGCN(N), inputs())["params"])["W_x"] == (2, N)


def test_rgcn_with_one_layer_and_a_product_is_gcn_rnn():
    x = inputs()
    module = RGCN(N, self_term=True, product=True)
    p = drawn(module, x)["params"]
    pipeline = {"params": {"W_g": p["W_x"], "W_x": p["P"], "W_h": p["W_h"], "b": p["b"]}}
    found, expected = GCNRNN(N, self_term=True).apply(pipeline, x), module.apply({"params": p}, x)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-6)
