"""The training step: the objective of the paper, and finite under stress (on several devices: tests/parallel)."""

import logging
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from rgcn_jax import losses, parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.embed_step import make_embed_step
from rgcn_jax.models.build import build_model
from rgcn_jax.models.frame_input import normalise_frames
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.training.optim import adam_coupled_l2, step_schedule
from rgcn_jax.training.step import batch_shapes, local_features, local_losses, make_train_step
from tests import tiny


def test_frames_are_normalised_as_the_images_of_the_pretrained_weights():
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 4, 3), dtype=np.uint8)
    expected = (frames / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(normalise_frames(jax.numpy.asarray(frames), np.float32), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.jit
def test_the_loss_is_the_papers_from_the_models_features():
    state, step, mesh = tiny.start(1)
    batch = tiny.batch()
    model = build_model(tiny.FIELDS, tiny.IDENTITIES)
    frames = normalise_frames(jax.numpy.asarray(batch["frames"]), np.float32)
    variables = jax.device_get(state.variables)
    features, _ = model.apply(
        variables,
        frames,
        jax.numpy.asarray(batch["keypoints"]),
        jax.numpy.asarray(batch["frame_mask"]),
        train=True,
        mutable=["batch_stats"],
    )
    triplet = [losses.batch_hard_triplet_loss(f, batch["label"], 0.3) for f in (features.appearance, features.pose)]
    identity = losses.identity_loss(features.logits, batch["label"], 0.1)
    weight = float(triplet[0] / (triplet[0] + triplet[1]))
    _, metrics = step(state, parallel.shard(batch, mesh))
    assert float(metrics["loss_id"]) == pytest.approx(float(identity), rel=1e-5)
    assert float(metrics["loss_appearance"]) == pytest.approx(float(triplet[0]), rel=1e-4)
    assert float(metrics["loss_pose"]) == pytest.approx(float(triplet[1]), rel=1e-4)
    assert float(metrics["lambda"]) == pytest.approx(weight, rel=1e-4)
    total = identity + weight * triplet[0] + (1 - weight) * triplet[1]
    assert float(metrics["loss"]) == pytest.approx(float(total), rel=1e-5)
    assert "loss_auxiliary" not in metrics


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize("neck", ["none", "batchnorm"])
@pytest.mark.parametrize("devices", [1, 2])
def test_triplets_of_the_standardised_features_with_a_soft_margin(devices, neck):
    objective = LossConfig(margin="soft", pose_triplet="neck", appearance_triplet="neck")
    state, step, mesh = tiny.start(devices, objective=objective, neck=neck)
    batch = tiny.batch()
    model = build_model(tiny.FIELDS | {"neck": neck}, tiny.IDENTITIES)
    inputs = normalise_frames(jax.numpy.asarray(batch["frames"]), np.float32), batch["keypoints"], batch["frame_mask"]
    features, _ = model.apply(jax.device_get(state.variables), *inputs, train=True, mutable=["batch_stats"])
    _, metrics = step(state, parallel.shard(batch, mesh))
    for branch, epsilon in (("appearance", 1e-5), ("pose", 1e-7)):
        f = np.asarray(getattr(features, branch), np.float64)
        standardised = ((f - f.mean(axis=0)) / np.sqrt(f.var(axis=0) + epsilon)).astype(np.float32)
        expected = losses.batch_hard_triplet_loss(standardised, batch["label"], "soft")
        assert float(metrics[f"loss_{branch}"]) == pytest.approx(float(expected), rel=1e-3)


def expected_terms(features, labels, objective):
    """Loss terms in NumPy loops, float64, with the distance, margin, smoothing and weight of an objective."""

    def triplet(rows):
        rows = np.asarray(rows, np.float64)
        if objective.triplet_distance == "cosine":
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            distances = -rows @ rows.T
        else:
            distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
        hinge = [
            objective.margin + d[labels == label].max() - d[labels != label].min()
            for d, label in zip(distances, labels, strict=True)
        ]
        return np.maximum(hinge, 0).mean()

    logits = np.asarray(features.logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.eye(logits.shape[1])[labels]
    target = (1 - objective.label_smoothing) * target + objective.label_smoothing / logits.shape[1]
    identity, a, p = -(target * log_p).sum(axis=1).mean(), triplet(features.appearance), triplet(features.pose)
    weight = a / (a + p) if objective.appearance_weight == "adaptive" else objective.appearance_weight
    return {
        "loss_id": identity,
        "loss_appearance": a,
        "loss_pose": p,
        "lambda": weight,
        "loss": identity + weight * a + (1 - weight) * p,
    }


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize(
    ("objective", "neck"),
    [
        (LossConfig(margin=1.7, label_smoothing=0.35, appearance_weight=0.2), "batchnorm"),
        (LossConfig(margin=0.5, label_smoothing=0.0, triplet_distance="cosine"), "batchnorm_all"),  # BiCnet-TKS
    ],
)
def test_the_compiled_objective_is_the_one_of_the_config(objective, neck):
    state, step, mesh = tiny.start(1, objective=objective, neck=neck)
    batch = tiny.batch()
    inputs = normalise_frames(jax.numpy.asarray(batch["frames"]), np.float32), batch["keypoints"], batch["frame_mask"]
    model = build_model(tiny.FIELDS | {"neck": neck}, tiny.IDENTITIES)
    features, _ = model.apply(jax.device_get(state.variables), *inputs, train=True, mutable=["batch_stats"])
    _, metrics = step(state, parallel.shard(batch, mesh))
    expected = expected_terms(features, batch["label"], objective)
    assert expected["loss_pose"] > 0
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(value, rel=1e-3), name


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize("through", [False, True])
def test_the_compiled_step_takes_the_gradient_through_the_weight_where_that_is_asked_for(through):
    """A step of plain descent against the gradient of eq. 19, lambda a constant or not."""
    batch = tiny.batch()
    inputs = normalise_frames(jax.numpy.asarray(batch["frames"]), np.float32), batch["keypoints"], batch["frame_mask"]
    model = build_model(tiny.FIELDS, tiny.IDENTITIES)
    state, step, mesh = tiny.start(1, optax.sgd(1.0), objective=LossConfig(weight_gradient=through))
    before = jax.device_get(state.variables)

    def total(params):
        variables = {"params": params, "batch_stats": before["batch_stats"]}
        features, _ = model.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        a, p = (losses.batch_hard_triplet_loss(f, batch["label"], 0.3) for f in (features.appearance, features.pose))
        weight = a / (a + p)
        weight = weight if through else jax.lax.stop_gradient(weight)
        return losses.identity_loss(features.logits, batch["label"], 0.1) + weight * a + (1 - weight) * p

    gradient = jax.jit(jax.grad(total))(before["params"])
    after, _ = step(state, parallel.shard(batch, mesh))
    taken = jax.tree.map(np.subtract, before["params"], jax.device_get(after.params))
    tiny.close_in_norm(taken, gradient, 1e-3)


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_an_auxiliary_loss_is_the_mean_over_the_micro_batches(micro_batches, auxiliary):
    """Of a model that returns its frames, counts its calls in its statistics and has such a loss, or none."""

    def apply(variables, frames, keypoints, mask, **_):
        rows = frames.reshape(len(frames), -1)
        aux = {"weights": rows} | ({"auxiliary_loss": (rows**2).mean()} if auxiliary else {})
        found = SimpleNamespace(appearance=rows, pose=rows[:, :1], logits=rows, standardised={"pose": rows}, aux=aux)
        return found, {"batch_stats": variables["batch_stats"] + 1}

    frames = np.random.default_rng(0).random((6, 2, 1, 1, 3), np.float32)
    batch = {"frames": frames, "keypoints": np.zeros((6, 2, 14, 3), np.float32), "frame_mask": np.ones((6, 2), bool)}
    model = SimpleNamespace(axis_name="clips", apply=apply)
    settings = {"model": model, "dtype": np.float32, "micro_batches": micro_batches}
    batch = jax.tree.map(jax.numpy.asarray, batch)
    found, statistics = local_features({}, jax.numpy.zeros(()), batch, jax.random.key(0), **settings)
    assert float(statistics) == micro_batches
    rows = frames.reshape(6, -1)
    expected = {"appearance": rows, "pose": rows[:, :1], "logits": rows, "neck_pose": rows}
    expected |= {"auxiliary_loss": (rows**2).mean()} if auxiliary else {}
    assert found.keys() == expected.keys()
    tiny.leaves_close(found, expected, rtol=1e-6)


@pytest.mark.parametrize("width", [0, 3])
def test_micro_batches_of_a_model_with_one_branch(width):
    """The features of the other branch, and frames that it alone would read, have an axis of size 0."""

    def apply(variables, frames, keypoints, mask, **_):
        rows = keypoints.reshape(len(keypoints), -1)
        found = SimpleNamespace(appearance=frames, pose=rows[:, width:], logits=rows, standardised={}, aux={})
        return found, {"batch_stats": variables["batch_stats"]}

    keypoints = np.random.default_rng(0).random((6, 1, 1, 3), np.float32)
    batch = {"frames": np.ones((6, 3 - width)), "keypoints": keypoints, "frame_mask": np.ones((6, 1), bool)}
    batch = jax.tree.map(jax.numpy.asarray, batch)
    settings = {"model": SimpleNamespace(axis_name="clips", apply=apply), "dtype": np.float32, "micro_batches": 2}
    found, _ = local_features({}, jax.numpy.zeros(()), batch, jax.random.key(0), **settings)
    np.testing.assert_array_equal(found["logits"], keypoints.reshape(6, 3))
    assert found["appearance"].shape == found["pose"].shape == (6, 3 - width)


@pytest.mark.jit
def test_an_auxiliary_loss_is_the_mean_over_the_devices():
    def apply(variables, frames, keypoints, mask, **_):
        rows = frames.reshape(len(frames), -1)
        aux = {"auxiliary_loss": (rows**2).mean()}
        found = SimpleNamespace(appearance=rows, pose=rows[:, :1], logits=rows, standardised={}, aux=aux)
        return found, {"batch_stats": variables["batch_stats"]}

    batch = tiny.batch()
    batch["frames"] = np.random.default_rng(0).random((8, 2, 1, 1, 3), np.float32)
    settings = {"objective": LossConfig(), "dtype": np.float32, "micro_batches": 1}
    settings["model"] = SimpleNamespace(axis_name=parallel.AXIS, apply=apply)
    replicated, mesh = parallel.REPLICATED, parallel.make_mesh(2)
    specs = (replicated, replicated, parallel.SHARDED, replicated), (replicated, replicated)
    terms, _ = parallel.over_clips(partial(local_losses, **settings), mesh, *specs)(
        {}, jax.numpy.zeros(()), parallel.shard(batch, mesh), jax.random.key(0)
    )
    assert float(terms.auxiliary) == pytest.approx((batch["frames"] ** 2).mean(), rel=1e-6)


@pytest.mark.jit
def test_the_step_is_compiled_once_and_before_there_is_a_batch(caplog):
    state, step, mesh = tiny.start(1)
    shapes = batch_shapes(8, tiny.FRAMES, (tiny.HEIGHT, tiny.WIDTH), mesh)
    step.lower(state, shapes).compile()  # pyright: ignore[reportFunctionMemberAccess]
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        for seed in range(3):
            state, _ = step(state, parallel.shard(tiny.batch(seed), mesh))
    assert not [r for r in caplog.records if r.getMessage().startswith("Compiling jit(train_step)")]
    assert step._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]  # of a jitted function, undocumented
    assert int(state.step) == 3


@pytest.mark.parametrize(("shape", "frames"), [((0,), (4, 0)), ((7,), (4, 7))], ids=["keypoints alone", "features"])
def test_shapes_of_a_batch_without_frames(shape, frames):
    shapes = batch_shapes(4, 3, shape, parallel.make_mesh(1))
    assert (shapes["frames"].shape, shapes["frames"].dtype) == (frames, np.float32)
    assert shapes["keypoints"].shape == (4, 3, 14, 3)


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize("what", ["keypoints", "frames", "label", "keypoints frames", "keypoints frames label"])
def test_degenerate_batches_are_finite(what):
    """All keypoints missing; identical frames; one identity; identical features in both branches; all of it."""
    batch = tiny.batch()
    for name in what.split():
        batch[name] = np.zeros_like(batch[name])
    state, step, mesh = tiny.start(1)
    state, metrics = step(state, parallel.shard(batch, mesh))
    assert all(np.isfinite(v) for v in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
@pytest.mark.jit
def test_without_a_pose_branch_the_weight_is_the_appearance_triplets():
    state, step, mesh = tiny.start(1, pose="none")
    _, metrics = step(state, parallel.shard(tiny.batch(), mesh))
    assert float(metrics["lambda"]) == 1.0
    assert float(metrics["loss"]) == pytest.approx(float(metrics["loss_id"] + metrics["loss_appearance"]), rel=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("devices", [1, 4])
def test_features_ignore_labels_ids_and_padding(devices):
    model = build_model(tiny.FIELDS, tiny.IDENTITIES)
    mesh = parallel.make_mesh(devices)
    embed, variables = make_embed_step(model, mesh), tiny.variables()
    batch = tiny.batch()
    expected = jax.device_get(embed(variables, parallel.shard(batch, mesh)))
    changed = dict(batch, label=batch["label"][::-1].copy(), index=batch["index"] + 7)
    changed["frames"] = batch["frames"].copy()
    changed["frames"][0, -1] = 99  # masked
    changed["keypoints"] = batch["keypoints"].copy()
    changed["keypoints"][0, -1] = 0.5  # masked
    tiny.leaves_close(jax.device_get(embed(variables, parallel.shard(changed, mesh))), expected, atol=1e-6)
    order = np.random.default_rng(0).permutation(8)
    shuffled = {name: value[order] for name, value in batch.items()}
    result = jax.device_get(embed(variables, parallel.shard(shuffled, mesh)))
    tiny.leaves_close(result, jax.tree.map(lambda rows: rows[order], expected), atol=1e-5)


def test_devices_that_are_not_there_and_batches_that_do_not_divide_are_reported():
    with pytest.raises(InputError, match="parallel.num_devices is 9, .* 8 cpu"):
        parallel.make_mesh(9)
    with pytest.raises(InputError, match=r"batches of 6 clips.* 4 devices"):
        parallel.check_divides(6, parallel.make_mesh(4), "things")


@pytest.mark.slow
@pytest.mark.jit
def test_a_step_that_is_not_finite_is_left_out_where_that_is_asked_for():
    """A label that there is not breaks the loss: all stays as it was but the count of steps, not the rate."""
    state, plain_step, mesh = tiny.start(1)
    model = build_model(tiny.FIELDS, tiny.IDENTITIES, "float32", parallel.AXIS)
    schedule = step_schedule(3e-3, 0.1, 2)
    optimizer = adam_coupled_l2(schedule, 5e-4)
    step = make_train_step(model, optimizer, LossConfig(), mesh, schedule=schedule, skip_nonfinite=True)
    before = host_leaves(state)
    broken = tiny.batch()
    broken["label"] = np.full_like(broken["label"], 10**6)
    state, metrics = step(state, parallel.shard(broken, mesh))
    assert not np.isfinite(metrics["loss"])
    after = host_leaves(state)
    assert after.pop("step") == 1
    assert before.pop("step") == 0
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    # A finite step is the step without that.
    start = tiny.start(1)[0].replace(step=parallel.replicate(jax.numpy.int32(1), mesh))
    state, metrics = step(state, parallel.shard(tiny.batch(), mesh))
    plain, expected = plain_step(start, parallel.shard(tiny.batch(), mesh))
    rates = [float(metrics.pop("learning_rate"))]
    assert metrics.keys() == expected.keys()
    tiny.leaves_close(metrics, expected, rtol=1e-5)
    tiny.leaves_close(state.params, plain.params, rtol=1e-5, atol=1e-6)
    earlier = jax.device_get(plain.params)
    later = plain_step(plain, parallel.shard(broken, mesh))[0].params  # applied where skipping is not asked for
    assert not all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (earlier, later)), strict=True))
    for _ in range(2):
        state, metrics = step(state, parallel.shard(tiny.batch(), mesh))
        rates.append(float(metrics["learning_rate"]))
    # The rate decays after two steps; the skipped one was none.
    assert rates == pytest.approx([3e-3, 3e-3, 3e-4], rel=1e-5)
