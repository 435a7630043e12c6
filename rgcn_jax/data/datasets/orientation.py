"""EXIF orientation: a note in a JPEG file that its pixels must be turned to be shown upright.

Nothing here turns an image, in training neither, but some detectors and all viewers do (OpenCV's ``imread``, browsers):
keypoints found on turned images do not fit the pixels that are read here.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

from rgcn_jax.errors import listed
from rgcn_jax.runtime.handed_over import open_file
from rgcn_jax.types import Tracklet

_MOST = 2000  # images that are looked at
_TAG = 0x0112


def orientation(path: Path) -> int:
    """The EXIF orientation of an image, 1 (upright) to 8; 1 where it has none or cannot be read."""
    try:
        with open_file(path) as file:
            start = file.read(65_536)
    except OSError:
        return 1
    at = start.find(b"Exif\0\0", 0, 4096)
    if not start.startswith(b"\xff\xd8") or at < 0:
        return 1
    block = start[at + 6 :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    try:
        (first,) = struct.unpack(f"{order}I", block[4:8])
        (count,) = struct.unpack(f"{order}H", block[first : first + 2])
        for entry in range(first + 2, first + 2 + 12 * min(count, 100), 12):
            tag, kind, _, value = struct.unpack(f"{order}HHIH", block[entry : entry + 10])
            if tag == _TAG and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turned(root: Path, tracklets: Sequence[Tracklet]) -> list[str]:
    """A sentence on images with an EXIF orientation, by the first frames of some tracklets; empty without any."""
    some = tracklets[:: max(len(tracklets) // _MOST, 1)]
    found = {t.frames[0]: of for t in some if (of := orientation(root / t.frames[0])) != 1}
    if not found:
        return []
    names = [f"{name} ({of})" for name, of in found.items()]
    return [
        f"{len(found):,} of {len(some):,} images carry an EXIF orientation: {listed(names)}. It is not carried out "
        "here, but by many detectors and viewers: turn the pixels and drop the note (exiftran -ai, mogrify "
        "-auto-orient) before keypoints are detected."
    ]
