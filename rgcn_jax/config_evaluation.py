"""Settings of the evaluation, a section of ``config.Config``."""

from dataclasses import dataclass

from rgcn_jax.fields import setting

CLIPS = ("dense", "even", "interleaved", "full")
"""How a test tracklet is cut into clips."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How a model is scored."""

    clips: str = setting(
        "dense",
        "dense: all frames, in consecutive clips; even: one clip of evenly spaced frames; interleaved: all frames, "
        "each clip with every s-th; full: f_p of all frames as one clip, over which the recurrence runs on, and f_a as "
        "dense.",
        choices=CLIPS,
        may_change=True,
    )
    clips_per_batch: int = setting(32, "Clips embedded at a time.", minimum=1, may_change=True)
    protocol: str = setting(
        "official",
        "The headline; all that apply are reported.",
        choices=(
            "official",
            "official_matlab",
            "query_excluded",
            "junk_kept",
            "clothes_changed",
            "same_camera_allowed",
        ),
        may_change=True,
    )
    distance: str = setting(
        "euclidean",
        "Of the raw concatenation (the literal reading), or with each branch normalised, or standardized by statistics "
        "of the training set first; or the branches fused by quality, as `rgcn-jax calibrate --fusion` learned it.",
        choices=("euclidean", "normalized", "standardized", "calibrated"),
        may_change=True,
    )
    pose_weight: float = setting(
        1.0, "w: weight of f_p in the distances normalized and standardized.", minimum=0, may_change=True
    )
