"""Walkers in the layout of every data set that is read from a folder, small, and what must come back."""

import re
import shutil
from pathlib import Path

from rgcn_jax.types import Tracklet
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.layouts import LAYOUTS
from rgcn_jax.walkers.write import write

WALKERS = generate(
    WalkersSpec(
        train_identities=4,
        test_identities=4,
        group_size=2,
        cameras=2,
        tracklets_per_camera=2,
        min_frames=2,
        max_frames=3,
        distractors=2,
        junk=1,
        seed=5,
    )
)
NAMES = tuple(LAYOUTS)


def size(layout):
    """Height and width of the crops; MARS has one size for all."""
    return (256, 128) if layout == "mars" else (32, 16)


def make(root: Path, layout: str) -> Path:
    """Writes the data set with its OpenPose files; returns the root."""
    write(WALKERS, root, layout, *size(layout))
    return root


def copy(root: Path, to: Path) -> Path:
    """A copy to spoil, without the OpenPose files."""
    return shutil.copytree(root, to, ignore=shutil.ignore_patterns("openpose"))


def plan(layout: str) -> dict[tuple[str, ...], tuple[Tracklet, int]]:
    """What was written: the paths of a tracklet's frames -> the walkers' tracklet and the person id on disk."""
    found = {}
    for tracklet, frames in LAYOUTS[layout](WALKERS).files:
        person_id = tracklet.person_id
        if layout in ("ilids_vid", "prid2011"):  # their numbers are their own
            number = re.search(r"person_?(\d+)/", frames[0])
            assert number is not None
            person_id = int(number[1])
        found[frames] = tracklet, person_id
    return found
