"""The paper's optimiser (section IV-A): Adam at 3e-4, times 0.1 every 200 epochs, with its ancestors' coupled L2."""

from typing import Any

import jax
import optax
from jax import Array

from rgcn_jax.config import OptimizerConfig

WARMUP_START = 0.01
"""Share of the learning rate that a warm-up begins with."""


def step_schedule(
    learning_rate: float, decay_factor: float, decay_every_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """learning_rate * decay_factor ** floor(step / decay_every_steps); constant if ``decay_every_steps`` is 0.

    Over the first ``warmup_steps`` (not in the paper) it is multiplied by a factor that grows linearly from
    ``WARMUP_START`` to 1; the decays keep their places.
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
    """learning_rate * (f + (1 - f) (1 + cos(pi u)) / 2) with f = ``final_factor`` and u from 0 after the warm-up to
    1 at ``total_steps``, and f from there on.

    Over the first ``warmup_steps`` the rate grows linearly from ``WARMUP_START`` of it to all of it.
    """
    decay_steps = max(total_steps - warmup_steps, 1)
    decayed = optax.cosine_decay_schedule(learning_rate, decay_steps, final_factor)
    if not warmup_steps:
        return decayed
    warmup = optax.linear_schedule(WARMUP_START * learning_rate, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, decayed], [warmup_steps])


def make_schedule(settings: OptimizerConfig, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """The learning rate by step that ``config.optimizer`` names."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if settings.schedule == "cosine":
        return cosine_schedule(settings.learning_rate, total_steps, settings.final_factor, warmup)
    every = settings.decay_every_epochs * steps_per_epoch
    return step_schedule(settings.learning_rate, settings.decay_factor, every, warmup)


POSE_PARAMETERS = frozenset({"pose", "readout", "keypoint_embedding", "neck_pose"})
"""Names of a ``TwoBranch``'s parameters that belong to its pose branch alone."""


def with_pose_factor(optimizer: optax.GradientTransformation, factor: float) -> optax.GradientTransformation:
    """The optimiser with its update of the pose branch times ``factor``; trunk, appearance neck and classifier keep
    theirs. With a factor of 1 the optimiser as it is, state and all.
    """
    if factor == 1:
        return optimizer

    def groups(params: dict[str, Any]) -> dict[str, str]:
        return {name: "pose" if name in POSE_PARAMETERS else "rest" for name in params}

    return optax.chain(optimizer, optax.partition({"pose": optax.scale(factor), "rest": optax.identity()}, groups))


def steps_applied(opt_state: Any) -> Array:
    """How many steps a scheduled optimiser has applied: its schedule's own count, which skipped steps do not advance.

    Raises:
      ValueError: there is no schedule in it, or more than one.
    """

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    (found,) = filter(is_schedule, jax.tree.leaves(opt_state, is_leaf=is_schedule))
    return found.count


def adam_coupled_l2(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient before the moments, as PyTorch's ``Adam(weight_decay=...)`` does.

    This is not AdamW, which shrinks the weights beside the moments. As in PyTorch every parameter is decayed, biases
    and normalisation scales too.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.scale_by_adam(), optax.scale_by_learning_rate(schedule)
    )
