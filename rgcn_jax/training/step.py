"""The compiled training step, a pure function: forward pass, losses, backward pass and update."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from rgcn_jax import losses, parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.errors import InputError
from rgcn_jax.models.frame_input import normalise_frames
from rgcn_jax.models.running_variance import unbiased_running_variance
from rgcn_jax.models.two_branch import TwoBranch
from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.training.optim import steps_applied
from rgcn_jax.training.state import TrainState
from rgcn_jax.types import DeviceBatch

Metrics = dict[str, Float[Array, ""]]


def local_features(
    params: Any, batch_stats: Any, batch: DeviceBatch, key: Array, *, model: Any, dtype: Any, micro_batches: int
) -> tuple[dict[str, Array], Any]:
    """Features of one device's clips, and the updated statistics.

    The features are f_a, f_p, both also standardised ("neck_appearance", "neck_pose"), logits and, if the model has
    one, the auxiliary loss.

    With several micro-batches, these are computed one after another and recomputed in the backward pass, so that
    activations of only one are in memory. Each micro-batch is normalised by its own batch statistics and updates the
    running ones, in order. Every ``micro_batches``-th clip belongs to the same micro-batch, so that with global
    statistics its clips do not depend on the number of devices.
    """

    def forward(params: Any, batch_stats: Any, batch: DeviceBatch, key: Array) -> tuple[Any, dict[str, Array]]:
        features, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            normalise_frames(batch["frames"], dtype),
            batch["keypoints"],
            batch["frame_mask"],
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        auxiliary = {name: features.aux[name] for name in ("auxiliary_loss",) if name in features.aux}
        kept = {"appearance": features.appearance, "pose": features.pose, "logits": features.logits}
        kept |= {f"neck_{branch}": feature for branch, feature in features.standardised.items()}
        return updated["batch_stats"], kept | auxiliary

    seen = {name: batch[name] for name in ("frames", "keypoints", "frame_mask")}
    if micro_batches == 1:
        batch_stats, features = forward(params, batch_stats, seen, key)
        return features, batch_stats

    def one_micro_batch(batch_stats: Any, clips: tuple[DeviceBatch, Array]) -> tuple[Any, dict[str, Array]]:
        return jax.checkpoint(forward, prevent_cse=False)(params, batch_stats, *clips)

    if model.axis_name is None:  # statistics differ between devices after the first micro-batch
        batch_stats = parallel.on_each_device(batch_stats)
    each = len(batch["keypoints"]) // micro_batches  # no -1 in the shapes: without a branch, an axis has size 0
    divided = jax.tree.map(lambda x: x.reshape(each, micro_batches, *x.shape[1:]).swapaxes(0, 1), seen)
    batch_stats, features = jax.lax.scan(one_micro_batch, batch_stats, (divided, jax.random.split(key, micro_batches)))
    auxiliary = {"auxiliary_loss": features.pop("auxiliary_loss").mean()} if "auxiliary_loss" in features else {}
    in_order = {name: x.swapaxes(0, 1).reshape(each * micro_batches, *x.shape[2:]) for name, x in features.items()}
    return in_order | auxiliary, batch_stats


def check_micro_batches(clips: int, mesh: Mesh, micro_batches: int) -> None:
    """Raise ``InputError`` unless each device's clips of a batch divide evenly into micro-batches."""
    per_device = clips // mesh.size
    if per_device % micro_batches:
        raise InputError(
            f"batch.micro_batches is {micro_batches}, which does not divide the {per_device} clips per device: "
            "choose a divisor."
        )


def local_losses(
    params: Any,
    batch_stats: Any,
    batch: DeviceBatch,
    key: Array,
    *,
    model: Any,
    objective: LossConfig,
    dtype: Any,
    micro_batches: int,
) -> tuple[losses.LossTerms, Any]:
    """Loss terms of the global batch and updated statistics, from one device's clips; used inside ``over_clips``.

    Anchors are this device's clips; their hardest positives and negatives are mined from the clips of all devices and
    micro-batches. The appearance model's ``auxiliary_loss``, if any, is averaged over the clips and added. A model
    without ``axis_name`` has separate statistics on each device; the result has those of the first one
    (``parallel.normalisation_axis``).
    """
    key = jax.random.fold_in(key, parallel.device_index())
    features, updated = local_features(
        params, batch_stats, batch, key, model=model, dtype=dtype, micro_batches=micro_batches
    )
    labels = batch["label"]
    all_labels = parallel.gather_clips(labels)

    def triplet(branch: str, feature: str) -> Float[Array, ""]:
        rows = features[branch if feature == "raw" else f"neck_{branch}"]
        candidates = parallel.gather_clips(rows)
        return losses.batch_hard_triplet_loss(
            rows, labels, objective.margin, candidates, all_labels, objective.triplet_distance
        )

    chosen = {"appearance": objective.appearance_triplet, "pose": objective.pose_triplet}
    local = {branch: triplet(branch, feature) for branch, feature in chosen.items() if features[branch].shape[1]}
    local["identity"] = losses.identity_loss(features["logits"], labels, objective.label_smoothing)
    found = parallel.mean_over_devices(local)
    auxiliary = features.get("auxiliary_loss")
    if auxiliary is not None:
        auxiliary = parallel.mean_over_devices(auxiliary)
    terms = losses.combine(
        found["identity"],
        found.get("appearance"),
        found.get("pose"),
        objective.appearance_weight,
        objective.weight_gradient,
        auxiliary,
    )
    return terms, parallel.of_first_device(updated) if model.axis_name is None else updated


