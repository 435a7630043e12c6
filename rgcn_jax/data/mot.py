"""Convert a video and its multi-object tracks (MOT) to a data set in the layout ``folder``, one tracklet per track.

::

    python -m rgcn_jax.data.mot --video=street.mp4 --tracks=gt.txt --out=street

Tracks are in MOTChallenge's format: lines of ``frame,id,left,top,width,height,confidence,...``. Frames are counted from
1; boxes are in pixels from the upper left corner of the frame; columns after the confidence are ignored. Some trackers
write the right and lower border instead of width and height: ``--boxes=corners``. Lines with confidence 0 are skipped,
since MOTChallenge marks non-persons this way. ``--video`` may also be MOTChallenge's folder of images.

A box is first extended to be twice as high as wide, about its centre, so that persons are not distorted when crops are
resized to 2:1 later. Parts outside of the frame replicate its border. Crops keep the video's resolution. Track ids
become person ids.

``--add`` adds the video of another camera to the folder. If its ids are of other persons, ``--first-person`` renumbers
them.
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.data.datasets.custom import SUBSETS
from rgcn_jax.data.datasets.images import read_image
from rgcn_jax.data.datasets.listing import IMAGES, FolderReader, natural_order
from rgcn_jax.data.mot_addition import move_tracklets, staging_folder
from rgcn_jax.data.mot_tracks import Box, check_corners, parse_tracks, raise_all
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.files import atomic_folder, find_unfinished, writing
from rgcn_jax.runtime.user_files import LARGEST_LIST, read_file

ASPECT = 2.0
"""Aspect ratio of a crop, as height over width."""

_TOO_LARGE = 4  # boxes larger than this many times the frame's width or height are errors


def cut(frame: UInt8[np.ndarray, "h w 3"], box: Box) -> UInt8[np.ndarray, "a b 3"] | None:
    """Crop a box, extended to be twice as high as wide (to a pixel). Returns None if it is outside of the frame or far
    too large.

    Args:
      frame: the whole frame.
      box: the box in pixels of the frame.
    """
    height, width = frame.shape[:2]
    if min(box.left + box.width, width) <= max(box.left, 0) or min(box.top + box.height, height) <= max(box.top, 0):
        return None
    if box.width > _TOO_LARGE * width or box.height > _TOO_LARGE * height:
        return None
    crop_width = math.ceil(max(box.width, box.height / ASPECT))
    crop_height = round(ASPECT * crop_width)
    x = np.arange(crop_width) + round(box.left + (box.width - crop_width) / 2)
    y = np.arange(crop_height) + round(box.top + (box.height - crop_height) / 2)
    return frame[np.clip(y, 0, height - 1)[:, None], np.clip(x, 0, width - 1)[None, :]]


def convert(
    video: Path,
    tracks: Path,
    out: Path,
    camera: int = 1,
    subset: str = "gallery",
    boxes_as: str | None = None,
    add: bool = False,
    first_person: int | None = None,
) -> tuple[int, int, int]:
    """Write the crops of all tracks atomically, as ``<subset>/<person>/<camera>/<tracklet>/<frame>.jpg``.

    Args:
      video: a video file, or a folder of images, the first of which is frame 1.
      tracks: the track file.
      out: the folder to write, which must not exist unless ``add``.
      camera: number of the camera, from 1.
      subset: "train", "query" or "gallery".
      boxes_as: "size": lines have width and height, like MOTChallenge's; "corners": right and lower border. None:
        "size", but boxes that look like corners are rejected.
      add: whether to add to a data set that has no tracklet of this camera in this subset. If the process is killed
        while tracklets are moved, the same call adds the rest.
      first_person: number of the first person, in the order of track ids. None: track ids are used.

    Returns:
      The numbers of crops, of tracklets, and of skipped lines with confidence 0.

    Raises:
      InputError: the video or the tracks cannot be read, a line is invalid or outside of the video, the folder already
        exists or cannot be written. Nothing is left behind.
      ValueError: the subset or the camera is invalid.
    """
    if subset not in SUBSETS or camera < 1:
        raise ValueError(
            f"expected a subset of {', '.join(SUBSETS)} and a camera of 1 or more: found {subset}, {camera}."
        )
    if os.path.lexists(out) and not add:
        raise InputError(
            f"{out} already exists, and nothing in it is overwritten: choose a new folder, or add another camera to it "
            "by --add."
        )
    with as_input_error(f"the track file {tracks} cannot be read"):
        text = read_file(tracks, LARGEST_LIST)
    boxes, left_out = parse_tracks(text, tracks, boxes_as == "corners")
    target = staging_folder(out, subset, camera, text + str(first_person).encode()) if add else out
    if first_person is not None:
        persons = {track: i for i, track in enumerate(sorted({box.track for box in boxes}), first_person)}
        boxes = [box._replace(track=persons[box.track]) for box in boxes]
    if not out.parent.is_dir():
        raise InputError(f"{out} cannot be written: the folder {out.parent} does not exist, create it first.")
    if unfinished := find_unfinished(target.parent, target.name):
        raise InputError(f"{unfinished[0]} is of a running or killed command: remove it if none is running.")
    with writing(out):
        if not (add and target.is_dir()):
            with atomic_folder(target) as folder:
                into = folder if add else folder / subset
                _write(video, tracks, boxes, into, camera, may_be_corners=boxes_as is None)
        if add:
            move_tracklets(target, out / subset, camera)
    return len(boxes), len({box.track for box in boxes}), left_out


def _write(video: Path, tracks: Path, boxes: Sequence[Box], folder: Path, camera: int, may_be_corners: bool) -> None:
    by_frame: dict[int, list[Box]] = {}
    for box in boxes:
        by_frame.setdefault(box.frame, []).append(box)
    last, problems, read = max(by_frame), [], 0
    progress = tqdm(video_frames(video), "frames", last, unit="frame", disable=None, leave=False)
    for read, frame in enumerate(progress, 1):
        if read == 1 and may_be_corners:
            check_corners(tracks, boxes, frame.shape[1], frame.shape[0])
        for box in by_frame.pop(read, ()):
            crop = cut(frame, box)
            if crop is None:
                size = f"{frame.shape[1]} x {frame.shape[0]}"
                problems.append(f"line {box.line}: the box is outside of the frame ({size} pixels) or far larger")
                continue
            name = f"{box.track:04}_c{camera}_f{box.frame:06}.jpg"
            write_image(folder / str(box.track) / str(camera) / "0001" / name, crop)
        if read == last:
            break
    if not read:
        raise InputError(f"the video {video} has no frame that can be decoded: convert it with ffmpeg first.")
    for late in by_frame.values():
        problems += [f"line {b.line}: frame {b.frame}, but the video has {read} frames that can be read" for b in late]
    raise_all(tracks, problems)


def write_image(path: Path, image: UInt8[np.ndarray, "a b 3"]) -> None:
    """Write a BGR image as JPEG, and its folder. Raises OSError, or InputError if it cannot be encoded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise InputError(f"{path.name} cannot be encoded.")
    path.write_bytes(data.tobytes())  # unlike cv2.imwrite, raises an error on a full disk


