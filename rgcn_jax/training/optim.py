"""Optimiser and learning-rate schedules: Adam at 3e-4 with coupled L2, times 0.1 every 200 epochs (section IV-A)."""

from typing import Any

import jax
import optax
from jax import Array

from rgcn_jax.config import OptimizerConfig

WARMUP_START = 0.01
"""Fraction of the learning rate at the start of a warm-up."""


def step_schedule(
    learning_rate: float, decay_factor: float, decay_every_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """learning_rate * decay_factor ** floor(step / decay_every_steps); constant if ``decay_every_steps`` is 0.

    During the first ``warmup_steps`` (not in the paper) it is multiplied by a factor that increases linearly from
    ``WARMUP_START`` to 1; the decay steps do not move.
    """
    decayed = optax.constant_schedule(learning_rate)
    if decay_every_steps:
        decayed = optax.exponential_decay(learning_rate, decay_every_steps, decay_factor, staircase=True)
    if not warmup_steps:
        return decayed
    warmup = optax.linear_schedule(WARMUP_START, 1.0, warmup_steps)
    return lambda step: warmup(step) * decayed(step)


def cosine_schedule(
    learning_rate: float, total_steps: int, final_factor: float, warmup_steps: int = 0
) -> optax.Schedule:
    """learning_rate * (f + (1 - f) (1 + cos(pi u)) / 2), with f = ``final_factor``.

    u increases from 0 after the warm-up to 1 at ``total_steps`` and stays there. During the first ``warmup_steps`` the
    learning rate increases linearly from ``WARMUP_START`` times its full value.
    """
    decay_steps = max(total_steps - warmup_steps, 1)
    decayed = optax.cosine_decay_schedule(learning_rate, decay_steps, final_factor)
    if not warmup_steps:
        return decayed
    warmup = optax.linear_schedule(WARMUP_START * learning_rate, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, decayed], [warmup_steps])


def make_schedule(settings: OptimizerConfig, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """The learning-rate schedule of ``config.optimizer``."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if settings.schedule == "cosine":
        return cosine_schedule(settings.learning_rate, total_steps, settings.final_factor, warmup)
    every = settings.decay_every_epochs * steps_per_epoch
    return step_schedule(settings.learning_rate, settings.decay_factor, every, warmup)


POSE_PARAMETERS = frozenset({"pose", "readout", "keypoint_embedding", "neck_pose"})
"""Names of the parameters of a ``TwoBranch`` that belong to the pose branch only."""


def with_pose_factor(optimizer: optax.GradientTransformation, factor: float) -> optax.GradientTransformation:
    """Scale the optimiser's update of the pose branch by ``factor``; a factor of 1 returns it unchanged."""
    if factor == 1:
        return optimizer

    def groups(params: dict[str, Any]) -> dict[str, str]:
        return {name: "pose" if name in POSE_PARAMETERS else "rest" for name in params}

    return optax.chain(optimizer, optax.partition({"pose": optax.scale(factor), "rest": optax.identity()}, groups))


def steps_applied(opt_state: Any) -> Array:
    """Number of steps that an optimiser with one schedule has applied, according to it; skipped steps do not count."""

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    (found,) = filter(is_schedule, jax.tree.leaves(opt_state, is_leaf=is_schedule))
    return found.count


def adam_coupled_l2(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient before the moments, as PyTorch's ``Adam(weight_decay=...)`` does.

    Unlike AdamW, the decay passes through the moments. As in PyTorch every parameter is decayed, including biases and
    normalisation scales.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.scale_by_adam(), optax.scale_by_learning_rate(schedule)
    )
