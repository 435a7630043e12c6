"""The section ``evaluation`` of the typed config."""

from dataclasses import dataclass

from rgcn_jax.fields import setting

CLIPS = ("dense", "even", "interleaved", "full")
"""Ways to cut a test tracklet into clips."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the evaluation."""

    clips: str = setting(
        "dense",
        "How a test tracklet is cut into clips. dense: all frames, in consecutive clips. even: one clip of evenly "
        "spaced frames. interleaved: all frames, each clip with every s-th. full: all frames as one clip for f_p, "
        "dense for f_a.",
        choices=CLIPS,
        may_change=True,
    )
    clips_per_batch: int = setting(32, "Clips per batch.", minimum=1, may_change=True)
    protocol: str = setting(
        "official",
        "Protocol of the headline metrics; all applicable ones are reported.",
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
        "Distance of fused features. euclidean: of the raw concatenation (the paper, read literally). normalized: each "
        "branch scaled to unit length. standardized: by statistics of the training set first. calibrated: branches "
        "fused by keypoint quality, as learned by `rgcn-jax calibrate --fusion`.",
        choices=("euclidean", "normalized", "standardized", "calibrated"),
        may_change=True,
    )
    pose_weight: float = setting(
        1.0, "Weight w of f_p in the distances normalized and standardized.", minimum=0, may_change=True
    )
