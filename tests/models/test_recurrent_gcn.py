import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rgcn_jax.models.recurrent_gcn import GATES, LGCN, RGCN, lgcn_step, named_gates, rgcn_step
from rgcn_jax.skeleton import EDGES

N = 4
ENCODERS = [
    pytest.param(cls, layers, relu, id=f"{cls.__name__}-{layers}{'-relu' if relu else ''}")
    for cls in (RGCN, LGCN)
    for layers, relu in ((1, False), (3, False), (3, True))
]


def a_hat():
    """A_hat from the edges, entry by entry, in float64."""
    a = np.eye(14)
    for i, j in EDGES:
        a[i, j] = a[j, i] = 1
    degree = a.sum(axis=1)
    return np.array([[a[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(14)] for i in range(14)])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def inputs(seed=0, b=4, t=5, c=2):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((b, t, 14, c)), jnp.float32)


def initialised(module, x, seed=1):
    """Variables of about the initial scale, but with random biases too, so that nothing is tested at zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x))
    scale = {1: lambda shape: 1.0, 2: lambda shape: shape[0] ** -0.5, 3: lambda shape: shape[1] ** -0.5}
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape) * scale[leaf.ndim](leaf.shape), jnp.float32), shapes
    )


def graph_convolution(x, weights, relu_each_layer):
    """sigma(A_hat ... A_hat X W_1 ... W_L) of one frame, as eq. 7 prints it; or sigma(A_hat Z W_l) layer by layer."""
    if relu_each_layer:
        for w in weights:
            x = np.maximum(a_hat() @ x @ w, 0)
        return x
    for _ in weights:
        x = a_hat() @ x
    for w in weights:
        x = x @ w
    return np.maximum(x, 0)


def chain(params, symbol, layers):
    names = [symbol] if layers == 1 else [f"{symbol}{i}" for i in range(1, layers + 1)]
    return [np.asarray(params[name], np.float64) for name in names]


def by_equation(cls, params, x, layers, relu):
    """H of eq. 6, 7 and 8, clip by clip and frame by frame, in float64."""
    x = np.asarray(x, np.float64)
    out = np.zeros((*x.shape[:3], N))
    p = {k: np.asarray(v, np.float64) for k, v in (params if cls is RGCN else named_gates(params)).items()}
    for b in range(len(x)):
        h, c = np.zeros((14, N)), np.zeros((14, N))
        for t in range(x.shape[1]):
            if cls is RGCN:
                z = graph_convolution(x[b, t], chain(p, "W_x", layers), relu)
                h = np.tanh(h @ p["W_h"] + z + p["b"])
            else:
                gate = {
                    k: graph_convolution(x[b, t], chain(p, f"W_{k}", layers), relu) + h @ p[f"U_{k}"] + p[f"b_{k}"]
                    for k in "fiog"
                }
                c = sigmoid(gate["f"]) * c + sigmoid(gate["i"]) * np.tanh(gate["g"])
                h = sigmoid(gate["o"]) * np.tanh(c)
            out[b, t] = h
    return out


@pytest.mark.parametrize(("cls", "layers", "relu"), ENCODERS)
def test_equals_the_equations_written_as_loops(cls, layers, relu):
    x = inputs()
    module = cls(N, num_layers=layers, relu_each_layer=relu)
    variables = initialised(module, x)
    h = module.apply(variables, x)
    assert h.shape == (4, 5, 14, N)
    np.testing.assert_allclose(h, by_equation(cls, variables["params"], x, layers, relu), atol=1e-5)


@pytest.mark.jit
@pytest.mark.parametrize(("cls", "layers", "relu"), ENCODERS)
def test_gradients_equal_finite_differences(cls, layers, relu):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1, 2, 14, 2))
        module = cls(4, num_layers=layers, relu_each_layer=relu)
        params = jax.tree.map(lambda p: np.asarray(p, np.float64), initialised(module, x)["params"])
        weight = rng.standard_normal((1, 2, 14, 4))

        @jax.jit
        @jax.value_and_grad
        def loss(params):
            h = module.apply({"params": params}, x)
            assert h.dtype == jnp.float64
            return (h * weight).sum()

        _, gradient = jax.device_get(loss(params))
        for name in params:
            direction = rng.standard_normal(params[name].shape)
            ahead, behind = (float(loss({**params, name: params[name] + e * direction})[0]) for e in (1e-6, -1e-6))
            expected = (ahead - behind) / 2e-6
            assert np.abs(expected) > 1e-4
            np.testing.assert_allclose((gradient[name] * direction).sum(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.jit
@pytest.mark.parametrize(("cls", "layers", "relu"), ENCODERS)
def test_every_parameter_gets_a_gradient(cls, layers, relu):
    x = inputs()
    module = cls(N, num_layers=layers, relu_each_layer=relu)
    params = initialised(module, x)["params"]
    gradient = jax.jit(jax.grad(lambda p: (module.apply({"params": p}, x) ** 2).sum()))(params)
    for name, g in (named_gates(gradient) if cls is LGCN else gradient).items():
        # An inner ReLU may leave some units dead; without one every number moves the output.
        moves = np.asarray(g) != 0
        assert moves.any() if relu else moves.all(), name


@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_the_scan_equals_a_loop_of_steps(cls):
    x = inputs()
    module = cls(N)
    variables = initialised(module, x)
    params = variables["params"]
    ax = jnp.einsum("uv,btvc->btuc", a_hat().astype(np.float32), x)
    h = c = jnp.zeros((4, 14, N))
    expected = []
    for t in range(x.shape[1]):
        if cls is RGCN:
            h = rgcn_step(params, h, ax[:, t] @ params["W_x"])
        else:
            h, c = lgcn_step(params, (h, c), ax[:, t] @ params["W"])
        expected.append(h)
    np.testing.assert_allclose(module.apply(variables, x), jnp.stack(expected, axis=1), atol=1e-6)


def test_one_rgcn_step_worked_by_hand():
    params = {"W_h": jnp.array([[0.0, 2.0], [1.0, 0.0]]), "b": jnp.array([0.5, 0.0])}
    h = rgcn_step(params, jnp.array([[[0.1, 0.2]]]), jnp.array([[[3.0, -3.0]]]))
    np.testing.assert_allclose(h[0, 0], np.tanh([0.2 + 3.0 + 0.5, 0.2 + 0.0 + 0.0]), rtol=1e-6)


@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_relabelled_keypoints_give_relabelled_embeddings(cls):
    x = inputs()
    order = np.random.default_rng(0).permutation(14)
    variables = initialised(cls(N), x)
    relabelled = cls(N, adjacency=tuple(map(tuple, a_hat()[np.ix_(order, order)].tolist())))
    h = cls(N).apply(variables, x)
    np.testing.assert_allclose(relabelled.apply(variables, x[:, :, order]), h[:, :, order], atol=1e-6)
    # The graph matters: with A_hat left as it was the embeddings are others.
    assert np.abs(cls(N).apply(variables, x[:, :, order]) - h[:, :, order]).max() > 0.01


@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_a_clip_knows_nothing_of_the_others_in_the_batch(cls):
    x = inputs()
    variables = initialised(cls(N), x)
    h = cls(N).apply(variables, x)
    np.testing.assert_allclose(
        cls(N).apply(variables, x[jnp.array([2, 0, 3, 1])]), h[jnp.array([2, 0, 3, 1])], atol=1e-6
    )
    np.testing.assert_allclose(cls(N).apply(variables, x[1:2]), h[1:2], atol=1e-6)


@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_a_masked_frame_changes_nothing(cls):
    x = inputs()
    variables = initialised(cls(N), x)
    mask = jnp.array([[True, True, True, False, False], [True, False, True, True, False], [False] * 5, [True] * 5])
    h = cls(N).apply(variables, x, mask)
    short = cls(N).apply(variables, x[:, :3])[:1]
    np.testing.assert_allclose(h[:1, :3], short, atol=1e-6)
    np.testing.assert_array_equal(h[0, 3:], jnp.stack([h[0, 2]] * 2))
    gap = cls(N).apply(variables, x[:, jnp.array([0, 2, 3])])[1:2]
    np.testing.assert_allclose(h[1:2, jnp.array([0, 2, 3])], gap, atol=1e-6)
    assert not np.asarray(h[2]).any()
    garbage = jnp.where(mask[..., None, None], x, 1e6)
    np.testing.assert_array_equal(cls(N).apply(variables, garbage, mask), h)
    np.testing.assert_array_equal(cls(N).apply(variables, x, jnp.ones((4, 5), bool)), cls(N).apply(variables, x))


@pytest.mark.jit
@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_bfloat16_stays_close_with_a_float32_state(cls):
    x = inputs(t=6)
    variables = initialised(cls(32), x)
    exact = jax.jit(cls(32).apply)(variables, x)
    rough = jax.jit(cls(32, dtype=jnp.bfloat16).apply)(variables, x)
    assert rough.dtype == jnp.float32
    difference = np.abs(rough - exact)
    assert 0 < difference.max() < 0.05
    assert difference.mean() < 0.005
    # The embeddings use the digits that bfloat16 does not have.
    assert (rough != rough.astype(jnp.bfloat16).astype(jnp.float32)).mean() > 0.9


@pytest.mark.jit
@pytest.mark.parametrize(("cls", "layers", "relu"), [(RGCN, 1, False), (LGCN, 1, False), (LGCN, 2, True)])
def test_runs_in_a_mesh_with_the_same_numbers_and_gradients(cls, layers, relu):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    x = inputs(t=4)
    mask = jnp.arange(4)[:, None] >= jnp.arange(4)[None, :]
    module = cls(N, num_layers=layers, relu_each_layer=relu)
    variables = initialised(module, x)

    def gradient_and_embeddings(variables, x, mask):
        def loss(v):
            h = module.apply(v, x, mask)
            return (h**2).sum(), h

        return jax.grad(loss, has_aux=True)(variables)

    specs = (P(), P("data"), P("data"))
    sharded = jax.shard_map(
        gradient_and_embeddings, mesh=mesh, in_specs=specs, out_specs=(P(), P("data")), check_vma=True
    )
    gradient, h = jax.jit(sharded)(variables, x, mask)
    expected_gradient, expected_h = jax.jit(gradient_and_embeddings)(variables, x, mask)
    np.testing.assert_allclose(h, expected_h, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected_gradient)


def test_parameters_carry_the_papers_symbols():
    x = inputs()
    assert set(initialised(RGCN(N), x)["params"]) == {"W_x", "W_h", "b"}
    deep = initialised(RGCN(N, num_layers=3), x)["params"]
    assert {k: v.shape for k, v in deep.items()} == {
        "W_x1": (2, N), "W_x2": (N, N), "W_x3": (N, N), "W_h": (N, N), "b": (N,)
    }  # fmt: skip
    variables = initialised(LGCN(N), x)
    named = named_gates(variables["params"])
    shapes = {"W": (2, N), "U": (N, N), "b": (N,)}
    assert {k: v.shape for k, v in named.items()} == {f"{s}_{k}": shapes[s] for s in shapes for k in "fiog"}
    assert GATES == ("f", "i", "o", "g")
    for name, value in named_gates(variables).items():
        np.testing.assert_array_equal(value, named[name])
    deep = named_gates(initialised(LGCN(N, num_layers=2), x)["params"])
    assert {k for k in deep if k[0] == "W"} == {f"W_{k}{layer}" for k in "fiog" for layer in (1, 2)}


@pytest.mark.jit
def test_initialisation():
    x = inputs()
    n = 128
    rgcn = jax.jit(RGCN(n).init)(jax.random.key(0), x)["params"]
    assert float(rgcn["W_x"].std()) == pytest.approx(2**-0.5, rel=0.15)
    np.testing.assert_allclose(rgcn["W_h"].T @ rgcn["W_h"], np.eye(n), atol=1e-4)
    assert not np.asarray(rgcn["b"]).any()
    lgcn = named_gates(jax.jit(LGCN(n, num_layers=2).init)(jax.random.key(0), x)["params"])
    for k in "fiog":
        assert float(lgcn[f"W_{k}1"].std()) == pytest.approx(2**-0.5, rel=0.15)
        assert float(lgcn[f"W_{k}2"].std()) == pytest.approx(n**-0.5, rel=0.15)
        np.testing.assert_allclose(lgcn[f"U_{k}"].T @ lgcn[f"U_{k}"], np.eye(n), atol=1e-4)
        assert (np.asarray(lgcn[f"b_{k}"]) == (k == "f")).all()
    assert np.abs(lgcn["U_f"] - lgcn["U_i"]).max() > 0.01


@pytest.mark.parametrize("cls", [RGCN, LGCN])
def test_no_layer_is_refused(cls):
    with pytest.raises(ValueError, match="num_layers is 0"):
        cls(N, num_layers=0).init(jax.random.key(0), inputs())


def test_encoders_can_be_static_arguments():
    assert hash(RGCN(N)) == hash(RGCN(N))
    assert RGCN(N) == RGCN(N)
    assert RGCN(N) != RGCN(N, num_layers=2)
