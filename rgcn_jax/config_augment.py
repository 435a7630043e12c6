"""The section ``augment`` of the typed config: augmentation of clips, and of their keypoints alone."""

from dataclasses import dataclass, field

from rgcn_jax.fields import setting


@dataclass(frozen=True)
class KeypointAugmentConfig:
    """Augmentation of a clip's keypoints alone; not in the paper. Each probability is of a clip."""

    drop_probability: float = setting(0.0, "Of keypoints that go missing for a run of frames.", minimum=0, maximum=1)
    drop_share: float = setting(0.2, "Which share of the keypoints does, then.", minimum=0, maximum=1)
    jitter_probability: float = setting(0.0, "Of noise on every keypoint of every frame.", minimum=0, maximum=1)
    jitter: float = setting(0.01, "Its standard deviation, in crop heights.", minimum=0, maximum=1)
    aspect_probability: float = setting(
        0.0, "Of another width: x is scaled about the middle of the crop.", minimum=0, maximum=1
    )
    aspect: float = setting(
        0.1, "The logarithm of that scale is uniform within plus or minus this.", minimum=0, maximum=1
    )
    swap_probability: float = setting(
        0.0,
        "Of arms, or legs, or both (each with p 0.5) that change sides for a run of frames.",
        minimum=0,
        maximum=1,
    )
    stretch_probability: float = setting(
        0.0,
        "Of stretched time: the frames show a shorter part of the clip, linear between frames.",
        minimum=0,
        maximum=1,
    )
    stretch: float = setting(1.25, "The most by which time is stretched.", minimum=1, maximum=4)


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of a clip, frames and keypoints together; not in the paper, but in the recipes that it follows."""

    crop_probability: float = setting(0.5, "Of a random crop.", minimum=0, maximum=1)
    crop_scale: float = setting(
        1.125, "A frame is enlarged by this factor before a region of its size is cut out.", minimum=1
    )
    flip_probability: float = setting(0.5, "Of a horizontal flip.", minimum=0, maximum=1)
    erase_probability: float = setting(0.0, "Of random erasing; keypoints are kept.", minimum=0, maximum=1)
    keypoints: KeypointAugmentConfig = field(default_factory=KeypointAugmentConfig)
