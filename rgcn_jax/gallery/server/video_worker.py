"""Decoding of an uploaded video in a separate process, with limits on time and memory: the file is untrusted.

::

    python -m rgcn_jax.gallery.server.video_worker '{"video": ..., "out": ..., "box": [left, top, width, height]}'

Writes the first frame, or the crops of one person, as JPEG files to a folder, and prints one JSON object.
"""

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgcn_jax.data.mot import cut, video_frames, write_image
from rgcn_jax.data.mot_tracks import Box, parse_tracks
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.gallery.server.follow import follow
from rgcn_jax.runtime.user_files import LARGEST_LIST, read_file

MAX_FRAMES = 1000
"""Maximum number of frames decoded per video: 40 seconds."""
MAX_SIDE = 4096
MEMORY_BYTES = 4 * 2**30
SECONDS = 120
FIRST_FRAME = "first.jpg"


def run(order: Mapping[str, Any]) -> dict[str, Any]:
    """Run this module in a separate process and return the JSON object that it prints.

    Raises:
      InputError: the video cannot be decoded within the limits, or does not contain the requested person.
    """
    environment = {**os.environ, "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file"}  # no network, no playlists
    command = [sys.executable, "-m", "rgcn_jax.gallery.server.video_worker", json.dumps(order)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=environment)
        found = json.loads(done.stdout.decode().strip().rpartition("\n")[2] or "{}")
    except subprocess.TimeoutExpired as error:
        raise InputError(f"the video takes more than {SECONDS} seconds to decode: upload a part of it.") from error
    except ValueError as error:
        raise InputError("the video cannot be decoded.") from error
    if "error" in found:
        raise InputError(found["error"])
    if done.returncode or not found:
        raise InputError("the video cannot be decoded: convert it with ffmpeg first, to H.264 in MP4.")
    return found


def main(arguments: list[str]) -> None:
    """Process one order, given as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    cv2.setNumThreads(1)
    order = json.loads(arguments[0])
    try:
        with as_input_error("the server cannot keep or read a file of the video", "try again later"):
            print(json.dumps(_carry_out(order)))
    except InputError as error:
        print(json.dumps({"error": str(error)}))


def _carry_out(order: Mapping[str, Any]) -> dict[str, Any]:
    out = Path(order["out"])
    if "box" in order:
        left, top, width, height = order["box"]
        return _write(out, follow(_frames(order["video"]), Box(0, 1, 1, left, top, width, height)))
    if "track" in order:
        boxes = {box.frame: box for box in _boxes(order) if box.track == order["track"]}
        if not boxes:
            raise InputError(f"there is no track {order['track']}.")
        pairs = ((frame, boxes[n]) for n, frame in enumerate(_frames(order["video"]), 1) if n in boxes)
        return _write(out, pairs)
    if (frame := next(_frames(order["video"]), None)) is None:
        raise InputError("the video has no frame that can be decoded: convert it with ffmpeg first, to H.264 in MP4.")
    write_image(out / FIRST_FRAME, frame)
    tracks = Counter(box.track for box in _boxes(order))
    return {"height": frame.shape[0], "width": frame.shape[1], "tracks": sorted(tracks.items())}


def _frames(video: str) -> Iterator[np.ndarray]:
    for frame in islice(video_frames(Path(video)), MAX_FRAMES):
        if max(frame.shape[:2]) > MAX_SIDE:
            raise InputError(f"the video has {frame.shape[1]} x {frame.shape[0]} pixels: {MAX_SIDE} at most are read.")
        yield frame


def _boxes(order: Mapping[str, Any]) -> list[Box]:
    return parse_tracks(read_file(order["tracks"], LARGEST_LIST), "the track file")[0] if "tracks" in order else []


def _write(out: Path, pairs: Iterator[tuple[np.ndarray, Box]]) -> dict[str, Any]:
    count = 0
    for count, (frame, box) in enumerate(pairs, 1):
        crop = cut(frame, box)
        if crop is None:
            raise InputError("the box lies outside of the image, or is far larger.")
        write_image(out / f"{count:06}.jpg", crop)
    if not count:
        raise InputError("the person is in none of the frames that can be decoded.")
    return {"frames": count}


if __name__ == "__main__":
    main(sys.argv[1:])
