"""Uploaded tracklets: image files or a ZIP archive of them, and keypoints.

Uploads are untrusted and read with limits.
"""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.datasets.images import image_size, read_image
from rgcn_jax.data.datasets.listing import IMAGES, natural_order
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.runtime.npz import read_arrays

MAX_FRAMES = 1000
"""Maximum number of frames of a tracklet."""
MAX_NAME = 1000
MAX_PIXELS = 2**26
"""Maximum number of pixels of all frames together: 192 MiB when decoded, or 2,000 crops of 256 x 128."""
MAX_KEYPOINT_BYTES = 2**20
VIDEOS = {"MP4": (4, b"ftyp"), "Matroska": (0, b"\x1aE\xdf\xa3"), "AVI": (8, b"AVI ")}
"""Offset and magic bytes of each supported container. Playlists, which reference other files, are excluded."""


class File(NamedTuple):
    """An uploaded file. Of the name, only the suffix and the sort order are used."""

    name: str
    content: BinaryIO


def read_crops(files: Sequence[File]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Read the frames of a tracklet, RGB, in the natural order of the file names.

    Args:
      files: JPEG or PNG files, or one ZIP archive of them.

    Raises:
      InputError: there is no image, a file is not an image, or the files exceed a limit.
    """
    with tempfile.TemporaryDirectory(prefix="rgcn_jax-upload-") as folder:
        paths: dict[str, Path] = {}
        for name, data in _images(files):
            if len(paths) == MAX_FRAMES:
                raise InputError(f"there are more than {MAX_FRAMES} images: upload a part of the tracklet.")
            if name in paths:
                raise InputError("two images have the same name.")
            if len(name) > MAX_NAME:
                raise InputError(f"the name of an image has more than {MAX_NAME} characters: shorten it.")
            paths[name] = Path(folder, f"{len(paths):06}")
            paths[name].write_bytes(data)
        if not paths:
            raise InputError("there is no image: expected JPEG or PNG files, or a ZIP archive of them.")
        return read_frames({name: paths[name] for name in natural_order(paths)})


def read_frames(paths: Mapping[str, Path]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Read frames from files, by the names used in messages.

    Raises InputError if the total number of pixels exceeds ``MAX_PIXELS``, or a file is not an image.
    """
    frames, pixels = [], 0
    for name, path in paths.items():
        try:
            height, width = image_size(path)
            pixels += height * width
            if pixels > MAX_PIXELS:
                raise InputError(f"the images have more than {MAX_PIXELS:,} pixels together: upload crops of a person.")
            frames.append(read_image(path))
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error
    return frames


def _images(files: Sequence[File]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        if file.name.lower().endswith(".zip"):
            yield from _members(file)
        elif file.name.lower().endswith(IMAGES):
            yield file.name, file.content.read()
        else:
            raise InputError(f"{file.name}: expected JPEG or PNG files, or a ZIP archive of them.")


def _members(file: File) -> Iterator[tuple[str, bytes]]:
    """Read the images of an archive. No file is unpacked under its own name."""
    try:
        with zipfile.ZipFile(file.content) as archive:
            left = 3 * MAX_PIXELS  # bytes: maximum size of all images when decoded
            for member in archive.infolist():
                name = member.filename.rpartition("/")[2]
                hidden = name.startswith(".")  # such as ._1.jpg, added by macOS
                if member.is_dir() or hidden or not member.filename.lower().endswith(IMAGES):
                    continue
                with archive.open(member) as opened:
                    data = opened.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise InputError(f"{file.name} unpacks to more than {3 * MAX_PIXELS / 2**20:.0f} MiB.")
                yield member.filename, data
    except InputError:
        raise
    except Exception as error:  # a corrupt archive raises various errors; a password raises RuntimeError
        raise InputError(f"{file.name} is no ZIP archive that can be read ({type(error).__name__}).") from error


def read_keypoints(file: File, frames: int) -> Float32[np.ndarray, "t 14 3"]:
    """Read keypoints [T, 14, 3] of the frames, in order and in normalised coordinates.

    Args:
      file: an .npz file with the array "keypoints".
      frames: number of frames T.

    Raises:
      InputError: the file is invalid, or has another number of frames.
    """
    with tempfile.NamedTemporaryFile(prefix="rgcn_jax-upload-", suffix=".npz") as kept:
        data = file.content.read(MAX_KEYPOINT_BYTES + 1)
        if len(data) > MAX_KEYPOINT_BYTES:
            raise InputError(f"{file.name} has more than {MAX_KEYPOINT_BYTES / 2**20:.0f} MiB.")
        kept.write(data)
        kept.flush()
        with as_input_error(f"{file.name} is no .npz file of arrays", kinds=MALFORMED):
            found = read_arrays(Path(kept.name), ("keypoints",), largest=64 * MAX_KEYPOINT_BYTES)[0].get("keypoints")
    if found is None or found.dtype.kind not in "fiu" or found.shape != (frames, 14, 3):
        has = "no such array" if found is None else f"{found.dtype} {list(found.shape)}"
        raise InputError(f'{file.name}: expected "keypoints", floats [{frames}, 14, 3], found {has}.')
    return found.astype(np.float32)


def check_video(file: File) -> None:
    """Raise InputError if the file is not a supported video container."""
    start = file.content.read(16)
    file.content.seek(0)
    if not any(start[at : at + len(mark)] == mark for at, mark in VIDEOS.values()):
        raise InputError(f"{file.name} is no video: expected one of {', '.join(VIDEOS)}.")


def frames_hash(frames: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> str:
    """Return the SHA-256 of the pixels, which identifies an upload in the audit log."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.shape}".encode())
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()
