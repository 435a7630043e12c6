"""The settings of a generated data set of walkers: ``WalkersSpec``."""

from dataclasses import dataclass

from rgcn_jax.errors import InputError
from rgcn_jax.fields import out_of_range, setting

MAX_CAMERAS = 8
"""A frame's name has one digit for the camera, and eight views are defined in ``camera.py``."""

MAX_PEOPLE = 9999

MAX_FRAMES = 999
"""Of a tracklet: a frame's name has three digits for its number."""


@dataclass(frozen=True, slots=True)
class WalkersSpec:
    """The recipe of a data set; two equal specs generate the same data to the last bit.

    Raises:
      InputError: a number of identities is not a multiple of ``group_size``, or a field is out of its range; all that
        is wrong is listed.
    """

    train_identities: int = setting(120, "Identities in the training set; a multiple of group_size.", minimum=1)
    test_identities: int = setting(
        60, "Identities in query and gallery, none of them in the training set; a multiple of group_size.", minimum=1
    )
    group_size: int = setting(
        3, "Identities that share one outfit (look-alikes); groups never straddle training and test.", minimum=1
    )
    outfits_per_identity: int = setting(
        1,
        "Outfits of each person, shared by its group; from 2 on they change between the tracklets of a camera, or else "
        "between cameras, and tracklets have clothes ids.",
        minimum=1,
    )
    cameras: int = setting(4, "Cameras that see everybody.", minimum=2, maximum=MAX_CAMERAS)
    tracklets_per_camera: int = setting(
        2, "Tracklets of each person in each camera; one of them is the query in the test set.", minimum=1
    )
    min_frames: int = setting(
        20, "Shortest tracklet, in frames at 12.5 frames per second.", minimum=1, maximum=MAX_FRAMES
    )
    max_frames: int = setting(40, "Longest tracklet, in frames.", minimum=1, maximum=MAX_FRAMES)
    variation: int | float = setting(
        2.0,
        "How much people differ: factor on the deviations of body and gait. 1 is lifelike and hard, 3 is easy.",
        minimum=0,
    )
    session_noise: int | float = setting(
        0.25,
        "How much one person differs between tracklets, as a fraction of the deviations of variation 1.",
        minimum=0,
    )
    distractors: int = setting(12, "Tracklets of people with id 0 in the gallery, each of another person.", minimum=0)
    junk: int = setting(
        6, "Tracklets with id -1: bad detections that show a part of somebody or hardly anybody.", minimum=0
    )
    seed: int = setting(0, "Everything is drawn from it.", minimum=0)

    # Motion, cameras and keypoints as in real tracklets; each off by default.
    views: str = setting(
        "front",
        "Cameras: front, from -50 to 50 degrees about the walkers' front, or round, every 45 degrees.",
        choices=("front", "round"),
    )
    speed_variation: float = setting(
        0.0,
        "How much the speed of a person differs between tracklets: deviation of its logarithm. Step length and step "
        "rate go together.",
        minimum=0,
        maximum=1,
    )
    slowing: float = setting(
        0.0,
        "How much walkers slow down or speed up within a tracklet: deviation of the logarithm of last over first "
        "speed.",
        minimum=0,
        maximum=1,
    )
    turning: float = setting(0.0, "How fast walkers turn: deviation of the rate, degrees a second.", minimum=0)
    posture_changes: float = setting(
        0.0, "Probability that a person holds the arms differently in a tracklet.", minimum=0, maximum=1
    )
    self_occlusion: float = setting(
        0.0,
        "How much keypoints hidden by the walker's own body go missing; 1: as many as with a real detector.",
        minimum=0,
        maximum=1,
    )
    keypoint_noise: float = setting(
        0.0,
        "Noise of each keypoint's own that lasts, on top of that of all keypoints; 1: as much as a real detector's.",
        minimum=0,
    )
    swaps: float = setting(
        0.0, "Share of frames in which left and right arm, or leg, are swapped in a side view.", minimum=0, maximum=0.5
    )
    neck_from_shoulders: float = setting(
        0.0,
        "Share of tracklets whose neck is the middle of the shoulders, as with a detector that has no neck.",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self):
        wrong = out_of_range(self)
        if not wrong:
            wrong = [
                f"{name} must be a multiple of group_size ({self.group_size}), because look-alikes come in whole "
                f"groups: found {getattr(self, name)}"
                for name in ("train_identities", "test_identities")
                if getattr(self, name) % self.group_size
            ]
            if self.train_identities + self.test_identities > MAX_PEOPLE:
                wrong.append(
                    f"train_identities and test_identities together must be at most {MAX_PEOPLE}, because names have "
                    f"four digits for a person: found {self.train_identities + self.test_identities}"
                )
            if self.min_frames > self.max_frames:
                wrong.append(
                    f"min_frames must not be above max_frames: found min_frames={self.min_frames}, "
                    f"max_frames={self.max_frames}"
                )
        if wrong:
            raise InputError("; ".join(wrong) + ".")
