"""The embedded data set: people walking, generated from a seed with NumPy and OpenCV.

An identity is a body, a gait, a posture and an outfit. Identities come in groups of look-alikes who share the
outfit, so that appearance finds the group and only the pose tells who it is: a small model of the problem that the
paper sets itself, with cameras, occlusion, a noisy pose estimator, distractors and junk.
"""

from rgcn_jax.walkers.generate import Walkers, generate
from rgcn_jax.walkers.spec import WalkersSpec

__all__ = ["Walkers", "WalkersSpec", "generate"]
