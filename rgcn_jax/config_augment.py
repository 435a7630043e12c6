"""The section ``augment`` of the typed config: augmentation of clips and of keypoints."""

from dataclasses import dataclass, field

from rgcn_jax.fields import setting


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
