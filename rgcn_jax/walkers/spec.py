"""``WalkersSpec``: settings of the synthetic walkers data set."""

from dataclasses import dataclass

from rgcn_jax.errors import InputError
from rgcn_jax.fields import out_of_range, setting

MAX_CAMERAS = 8
"""Maximum number of cameras: frame names have one digit for it, and ``camera.py`` defines eight views."""

MAX_PEOPLE = 9999

MAX_FRAMES = 999
"""Maximum number of frames in a tracklet: frame names have three digits for it."""


@dataclass(frozen=True, slots=True)
class WalkersSpec:
    """Settings of a data set; equal settings generate bit-identical data.

    Raises:
      InputError: a number of identities is not a multiple of ``group_size``, or a field is out of range; all errors are
        listed.
    """

    train_identities: int = setting(120, "Identities in the training set; a multiple of group_size.", minimum=1)
    test_identities: int = setting(
        60, "Identities in query and gallery, disjoint from training; a multiple of group_size.", minimum=1
    )
    group_size: int = setting(
        3, "Identities that share an outfit (look-alikes); a group is in training or test.", minimum=1
    )
    outfits_per_identity: int = setting(
        1,
        "Outfits of each person, shared by its group. With 2 or more they change between the tracklets of a camera or "
        "else between cameras, and tracklets have clothes ids.",
        minimum=1,
    )
    cameras: int = setting(4, "Cameras, each of which sees every person.", minimum=2, maximum=MAX_CAMERAS)
    tracklets_per_camera: int = setting(
        2, "Tracklets of each person in each camera; in the test set one of them is a query.", minimum=1
    )
    min_frames: int = setting(
        20, "Shortest tracklet, in frames at 12.5 frames per second.", minimum=1, maximum=MAX_FRAMES
    )
    max_frames: int = setting(40, "Longest tracklet, in frames.", minimum=1, maximum=MAX_FRAMES)
    variation: int | float = setting(
        2.0,
        "Variation between persons: factor of the deviations of body and gait. 1 is realistic and hard, 3 is easy.",
        minimum=0,
    )
    session_noise: int | float = setting(
        0.25,
        "Variation of a person between tracklets, as a fraction of the deviations at variation 1.",
        minimum=0,
    )
    distractors: int = setting(12, "Distractor tracklets (id 0) in the gallery, each of another person.", minimum=0)
    junk: int = setting(
        6, "Junk tracklets (id -1): bad detections that show a part of a person or hardly any.", minimum=0
    )
    seed: int = setting(0, "Random seed.", minimum=0)

    # Motion, cameras and keypoints as in real tracklets; off by default.
    views: str = setting(
        "front",
        "Camera views: front, from -50 to 50 degrees about the walkers' front, or round, every 45 degrees.",
        choices=("front", "round"),
    )
    speed_variation: float = setting(
        0.0,
        "Variation of a person's speed between tracklets: deviation of its logarithm. Step length and step rate vary "
        "together.",
        minimum=0,
        maximum=1,
    )
    slowing: float = setting(
        0.0,
        "Change of speed within a tracklet: deviation of the logarithm of last over first speed.",
        minimum=0,
        maximum=1,
    )
    turning: float = setting(0.0, "Deviation of the turning rate, in degrees per second.", minimum=0)
    posture_changes: float = setting(
        0.0, "Probability that a person has another posture of the arms in a tracklet.", minimum=0, maximum=1
    )
    self_occlusion: float = setting(
        0.0,
        "Probability that self-occluded keypoints are missing, relative to that of a real detector (1).",
        minimum=0,
        maximum=1,
    )
    keypoint_noise: float = setting(
        0.0,
        "Temporally correlated noise per keypoint, in addition to the common noise, relative to a real detector's (1).",
        minimum=0,
    )
    swaps: float = setting(
        0.0, "Fraction of frames with swapped arms, or legs, in a side view.", minimum=0, maximum=0.5
    )
    neck_from_shoulders: float = setting(
        0.0,
        "Fraction of tracklets whose neck is the midpoint of the shoulders, as from a detector without a neck.",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self):
        wrong = out_of_range(self)
        if not wrong:
            wrong = [
                f"{name} is {getattr(self, name)}: expected a multiple of group_size ({self.group_size}), since groups "
                "of look-alikes are not split"
                for name in ("train_identities", "test_identities")
                if getattr(self, name) % self.group_size
            ]
            if self.train_identities + self.test_identities > MAX_PEOPLE:
                wrong.append(
                    f"train_identities and test_identities add up to {self.train_identities + self.test_identities}: "
                    f"expected at most {MAX_PEOPLE}, since names have four digits for a person"
                )
            if self.min_frames > self.max_frames:
                wrong.append(
                    f"min_frames is {self.min_frames} and max_frames is {self.max_frames}: expected min_frames to be "
                    "at most max_frames"
                )
        if wrong:
            raise InputError("; ".join(wrong) + ".")
