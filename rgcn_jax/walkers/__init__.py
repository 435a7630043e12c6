"""Walkers: a synthetic data set of walking persons, generated from a seed with NumPy and OpenCV.

An identity is a body, a gait, a posture and an outfit. Identities form groups of look-alikes that share an outfit, so
that appearance identifies the group and only the pose the person. There are several cameras, occlusion, a noisy pose
estimator, distractors and junk.
"""

from typing import TYPE_CHECKING, Any

from rgcn_jax.walkers.spec import WalkersSpec

if TYPE_CHECKING:
    from rgcn_jax.walkers.generation import Walkers, generate

__all__ = ["Walkers", "WalkersSpec", "generate"]


def __getattr__(name: str) -> Any:
    """Import ``generate`` and ``Walkers`` on first use: the config needs only the settings."""
    if name not in ("Walkers", "generate"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rgcn_jax.walkers import generation

    return getattr(generation, name)
