"""20 steps and an evaluation on 1, 2, 4 and 8 fake devices; BatchNorm per device beside a loop over their shares."""

from functools import cache

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from rgcn_jax import losses, parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.embed_step import make_embed_step
from rgcn_jax.models.build import build_model
from rgcn_jax.models.frame_input import normalise_frames
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import make_train_step
from tests import tiny
from tests.models.untyped import untyped

STEPS = 20


@cache
def run(devices, platform):
    """(losses of 20 steps, parameters and statistics after them, features of a batch) with momentum SGD, of the model
    in the form for a platform.

    Not Adam: it divides a gradient by its own root mean square, so that a gradient N times too large would not show,
    and the rounding of one that cancels to nothing would.
    """
    state, step, mesh = tiny.start(devices, optax.sgd(0.01, momentum=0.9), platform=platform)
    trained = []
    for seed in range(STEPS):
        state, metrics = step(state, parallel.shard(tiny.batch(seed), mesh))
        trained.append(float(metrics["loss"]))
    model = build_model(tiny.FIELDS, tiny.IDENTITIES, axis_name=parallel.AXIS, platform=platform)
    embed = make_embed_step(model, mesh)
    features = embed(state.variables, parallel.shard(tiny.batch(STEPS), mesh))
    return np.array(trained), jax.device_get(state.variables), jax.device_get(features)


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize(("devices", "platform"), [(2, "cpu"), (4, "cpu"), (8, "cpu"), (2, "gpu")])
def test_twenty_steps_and_features_do_not_depend_on_the_number_of_devices(devices, platform):
    single, (trained, variables, features) = run(1, platform), run(devices, platform)
    assert len(set(single[0])) == STEPS
    np.testing.assert_allclose(trained, single[0], rtol=1e-4)
    tiny.close_in_norm(variables, single[1], 1e-4)
    tiny.close_in_norm(features, single[2], 1e-5)


def wide_model():
    """The tiny model in float64; without the name of a mesh's axis, so that it normalises what it is given."""
    model = build_model(tiny.FIELDS, tiny.IDENTITIES)
    appearance = untyped(model).appearance
    return model.clone(appearance=appearance.clone(trunk=appearance.trunk.clone(dtype=jax.numpy.float64)))


def reference(params, batch_stats, batch, devices, model=None):
    """(loss, statistics) of BatchNorm per device, in a loop: the model on each device's clips alone, the losses of eq.
    15-19 on the features of all clips, the running statistics of the first share.
    """
    model = model or build_model(tiny.FIELDS, tiny.IDENTITIES)

    def share(clips):
        return model.apply(
            {"params": params, "batch_stats": batch_stats},
            normalise_frames(clips["frames"], clips["keypoints"].dtype),
            clips["keypoints"],
            clips["frame_mask"],
            train=True,
            mutable=["batch_stats"],
        )

    shares = {name: jax.numpy.asarray(v).reshape(devices, -1, *v.shape[1:]) for name, v in batch.items()}
    features, updated = jax.lax.map(share, shares)
    f_a, f_p, logits = (
        getattr(features, name).reshape(len(batch["label"]), -1) for name in ("appearance", "pose", "logits")
    )
    terms = losses.combine(
        losses.identity_loss(logits, batch["label"], 0.1),
        losses.batch_hard_triplet_loss(f_a, batch["label"], 0.3),
        losses.batch_hard_triplet_loss(f_p, batch["label"], 0.3),
        "adaptive",
        weight_gradient=False,
    )
    return terms.total, jax.tree.map(lambda of_shares: of_shares[0], updated["batch_stats"])


