"""What every pose encoder has to satisfy, whatever it computes. The caller brings the module and its variables."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from rgcn_jax.skeleton import EDGES

B, T, N = 4, 5, 4
MASK = np.array([[True, True, True, False, False], [True, False, True, True, False], [False] * T, [True] * T])
TRAIN_MASK = np.array([[True] * T, [True] * T, [True, True, False, False, False], [True, True, True, True, False]])
"""Two devices then have unequal numbers of frames."""


def a_hat():
    """A_hat from the edges, entry by entry, in float64."""
    a = np.eye(14)
    for i, j in EDGES:
        a[i, j] = a[j, i] = 1
    degree = a.sum(axis=1)
    return np.array([[a[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(14)] for i in range(14)])


def inputs(seed=0, b=B, t=T, c=2):
    return np.random.default_rng(seed).standard_normal((b, t, 14, c)).astype(np.float32)


def drawn(module, x, seed=1):
    """Variables of about the initial scale, but nothing at zero or one."""
    return drawn_like(jax.eval_shape(lambda: module.init(jax.random.key(0), x)), seed)


def drawn_like(shapes, seed=1):
    """The same for the shapes of variables."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("var", "scale", "M"):
            values = rng.uniform(0.5, 1.5, leaf.shape)
        elif len(leaf.shape) == 1 or name.startswith("B_"):
            values = 0.5 * rng.standard_normal(leaf.shape)
        else:
            values = rng.standard_normal(leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
        return jnp.asarray(values, jnp.float32)

    return jax.tree.map_with_path(draw, dict(shapes))


def in_float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


@partial(jax.jit, static_argnames=("module", "train"))
def run(module, variables, x, mask=None, train=False):
    """H, in training too; op by op where jit is disabled."""
    return module.apply(variables, x, mask, train=train, mutable=["batch_stats"] if train else [])[0]


def knows_nothing_of_the_other_clips(module, variables, x):
    h = run(module, variables, x)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(module, variables, x[order]), h[order], atol=1e-6)
    other = np.concatenate([x[:1], 3 * x[1:]])
    np.testing.assert_allclose(run(module, variables, other)[0], h[0], atol=1e-6)


def a_masked_end_changes_nothing(module, variables, x):
    """Frames after the end of a clip, be they huge, leave the others and their gradient as they are."""
    h = run(module, variables, x, MASK)
    np.testing.assert_allclose(h[0, :3], run(module, variables, x[:, :3])[0], atol=1e-6)
    np.testing.assert_allclose(h[3], run(module, variables, x)[3], atol=1e-6)
    assert not np.asarray(h[2]).any()
    garbage = np.where(MASK[..., None, None], x, 1e6).astype(np.float32)
    np.testing.assert_array_equal(run(module, variables, garbage, MASK), h)
    gradient = jax.grad(lambda garbage: (run(module, variables, garbage, MASK) ** 2).sum())(garbage)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[~MASK].any()


def gradients_equal_finite_differences(module, train=False, mask=None):
    """Along a random direction of each parameter, in float64; needs jit."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, 3, 14, 2))
        variables = in_float64(drawn(module, x))
        weight = rng.standard_normal((2, 3, 14, N))

        @jax.jit
        @jax.value_and_grad
        def loss(params):
            h = run(module, {**variables, "params": params}, x, mask, train)
            assert h.dtype == jnp.float64
            return (h * weight).sum()

        leaves, structure = jax.tree.flatten(variables["params"])
        gradient = jax.tree.leaves(jax.device_get(loss(variables["params"])[1]))
        for i, leaf in enumerate(leaves):
            direction = rng.standard_normal(leaf.shape)
            ahead, behind = (
                float(loss(jax.tree.unflatten(structure, [*leaves[:i], leaf + e * direction, *leaves[i + 1 :]]))[0])
                for e in (1e-6, -1e-6)
            )
            expected = (ahead - behind) / 2e-6
            assert np.abs(expected) > 1e-4
            np.testing.assert_allclose((gradient[i] * direction).sum(), expected, rtol=1e-5, atol=1e-7)


def gradient(module, variables, x, train=False):
    """Of a loss that every embedding enters, by the path of the parameter; needs jit."""

    def loss(params):
        h = run(module, {**variables, "params": params}, x, None, train)
        return (h * jnp.cos(jnp.arange(h.size, dtype=h.dtype)).reshape(h.shape)).sum()

    found = jax.jit(jax.grad(loss))(variables["params"])
    return {jax.tree_util.keystr(path): np.asarray(g) for path, g in jax.tree.leaves_with_path(found)}


def bfloat16_stays_close(exact, rough, variables, x, largest, mean):
    """``rough``: the same module with bfloat16 factors; needs jit."""
    exact, rough = jax.jit(exact.apply)(variables, x), jax.jit(rough.apply)(variables, x)
    assert rough.dtype == jnp.float32
    difference = np.abs(rough - exact)
    assert 0 < difference.max() < largest
    assert difference.mean() < mean
    # The embeddings use the digits that bfloat16 does not have (those that are not 0 by ReLU).
    kept = np.asarray(rough != 0)
    assert (rough != rough.astype(jnp.bfloat16).astype(jnp.float32))[kept].mean() > 0.9


def a_mesh_changes_nothing(module, meshed, variables, x, train=False):
    """Embeddings, statistics and gradients on two devices and on one; ``meshed`` knows its axis; needs jit."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def both(module, variables, x, mask):
        def loss(params):
            mutable = ["batch_stats"] if train else []
            h, new = module.apply({**variables, "params": params}, x, mask, train=train, mutable=mutable)
            return (h**2).sum(), (h, new)

        gradient, (h, new) = jax.grad(loss, has_aux=True)(variables["params"])
        return h, (gradient, new)

    sharded = jax.shard_map(
        lambda *a: both(meshed, *a),
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=(P("data"), P()),
        check_vma=True,
    )
    found = jax.jit(sharded)(variables, x, TRAIN_MASK)
    expected = jax.jit(partial(both, module))(variables, x, TRAIN_MASK)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(b).max())))
