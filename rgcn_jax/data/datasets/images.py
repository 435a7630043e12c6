"""Reading of JPEG and PNG files with Pillow: size from the header, or pixels. Truncated and huge files are errors."""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.user_files import open_file, read_file

LARGEST_IMAGE = 2**28
"""Maximum size of an image file in bytes, larger than 8,192 x 8,192 uncompressed pixels."""

LARGEST_SIDE = 8192
"""Maximum height and width in pixels. A few kilobytes of JPEG or PNG may claim a side of 65,535, which takes gigabytes.
"""


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read height and width in pixels from the header of a JPEG or PNG file. Raises InputError."""
    try:
        with open_file(path) as file:
            width, height = open_image(file).size
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error
    except InputError as error:
        raise InputError(f"The image {path} {error}: copy it from the data set again.") from error
    return height, width


def read_encoded(path: Path) -> bytes:
    """Read the encoded bytes of an image file and check its header, before decoding.

    Raises:
      InputError: it cannot be read, is empty, not JPEG or PNG, or exceeds ``LARGEST_SIDE``; the message is the end of a
        sentence.
    """
    try:
        encoded = read_file(path, LARGEST_IMAGE)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if not encoded:
        raise InputError("is empty")
    open_image(io.BytesIO(encoded))
    return encoded


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read the RGB pixels of a JPEG or PNG file as stored: EXIF orientation is ignored, as in training.

    Raises:
      InputError: the file cannot be read, is empty, of another kind, truncated, damaged or huge.
    """
    try:
        image = open_image(io.BytesIO(read_encoded(path)))
    except InputError as error:
        raise InputError(f"{path}: the image {error}") from error
    if image.mode.startswith("I"):
        raise InputError(f"{path}: the image has 16 bits a channel: convert it to 8 bits")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            return np.array(image.convert("RGB"))
    except Exception as error:  # OSError for truncated files, others for damaged ones
        raise InputError(f"{path}: the image is truncated or damaged ({error})") from error


def open_image(file: Any) -> Image.Image:
    """Open an image from a binary file, reading only its header. Raises InputError; the message ends a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=("JPEG", "PNG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"has too many pixels: make it smaller, {LARGEST_SIDE:,} x {LARGEST_SIDE:,} are read at most"
        ) from error
    except Exception as error:  # a damaged header may raise anything
        raise InputError("is truncated, or no JPEG or PNG image") from error
    if max(image.size) > LARGEST_SIDE:
        width, height = image.size
        raise InputError(f"has {width:,} x {height:,} pixels: make it smaller, {LARGEST_SIDE:,} are read at most")
    return image
