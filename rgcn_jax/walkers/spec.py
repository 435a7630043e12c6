"""What a generated data set of walkers is made of: every number that a user may choose."""

from dataclasses import dataclass, field
from typing import Any

MAX_CAMERAS = 8
"""A frame's name has one digit for the camera, and eight views are laid out in ``camera.py``."""

MAX_PEOPLE = 9999


def _field(default: int | float, meaning: str) -> Any:
    """A field with its meaning, which the command line prints too."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class WalkersSpec:
    """The recipe of a data set; two equal specs generate the same data to the last bit.

    Raises:
      ValueError: a number of identities is not a multiple of ``group_size``, or a field is out of its range.
    """

    train_identities: int = _field(120, "People in the training set; a multiple of group_size.")
    test_identities: int = _field(
        60, "People in query and gallery, none of them in the training set; a multiple of group_size."
    )
    group_size: int = _field(3, "People who share one outfit (look-alikes); groups never straddle training and test.")
    cameras: int = _field(4, "Cameras that see everybody, 2 to 8.")
    tracklets_per_camera: int = _field(
        2, "Tracklets of each person in each camera; one of them is the query in the test set."
    )
    min_frames: int = _field(20, "Shortest tracklet, in frames at 12.5 frames a second.")
    max_frames: int = _field(40, "Longest tracklet, in frames.")
    variation: int | float = _field(
        2.0,
        "How much people differ: factor on the deviations of body and gait. 1 is lifelike and hard, 3 is easy.",
    )
    session_noise: int | float = _field(
        0.25,
        "How much one person differs between tracklets, as a share of the deviations of variation 1.",
    )
    distractors: int = _field(12, "Tracklets of people with id 0 in the gallery, each of another person.")
    junk: int = _field(6, "Tracklets with id -1: bad detections that show a part of somebody or hardly anybody.")
    seed: int = _field(0, "Everything is drawn from it; 0 or more.")

    def __post_init__(self):
        for name in ("train_identities", "test_identities"):
            count = getattr(self, name)
            if self.group_size < 1 or count < self.group_size or count % self.group_size:
                raise ValueError(
                    f"{name} must be a positive multiple of group_size ({self.group_size}), because look-alikes "
                    f"come in whole groups: found {count}."
                )
        if self.train_identities + self.test_identities > MAX_PEOPLE:
            raise ValueError(
                f"train_identities and test_identities together must be at most {MAX_PEOPLE}, because names have "
                f"four digits for a person: found {self.train_identities + self.test_identities}."
            )
        if not 2 <= self.cameras <= MAX_CAMERAS:
            raise ValueError(
                f"cameras must be 2 to {MAX_CAMERAS}, because queries are matched across cameras: found {self.cameras}."
            )
        if not 1 <= self.min_frames <= self.max_frames <= 999:
            raise ValueError(
                "a tracklet has 1 to 999 frames and min_frames is not above max_frames: "
                f"found min_frames={self.min_frames}, max_frames={self.max_frames}."
            )
        for name, low in (
            ("tracklets_per_camera", 1),
            ("variation", 0),
            ("session_noise", 0),
            ("distractors", 0),
            ("junk", 0),
            ("seed", 0),
        ):
            if not low <= getattr(self, name) < float("inf"):  # NaN is in no range
                raise ValueError(f"{name} must be {low} or more: found {getattr(self, name)}.")
