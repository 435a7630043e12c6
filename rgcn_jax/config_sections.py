"""The sections ``loss``, ``optimizer``, ``augment`` and ``evaluation`` of the typed config."""

from dataclasses import dataclass, field

from rgcn_jax.fields import setting

TRIPLET_FEATURES = ("raw", "neck")
"""Features that a triplet loss may take: those of a branch, or the same standardised over the batch."""


@dataclass(frozen=True)
class LossConfig:
    """The training objective, eq. 15 to 19."""

    margin: str | float = setting(
        0.3,
        "Triplet margin delta, or soft: log(1 + exp(positive - negative)) instead of max(0, delta + positive - "
        "negative); not in the paper.",
        choices=("soft",),
        minimum=0,
    )
    pose_triplet: str = setting(
        "raw",
        "Features of the pose triplet. raw: f_p. neck: f_p with each dimension standardised over the batch; not in "
        "the paper.",
        choices=TRIPLET_FEATURES,
    )
    appearance_triplet: str = setting(
        "raw", "Features of the appearance triplet: the same choice for f_a.", choices=TRIPLET_FEATURES
    )
    triplet_distance: str = setting(
        "euclidean",
        "Distance of the triplet losses: Euclidean, or cosine, 1 - cos; not in the paper.",
        choices=("euclidean", "cosine"),
    )
    label_smoothing: float = setting(0.1, "Label smoothing of the identity loss.", minimum=0, maximum=1)
    appearance_weight: str | float = setting(
        "adaptive",
        "lambda of eq. 19, the weight of the appearance triplet; the pose triplet has 1 - lambda (table VII).",
        choices=("adaptive",),
        minimum=0,
        maximum=1,
    )
    weight_gradient: bool = setting(False, "Backpropagate through the adaptive lambda.")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with L2 regularisation added to the gradient."""

    learning_rate: float = setting(3e-4, "Initial learning rate, after the warm-up.", minimum=0)
    schedule: str = setting(
        "step",
        "Learning-rate schedule. step: times decay_factor every decay_every_epochs. cosine: half a cosine down to "
        "final_factor times the learning rate at the last step; not in the paper.",
        choices=("step", "cosine"),
    )
    decay_factor: float = setting(
        0.1, "Factor of the learning rate at each decay of the schedule step.", minimum=1e-9, maximum=1
    )
    decay_every_epochs: int = setting(200, "Epochs between decays of the schedule step; 0: constant.", minimum=0)
    final_factor: float = setting(
        0.01, "Final factor of the learning rate in the schedule cosine.", minimum=0, maximum=1
    )
    warmup_epochs: int = setting(
        0, "Epochs of linear warm-up from a hundredth of the learning rate; not in the paper.", minimum=0
    )
    weight_decay: float = setting(5e-4, "L2 coefficient, added to the gradient.", minimum=0)
    pose_factor: float = setting(
        1.0,
        "Factor of Adam's update of the pose branch (encoder, readout, keypoint embedding, pose neck); not in the "
        "paper, and without effect without a pose branch.",
        minimum=0,
    )


@dataclass(frozen=True)
class KeypointAugmentConfig:
    """Augmentation of keypoints only; not in the paper. Each probability is per clip."""

    drop_probability: float = setting(
        0.0, "Probability of dropping keypoints over a run of frames.", minimum=0, maximum=1
    )
    drop_share: float = setting(0.2, "Fraction of the keypoints that is dropped.", minimum=0, maximum=1)
    jitter_probability: float = setting(
        0.0, "Probability of Gaussian noise on every keypoint of every frame.", minimum=0, maximum=1
    )
    jitter: float = setting(0.01, "Standard deviation of the noise, in crop heights.", minimum=0, maximum=1)
    aspect_probability: float = setting(
        0.0, "Probability of scaling x about the middle of the crop.", minimum=0, maximum=1
    )
    aspect: float = setting(
        0.1, "Bound on the absolute logarithm of that scale, which is uniform.", minimum=0, maximum=1
    )
    swap_probability: float = setting(
        0.0,
        "Probability of swapping the sides of the arms, or legs, or both (each with p 0.5) over a run of frames.",
        minimum=0,
        maximum=1,
    )
    stretch_probability: float = setting(
        0.0,
        "Probability of stretching time: the frames show a shorter part of the clip, interpolated linearly.",
        minimum=0,
        maximum=1,
    )
    stretch: float = setting(1.25, "Largest factor by which time is stretched.", minimum=1, maximum=4)


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of a clip, frames and keypoints together; from the recipes that the paper builds on."""

    crop_probability: float = setting(0.5, "Probability of a random crop.", minimum=0, maximum=1)
    crop_scale: float = setting(
        1.125, "Factor by which a frame is enlarged before a region of the original size is cropped.", minimum=1
    )
    flip_probability: float = setting(0.5, "Probability of a horizontal flip.", minimum=0, maximum=1)
    erase_probability: float = setting(0.0, "Probability of random erasing; keypoints are kept.", minimum=0, maximum=1)
    keypoints: KeypointAugmentConfig = field(default_factory=KeypointAugmentConfig)


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
