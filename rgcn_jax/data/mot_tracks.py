"""Parser of track files in MOTChallenge's format, ``frame,id,left,top,width,height,confidence,...``."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.lists import text_lines
from rgcn_jax.errors import InputError, listed

_LARGEST = 1e6  # bound on frame numbers and pixels


class Box(NamedTuple):
    """Box of a track in a frame, in pixels from the upper left corner, possibly outside of the frame."""

    line: int
    """Line of the track file, from 1."""
    frame: int
    """Frame of the video, from 1."""
    track: int
    left: float
    top: float
    width: float
    height: float
    confidence: float = 1.0


def parse_tracks(text: bytes, path: str | os.PathLike[str], corners: bool = False) -> tuple[list[Box], int]:
    """Parse the boxes of a track file, sorted by frame and track; return them and the number of skipped lines
    (confidence 0).

    Args:
      text: contents of the file.
      path: path of the file, for messages.
      corners: whether lines have right and lower border instead of width and height.

    Raises:
      InputError: lines are malformed, or a track occurs twice in a frame; the message lists the first few.

    Warns:
      UserWarning: confidences are above 1.
    """
    boxes: dict[tuple[int, int], Box] = {}
    problems, left_out = [], 0
    for number, line in enumerate(text_lines(text, path), 1):
        if not line:
            continue
        box = _parse_line(line, number, corners)
        if isinstance(box, str):
            problems.append(f"line {number} ({line[:60]!r}) {box}")
        elif box is None:
            left_out += 1
        elif boxes.setdefault((box.frame, box.track), box) is not box:
            first = boxes[box.frame, box.track].line
            problems.append(f"line {number}: track {box.track} is already in frame {box.frame}, by line {first}")
    raise_all(path, problems)
    largest = max((box.confidence for box in boxes.values()), default=0.0)
    if largest > 1:
        number = sum(box.confidence > 1 for box in boxes.values())
        warnings.warn(
            f"{path}: {number:,} of {len(boxes):,} confidences are above 1, up to {largest:g}: is the seventh column "
            "the confidence? It is only used to skip lines where it is 0.",
            stacklevel=2,
        )
    if not boxes:
        what = f"only {left_out} lines of confidence 0" if left_out else "no track"
        raise InputError(f"{path} contains {what}: expected lines of frame,id,left,top,width,height,confidence.")
    return [boxes[key] for key in sorted(boxes)], left_out


def _parse_line(line: str, number: int, corners: bool) -> Box | str | None:
    """Parse a line. Returns the box, a clause that describes an error, or None if the confidence is 0."""
    try:
        values = [float(field) for field in line.replace("_", "?").split(",")[:7]]  # Python reads 1_0 as 10
    except ValueError:
        return "contains something other than numbers: expected frame,id,left,top,width,height,confidence"
    if len(values) < 6:
        return f"has {len(values)} numbers: expected frame,id,left,top,width,height,confidence"
    if not all(abs(value) <= _LARGEST for value in values):  # also rejects NaN
        return "has a number that is not finite or above 1e6"
    frame, track, left, top, width, height = values[:6]
    if frame < 1 or frame != int(frame):
        return f"is of frame {frame:g}: expected a whole number of 1 or more"
    if track < 1 or track != int(track):
        hint = "this is a file of detections: run a tracker first" if track == -1 else "add a number to all ids"
        return f"is of track {track:g}: expected a whole number of 1 or more ({hint})"
    if corners:
        width, height = width - left, height - top
    if width <= 0 or height <= 0:
        return f"has a box of {width:g} x {height:g} pixels"
    if len(values) == 7 and values[6] == 0:
        return None
    confidence = values[6] if len(values) == 7 else 1.0
    return Box(number, int(frame), int(track), left, top, width, height, confidence)


def check_corners(tracks: Path, boxes: Sequence[Box], width: int, height: int) -> None:
    """Raise InputError if boxes look like corners: several extend far beyond the frame, but none would if width and
    height were the right and lower border.
    """
    beyond = sum(b.left + b.width > 1.02 * width or b.top + b.height > 1.02 * height for b in boxes)
    as_corners = all(b.left < b.width <= width + 2 and b.top < b.height <= height + 2 for b in boxes)
    if as_corners and beyond >= max(0.1 * len(boxes), 1):
        raise InputError(
            f"{tracks}: {beyond:,} of the {len(boxes):,} boxes extend beyond the frame ({width} x {height} pixels), "
            "but none if the third and fourth number are the right and lower border (corners): set --boxes=corners, or "
            "--boxes=size if they are width and height."
        )


def raise_all(path: str | os.PathLike[str], problems: Sequence[str]) -> None:
    """Raise InputError if a track file has problems."""
    if problems:
        raise InputError(f"{path}: {listed(problems, separator='; ')}.")
