"""The result of every reader of keypoint files, and the matching of a file's names with the frames."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.errors import InputError


class Detections(NamedTuple):
    """The subject's keypoints of N frames as a source gave them.

    ``pixels``: x and y in pixels of the crop, confidence; (0, 0, 0) where not detected. ``has_entry``: whether the
    source says anything of the frame; zeros where it does not. ``skeleton``: of the source, as ``skeletons.py`` names
    it; "" where nobody was found at all. ``unused``: names of entries that are of no frame that was asked for.
    ``detector``: as the source names it, else "unknown". ``threshold``: below it keypoints are left out already.
    """

    pixels: Float32[np.ndarray, "n 14 3"]
    has_entry: Bool[np.ndarray, "n"]
    skeleton: str
    unused: Sequence[str] = ()
    detector: str = "unknown"
    threshold: float = 0.0


def shown(name: object) -> str:
    """A name from a file as a message shows it: on one line, never long, never a control character."""
    text = str(name)
    text = text if len(text) <= 100 else text[:97] + "..."
    return text if text.isprintable() else ascii(text)


def others(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Those of a file's names that are not among the wanted ones, in their order."""
    known = set(wanted)
    return [name for name in names if name not in known]


def names_wanted(
    path: Path, names: Collection[str], frames: Sequence[str], joined_folders: bool = False
) -> Sequence[str]:
    """Under which names a file that knows the frames as ``names`` has these frames.

    Names are only ever compared with the frames', never opened, so that a name such as ``../x.jpg`` is merely unknown.

    Args:
      path: the file, for messages.
      names: those in the file: paths of frames relative to the root if any of them has a slash, else base names.
      frames: paths relative to the root, each once.
      joined_folders: the file may also call ``a/b/c/d.png`` by its last three parts, ``b-c-d.png``; two frames may
        share such a name (a query of DukeMTMC-VideoReID lies in ``gallery`` too).

    Raises:
      InputError: the file has base names, and two frames share one.
    """
    if any("/" in name for name in names):
        return frames
    base = [frame.rpartition("/")[2] for frame in frames]
    if joined_folders:
        joined = ["-".join(frame.split("/")[-3:]) for frame in frames]
        known = set(names)
        if sum(name in known for name in joined) > sum(name in known for name in base):
            return joined
    if len(set(base)) < len(base):
        raise InputError(
            f"{path} names frames by base names, but these are not unique in this data set: write it with paths "
            "relative to the data set's root."
        )
    return base
