"""The paper's optimiser (section IV-A): Adam at 3e-4, times 0.1 every 200 epochs, with its ancestors' coupled L2."""

from typing import Any

import jax
import optax
from jax import Array

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
