"""EXIF orientation: metadata of a JPEG file that states how to rotate its pixels for display.

It is ignored here and in training, but not by some detectors and by viewers (OpenCV's ``imread``, browsers). Keypoints
detected on rotated images do not fit the pixels that are read here.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rgcn_jax.data.datasets.images import open_image
from rgcn_jax.errors import listed
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.types import Tracklet

_MOST = 2000  # maximum number of images to check
_TAG = 0x0112


def orientation(path: Path) -> int:
    """The EXIF orientation of an image, 1 (upright) to 8; 1 if it has none or cannot be read."""
    with suppress(Exception), open_file(path) as file:  # a damaged image may raise anything
        image = open_image(file)
        found = image.getexif().get(_TAG, 1) if image.format == "JPEG" else 1
        return found if found in range(1, 9) else 1
    return 1


def turned(root: Path, tracklets: Sequence[Tracklet]) -> list[str]:
    """Return a message about images with an EXIF orientation, based on first frames of tracklets; empty if none."""
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