def batch_shapes(clips: int, frames: int, shape: tuple[int, ...], mesh: Mesh) -> DeviceBatch:
    """Shapes, types and shardings of a batch, to compile the step before a batch exists.

    Args:
      clips: clips per batch, over all processes.
      frames: frames per clip.
      shape: shape of the content of a clip (``data.clips.reader.Data``).
      mesh: the devices.
    """
    shown = ((clips, frames, *shape, 3), jnp.uint8) if len(shape) == 2 else ((clips, *shape), jnp.float32)
    fields = {
        "frames": shown,
        "keypoints": ((clips, frames, len(KEYPOINTS), 3), jnp.float32),
        "frame_mask": ((clips, frames), jnp.bool_),
        "label": ((clips,), jnp.int32),
        "index": ((clips,), jnp.int32),
    }
    sharding = NamedSharding(mesh, parallel.SHARDED)
    return {name: jax.ShapeDtypeStruct(*field, sharding=sharding) for name, field in fields.items()}


def make_train_step(
    model: TwoBranch,
    optimizer: optax.GradientTransformation,
    objective: LossConfig,
    mesh: Mesh,
    dtype: Any = jnp.float32,
    *,
    micro_batches: int = 1,
    schedule: optax.Schedule | None = None,
    skip_nonfinite: bool = False,
    unbiased_variance: bool = False,
) -> Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]]:
    """Compile the training step: (state, batch) -> (state, loss terms). The input state is donated.

    Args:
      model: the model, with classifier.
      optimizer: the optimiser.
      objective: the loss settings.
      mesh: the devices.
      dtype: data type of the frames passed to the model.
      micro_batches: number of micro-batches per device, see ``local_features``.
      schedule: schedule of the optimiser, to report ``learning_rate``; skipped steps do not advance it.
      skip_nonfinite: if a loss term or the gradient norm is not finite, leave parameters, statistics and optimiser
        unchanged; the step is still counted.
      unbiased_variance: whether running variances are unbiased, as PyTorch's (``models.running_variance``).

    Returns:
      The step. Its loss terms include ``grad_norm``, the global gradient norm before weight decay, and
      ``loss_auxiliary`` if the appearance model has an auxiliary loss.
    """

    def mapped_losses(params: Any, batch_stats: Any, batch: DeviceBatch, key: Array) -> tuple[losses.LossTerms, Any]:
        settings = {"model": model, "objective": objective, "dtype": dtype, "micro_batches": micro_batches}
        with nn.intercept_methods(unbiased_running_variance) if unbiased_variance else nullcontext():
            return local_losses(params, batch_stats, batch, key, **settings)

    replicated, sharded = parallel.REPLICATED, parallel.SHARDED
    batch_losses = parallel.over_clips(
        mapped_losses, mesh, (replicated, replicated, sharded, replicated), (replicated, replicated)
    )

    def loss(params: Any, state: TrainState, batch: DeviceBatch) -> tuple[Array, tuple[losses.LossTerms, Any]]:
        terms, batch_stats = batch_losses(params, state.batch_stats, batch, jax.random.fold_in(state.key, state.step))
        return terms.total, (terms, batch_stats)

    def train_step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        gradients, (terms, batch_stats) = jax.grad(loss, has_aux=True)(state.params, state, batch)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        metrics = {
            "loss": terms.total,
            "loss_id": terms.identity,
            "loss_appearance": terms.appearance,
            "loss_pose": terms.pose,
            "lambda": terms.weight,
            "grad_norm": optax.global_norm(gradients),
        }
        if terms.auxiliary is not None:
            metrics["loss_auxiliary"] = terms.auxiliary
        if schedule is not None:
            metrics["learning_rate"] = jnp.asarray(schedule(steps_applied(state.opt_state)), jnp.float32)
        after = replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if skip_nonfinite:
            finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
            kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, replace(state, step=after.step))
            after = replace(kept, key=state.key)
        return after, metrics

    return jax.jit(train_step, donate_argnums=0, out_shardings=NamedSharding(mesh, replicated))
