"""A video and its tracks as input of a gallery: crops in the gallery's folder, keypoints, times of the tracks."""

import hashlib
import os
import re
import shutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2

from rgcn_jax.data import mot
from rgcn_jax.data.datasets import custom
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.gallery.crops import CROPS_FOLDER, files_folder, known_folder
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.pose_detection.run import Options, check, detect
from rgcn_jax.runtime.files import find_unfinished, refuse_link, writing
from rgcn_jax.runtime.user_files import LARGEST_LIST, read_file
from rgcn_jax.types import UNKNOWN_ID


class VideoCrops:
    """Crops of a video's tracks in a folder of the gallery, and their keypoints.

    The name of the folder contains the video, the camera and a hash of both files. Crops of another video or of other
    tracks therefore never mix.

    Args:
      known: flags of ``gallery add``.

    Raises:
      InputError: the video or the tracks cannot be read, or the gallery has no folder.
    """

    def __init__(self, known: Namespace):
        if not known.video.exists():
            raise InputError(f"The video {known.video} does not exist.")
        with as_input_error(f"The track file {known.tracks} cannot be read"):
            content = hashlib.sha256(read_file(known.tracks, LARGEST_LIST))
            content.update(f"{known.video.stat().st_size if known.video.is_file() else 0} {known.boxes}".encode())
        stem = re.sub(r"[^\w.-]", "_", known.video.stem).lstrip(".")[:100]
        crops = known_folder(files_folder(known.gallery, known.files)) / CROPS_FOLDER
        self._known, self._root = known, crops / f"{stem}-c{known.camera}-{content.hexdigest()[:12]}"
        self._detection: tuple[Path, Options] | None = None
        if known.detector:
            detected = self._root.with_name(f"{self._root.name}.keypoints.npz")
            self._detection = detected, Options(known.detector, known.detector_weights)

    @property
    def overrides(self) -> list[str]:
        """Command-line overrides of the config fields that select the data set."""
        keypoints = self._detection[0] if self._detection else self._known.keypoints or ""
        fields = {"name": "folder", "root": self._root, "keypoints": keypoints, "split": 1, "features": ""}
        return [f"--config.data.{name}={value}" for name, value in fields.items()]

    def make(self) -> None:
        """Cut the crops and detect their keypoints, unless done already.

        Raises:
          InputError: the video or the tracks cannot be read, the detector is missing, or the disk is full.
        """
        known = self._known
        refuse_link(self._root.parent)
        with writing(self._root.parent):
            self._root.parent.mkdir(exist_ok=True)
        if self._detection:
            check(*self._detection)
        if not self._root.exists():
            for path in find_unfinished(self._root.parent, self._root.name):
                if not _is_running(int(path.name.split(".")[-2])):
                    with writing(path):  # may be a file or a link
                        shutil.rmtree(path)
            crops, tracklets, left_out = mot.convert(
                known.video, known.tracks, self._root, known.camera, boxes_as=known.boxes
            )
            also = f"; left out {left_out:,} lines of confidence 0" if left_out else ""
            print(f"cut {crops:,} crops of {tracklets:,} tracks out of {known.video}{also}", flush=True)
        if self._detection:
            detect(custom.load(self._root), *self._detection)

    def described(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries with the video and the times of their tracks. Raises InputError if the frame rate is
        unknown.

        Two tracks may show the same person. Track ids are therefore used as person ids only on the user's request.
        """
        known = self._known
        rate = known.fps or (_frame_rate(known.video) if known.start is not None else 0.0)
        folder = f"{CROPS_FOLDER}/{self._root.name}"
        found = []
        for entry in entries:
            numbers = [int(number) for name in entry.frames for number in re.findall(r"_f([0-9]+)\.jpg$", name)]
            times = [known.start + (n - 1) / rate for n in numbers if known.start is not None] or (None, None)
            found.append(
                replace(
                    entry,
                    source=known.source or folder,
                    root=folder,
                    video=str(known.video),
                    person_id=entry.person_id if known.tracks_are_persons else UNKNOWN_ID,
                    start=times[0],
                    end=times[-1],
                )
            )
        return found

    def finish(self) -> None:
        """Remove the keypoints detected here and their report. The gallery contains all that is needed of them.

        Raises:
          InputError: the files cannot be removed.
        """
        if self._detection:
            detected, _ = self._detection
            with writing(detected):
                for path in detected.parent.glob(f"{detected.stem}.*"):
                    if path.is_file():
                        path.unlink()


def _frame_rate(video: Path) -> float:
    capture = cv2.VideoCapture(str(video)) if video.is_file() else None
    rate = capture.get(cv2.CAP_PROP_FPS) if capture else 0.0
    if not 0.1 <= rate <= 1000:
        raise InputError(f"{video} does not say its frame rate: give it by --fps=N, or leave out --start.")
    return rate


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
