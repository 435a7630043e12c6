"""Less memory for the same step: micro-batches one after another, recomputation, donation, bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rgcn_jax import losses, parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.errors import InputError
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.models.frame_input import normalise_frames
from rgcn_jax.models.resnet import ResNet50
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import check_micro_batches, local_losses, make_train_step
from tests import tiny

pytestmark = pytest.mark.slow

SGD = optax.sgd(1.0)
"""The change of the parameters is the gradient."""


def result(fields, variables, batch, devices=1, micro_batches=1):
    """(gradient, statistics, metrics) of a step."""
    mesh = parallel.make_mesh(devices)
    model = build_model(fields, tiny.IDENTITIES, axis_name=parallel.AXIS, aspect=0.5)
    step = make_train_step(model, SGD, LossConfig(), mesh, micro_batches=micro_batches)
    state = parallel.replicate(create_state(jax.tree.map(jnp.array, variables), SGD, seed=0), mesh)  # copies: consumed
    before = jax.device_get(state.params)
    after, metrics = jax.device_get(step(state, parallel.shard(batch, mesh)))
    return jax.tree.map(np.subtract, before, after.params), after.batch_stats, metrics


@pytest.mark.jit
@pytest.mark.parametrize(("devices", "micro_batches"), [(1, 4), (2, 2)])
def test_without_batch_statistics_micro_batches_change_nothing(devices, micro_batches):
    """The hardest clips are sought in the whole batch, the gradient is that of the whole batch."""
    fields = tiny.FIELDS | {"appearance": "precomputed", "neck": "none"}
    batch = dict(tiny.batch(), frames=np.random.default_rng(1).standard_normal((8, 6)).astype(np.float32))
    model = build_model(fields, tiny.IDENTITIES, aspect=0.5)
    variables = initialise(model, 0, tiny.FRAMES, 6)
    whole, divided = result(fields, variables, batch), result(fields, variables, batch, devices, micro_batches)
    tiny.leaves_close(divided[0], whole[0], rtol=1e-4, atol=1e-6)
    tiny.leaves_close(divided[2], whole[2], rtol=1e-5)


@pytest.mark.jit
def test_each_micro_batch_has_batch_statistics_of_its_own_and_the_loss_is_of_the_whole():
    """Beside the definition, written out: micro-batches in order, then one loss over all features."""
    batch, variables, micro_batches = tiny.batch(), tiny.variables(), 2
    model = build_model(tiny.FIELDS, tiny.IDENTITIES)

    def written_out(params):
        stats, found = variables["batch_stats"], []
        for first in range(micro_batches):
            rows = slice(first, None, micro_batches)
            frames = normalise_frames(jnp.asarray(batch["frames"][rows]), np.float32)
            inputs = frames, batch["keypoints"][rows], batch["frame_mask"][rows]
            features, new = model.apply(
                {"params": params, "batch_stats": stats}, *inputs, train=True, mutable=["batch_stats"]
            )
            stats = new["batch_stats"]
            found.append((features.appearance, features.pose, features.logits))
        f_a, f_p, logits = (jnp.stack(f, 1).reshape(len(batch["label"]), -1) for f in zip(*found, strict=True))
        identity = losses.identity_loss(logits, batch["label"], 0.1)
        triplet_a, triplet_p = (losses.batch_hard_triplet_loss(f, batch["label"], 0.3) for f in (f_a, f_p))
        return losses.combine(identity, triplet_a, triplet_p, "adaptive", False).total, stats

    (loss, stats), expected = jax.jit(jax.value_and_grad(written_out, has_aux=True))(variables["params"])
    gradient, found, metrics = result(tiny.FIELDS, variables, batch, micro_batches=micro_batches)
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
    tiny.leaves_close(found, stats, rtol=1e-4, atol=1e-6)
    for g, e in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-3, atol=1e-4 * np.abs(e).max() + 1e-6)


@pytest.mark.jit
def test_micro_batches_are_the_same_on_any_number_of_devices():
    """With batch statistics, each of the same clips; three steps, so that the running ones count."""

    def trained(devices):
        state, step, mesh = tiny.start(devices, optax.sgd(0.01), micro_batches=2)
        reported = []
        for seed in range(3):
            state, metrics = step(state, parallel.shard(tiny.batch(seed), mesh))
            reported.append(float(metrics["loss"]))
        return reported, jax.device_get(state.variables)

    expected, variables = trained(1)
    for found, others in (trained(2), trained(4)):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        tiny.close_in_norm(others, variables, 1e-5)
    whole = tiny.start(1, optax.sgd(0.01))
    _, metrics = whole[1](whole[0], parallel.shard(tiny.batch(0), whole[2]))
    assert abs(float(metrics["loss"]) - expected[0]) > 1e-3  # the micro-batches' own statistics are seen in the loss


def test_micro_batches_must_divide_the_clips_of_a_device():
    with pytest.raises(InputError, match="batch.micro_batches is 3, .* 4 clips"):
        check_micro_batches(8, parallel.make_mesh(2), 3)
    check_micro_batches(8, parallel.make_mesh(2), 4)


@pytest.mark.jit
def test_recomputation_changes_no_number():
    batch, variables = tiny.batch(), tiny.variables()
    kept = result(tiny.FIELDS, variables, batch)
    again = result(tiny.FIELDS | {"remat": "blocks"}, variables, batch)
    for g, e in zip(jax.tree.leaves(again), jax.tree.leaves(kept), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5 * np.abs(e).max() + 1e-7)


@pytest.mark.parametrize("appearance", ["AP", "AA", "AA-conv", "RA", "BiC"])
def test_every_trunk_recomputes(appearance):
    """Counted in the traced step: the stem, and each of the four blocks each time that it runs."""
    stages = (1, 1, 1, 1) if appearance == "BiC" else (1,)
    fields = tiny.FIELDS | {"appearance": appearance, "stage_sizes": stages, "pose": "none", "remat": "blocks"}
    model = build_model(fields, tiny.IDENTITIES)
    shapes = (4, tiny.HEIGHT, tiny.WIDTH, 3), (4, 14, 3), (4,)
    clips = [jnp.zeros((2, *shape), kind) for shape, kind in zip(shapes, (float, float, bool), strict=True)]
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), *clips))
    traced = jax.make_jaxpr(lambda v: model.apply(v, *clips, train=True, mutable=["batch_stats"]))(variables)
    assert str(traced).count("checkpoint[") + str(traced).count("remat2[") == (9 if appearance == "BiC" else 2)


def kept_bytes(remat):
    """Of what the trunk keeps between the forward and the backward pass; nothing is computed."""
    trunk = ResNet50((4,), width=8, remat=remat)
    images = jnp.zeros((2, 64, 32, 3))
    variables = jax.eval_shape(lambda: trunk.init(jax.random.key(0), images, False))

    def pullback(variables):
        def forward(params):
            return trunk.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])[0]

        return jax.vjp(forward, variables["params"])[1]

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(pullback, variables)))


@pytest.mark.jit
def test_recomputation_keeps_the_inputs_of_blocks_alone():
    """Images, and four maps of 16 x 8 x 32 but the first of 8, of two images; parameters come on top."""
    inputs = 4 * 2 * (64 * 32 * 3 + 16 * 8 * (8 + 3 * 32))
    assert inputs <= kept_bytes("blocks") < 1.5 * inputs
    assert kept_bytes("none") > 3 * inputs


@pytest.mark.jit
def test_micro_batches_keep_no_activation():
    """Between the forward and the backward pass of the whole step: the frames, the parameters and the features."""
    model = build_model(tiny.FIELDS, tiny.IDENTITIES, axis_name=parallel.AXIS)
    variables, batch = jax.eval_shape(tiny.variables), tiny.batch()

    def kept(micro_batches):
        settings = {"model": model, "objective": LossConfig(), "dtype": jnp.float32, "micro_batches": micro_batches}
        mapped = parallel.over_clips(
            lambda *arguments: local_losses(*arguments, **settings)[0].total,
            parallel.make_mesh(1),
            (parallel.REPLICATED, parallel.REPLICATED, parallel.SHARDED, parallel.REPLICATED),
            parallel.REPLICATED,
        )

        def pullback(variables):
            stats = variables["batch_stats"]
            return jax.vjp(lambda params: mapped(params, stats, batch, jax.random.key(0)), variables["params"])[1]

        return sum(
            x.size * getattr(x.dtype, "itemsize", 8) for x in jax.tree.leaves(jax.eval_shape(pullback, variables))
        )

    assert kept(4) < 0.3 * kept(1)


@pytest.mark.jit
def test_the_state_handed_in_is_consumed():
    """Its buffers become those of the new state, so that there are never two of them."""
    state, step, mesh = tiny.start(1)
    assert isinstance(step, jax.stages.Wrapped)
    compiled = step.lower(state, parallel.shard(tiny.batch(), mesh)).compile()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.batch_stats, state.opt_state)))
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.alias_size_in_bytes >= size
    after, _ = compiled(state, parallel.shard(tiny.batch(), mesh))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))


def products(jaxpr):
    """(dtype of the factors, dtype of the result) of every convolution and matrix product, within functions too."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            found.add((str(equation.invars[0].aval.dtype), str(equation.outvars[0].aval.dtype)))
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found |= products(inner)
    return found