@pytest.mark.slow
@pytest.mark.jit
def test_batch_norm_per_device_is_a_loop_over_the_devices_shares():
    """With plain SGD at rate 1 the change of the parameters is the gradient."""
    devices = 4
    state, step, mesh = tiny.start(devices, optax.sgd(1.0), batch_norm="device")
    params, statistics = jax.device_get((state.params, state.batch_stats))
    expected = jax.jit(jax.value_and_grad(reference, has_aux=True), static_argnums=3)
    (loss, new_statistics), gradient = expected(params, statistics, tiny.batch(), devices)
    after, metrics = step(state, parallel.shard(tiny.batch(), mesh))
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
    global_loss = jax.jit(reference, static_argnums=3)(params, statistics, tiny.batch(), 1)[0]
    assert abs(float(metrics["loss"]) - float(global_loss)) > 1e-3
    # The gradient of a normalisation's bias is a sum that cancels to a hundredth of its terms.
    tiny.close_in_norm(jax.tree.map(np.subtract, params, jax.device_get(after.params)), gradient, 1e-3)
    tiny.close_in_norm(jax.device_get(after.batch_stats), new_statistics, 1e-5)


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_twenty_steps_of_batch_norm_per_device_are_those_of_the_loop(devices):
    """In float64: what normalises a few clips enlarges rounding, in float32 to 1e-4 and more within 20 steps."""
    clips, optimizer, variables = 4 * devices, optax.sgd(0.01, momentum=0.9), tiny.variables()
    with jax.enable_x64(True):
        model, mesh = wide_model(), parallel.make_mesh(devices)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        state = parallel.replicate(create_state(variables, optimizer, seed=0), mesh)
        step = make_train_step(model, optimizer, LossConfig(), mesh, jax.numpy.float64)

        @jax.jit
        def reference_step(params, statistics, momentum, batch):
            gradient = jax.value_and_grad(reference, has_aux=True)
            (loss, statistics), slope = gradient(params, statistics, batch, devices, model)
            updates, momentum = optimizer.update(slope, momentum, params)
            return optax.apply_updates(params, updates), statistics, momentum, loss

        trained, expected = [], []
        params, statistics = variables["params"], variables["batch_stats"]
        momentum = optimizer.init(params)
        for seed in range(STEPS):
            batch = tiny.batch(seed, clips)
            batch["keypoints"] = batch["keypoints"].astype(np.float64)
            state, metrics = step(state, parallel.shard(batch, mesh))
            params, statistics, momentum, loss = reference_step(params, statistics, momentum, batch)
            trained.append(float(metrics["loss"]))
            expected.append(float(loss))
        np.testing.assert_allclose(trained, expected, rtol=1e-9)
        tiny.close_in_norm(jax.device_get(state.variables), {"params": params, "batch_stats": statistics}, 1e-8)


@pytest.mark.slow
@pytest.mark.jit
def test_two_micro_batches_on_two_devices_with_statistics_of_their_own_are_four():
    state, step, mesh = tiny.start(2, optax.sgd(1.0), batch_norm="device", micro_batches=2)
    params, statistics = jax.device_get((state.params, state.batch_stats))
    expected = jax.jit(jax.value_and_grad(reference, has_aux=True), static_argnums=3)
    # Of the first device's clips 0 to 3 the even ones, the odd ones; then the second's.
    shares = {name: x[[0, 2, 1, 3, 4, 6, 5, 7]] for name, x in tiny.batch().items()}
    (loss, _), gradient = expected(params, statistics, shares, 4)
    after, metrics = step(state, parallel.shard(tiny.batch(), mesh))
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
    tiny.close_in_norm(jax.tree.map(np.subtract, params, jax.device_get(after.params)), gradient, 1e-3)


def test_an_unknown_batch_norm_is_reported():
    with pytest.raises(InputError, match=r"parallel.batch_norm is 'local'"):
        parallel.normalisation_axis("local")


@pytest.mark.jit
def test_the_first_devices_values_are_exact_even_beside_infinities():
    mesh = parallel.make_mesh(4)
    values = np.array([0.1, np.inf, np.nan, -3.0], np.float32)
    first = parallel.over_clips(parallel.of_first_device, mesh, parallel.SHARDED, PartitionSpec())
    np.testing.assert_array_equal(jax.jit(first)(parallel.shard(values, mesh)), values[:1])


@pytest.mark.parametrize(("devices", "reduced"), [(1, False), (2, True)])
def test_a_gradient_is_reduced_over_devices_only_if_there_are_several(devices, reduced):
    def loss(weights, rows):
        everybody = parallel.gather_clips(rows)
        return parallel.mean_over_devices((weights * rows).mean() + (everybody * parallel.device_index()).sum())

    specs = (parallel.REPLICATED, parallel.SHARDED)
    mapped = parallel.over_clips(loss, parallel.make_mesh(devices), specs, parallel.REPLICATED)
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    gradient = jax.grad(mapped)
    np.testing.assert_allclose(gradient(np.ones(3, np.float32), rows), rows.mean(0) / 3, rtol=1e-6)
    assert ("psum" in str(jax.make_jaxpr(gradient)(np.ones(3, np.float32), rows))) == reduced


@pytest.mark.jit
def test_of_a_single_process_any_process_is_itself():
    reported = parallel.AnyProcess(parallel.make_mesh(2))
    assert [reported(flag) for flag in (False, True, False)] == [False, True, False]