def video_frames(video: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield the frames of a video file or of a folder of images, in order, in OpenCV's BGR."""
    if video.is_dir():
        folders = FolderReader("the folder of images", video)
        names = folders.listing("").files
        folders.check()
        for name in natural_order(name for name in names if name.lower().endswith(IMAGES)):
            yield read_image(video / name)[..., ::-1]
        return
    if not video.is_file():  # OpenCV would also open network addresses
        raise InputError(f"the video {video} does not exist.")
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise InputError(f"the video {video} cannot be opened: convert it with ffmpeg first, to H.264 in MP4.")
        while (frame := capture.read()[1]) is not None:
            yield frame
    finally:
        capture.release()


@on_interrupt("nothing is written.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax tracks") -> None:
    """Cut persons out of a video along their tracks, and write a data set in the layout "folder".

    Raises:
      InputError: an argument, the video or the tracks are invalid.
    """
    parser = Parser(prog, 'Cut persons out of a video along their tracks, and write a data set in the layout "folder".')
    parser.path("--video", "PATH", "video file, or folder of its frames", required=True)
    parser.path("--tracks", "FILE", "track file in MOTChallenge's format", required=True)
    parser.path("--out", "DIR", "folder to write; must not exist, unless --add", required=True)
    parser.whole("--camera", "number of the camera, from 1", default=1, most=999_999_999)
    parser.flag(
        "--boxes",
        "meaning of the numbers after left and top: width and height (size), or right and lower border (corners) "
        "(default: size; boxes that look like corners are rejected)",
        choices=("size", "corners"),
    )
    parser.flag("--split", "split to write into", choices=SUBSETS, default="gallery")
    parser.switch("--add", "add the video of another camera; equal track ids are equal persons")
    parser.whole(
        "--first-person",
        "number the persons from N on, if track ids of the videos are unrelated (default: by track id)",
        most=900_000_000,
    )
    known = parser.parse_args(arguments)
    crops, tracklets, left_out = convert(
        known.video, known.tracks, known.out, known.camera, known.split, known.boxes, known.add, known.first_person
    )
    if left_out:
        print(f"skipped {left_out:,} lines of confidence 0")
    detect = ("detect", "--dataset=folder", f"--root={known.out}", "--backend=rtmpose", "--model=rtmpose.onnx")
    done = "added" if known.add else "wrote"
    print(
        last_line(
            f"{done} {crops:,} crops of {tracklets:,} tracklets to {known.out / known.split}",
            *("rgcn-jax", *detect, f"--out={known.out}-keypoints.npz"),
        )
    )


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.data.mot")