def test_bfloat16_is_for_the_products_only():
    """Trunk and large products in bfloat16, sums of the recurrence in float32; all that is kept, and the features and
    losses, in float32.
    """
    model = build_model(tiny.FIELDS | {"pose": "LGCN"}, tiny.IDENTITIES, "bfloat16")
    batch, variables = tiny.batch(), jax.eval_shape(lambda: tiny.variables(pose="LGCN"))

    def trunk(variables, frames):
        assert model.appearance is not None
        return model.appearance.apply(
            {kind: variables[kind]["appearance"] for kind in variables}, frames, train=True, mutable=["batch_stats"]
        )

    frames = normalise_frames(jnp.asarray(batch["frames"]), jnp.bfloat16)
    assert frames.dtype == jnp.bfloat16
    assert products(jax.make_jaxpr(trunk)(variables, frames).jaxpr) == {("bfloat16", "bfloat16")}

    def whole(variables):
        inputs = frames, batch["keypoints"], batch["frame_mask"]
        return model.apply(variables, *inputs, train=True, mutable=["batch_stats"])

    traced = products(jax.make_jaxpr(whole)(variables).jaxpr)
    assert ("bfloat16", "float32") in traced  # the recurrence
    features, updated = jax.eval_shape(whole, variables)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((features[:3], updated, variables))} == {"float32"}
