"""The embedded data set: people walking, generated from a seed with NumPy and OpenCV.

An identity is a body, a gait, a posture and an outfit. Identities come in groups of look-alikes who share the outfit,
so that appearance finds the group and only the pose identifies the person: a small model of the problem that the paper
sets itself, with cameras, occlusion, a noisy pose estimator, distractors and junk.
"""

from typing import TYPE_CHECKING, Any

from rgcn_jax.walkers.spec import WalkersSpec

if TYPE_CHECKING:
    from rgcn_jax.walkers.generation import Walkers, generate

__all__ = ["Walkers", "WalkersSpec", "generate"]


def __getattr__(name: str) -> Any:
    """``generate`` and ``Walkers``, imported when they are asked for: the config needs the settings alone."""
    if name not in ("Walkers", "generate"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rgcn_jax.walkers import generation

    return getattr(generation, name)
