"""Uploaded videos of the web page, kept in a temporary folder until a person is selected or the server exits."""

import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rgcn_jax.errors import NotFoundError
from rgcn_jax.gallery.server import video_worker
from rgcn_jax.gallery.server.uploads import File, check_video, read_frames

MAX_VIDEOS = 4
"""Maximum number of videos kept. The oldest is deleted."""


@dataclass(frozen=True)
class Video:
    """An uploaded video.

    ``first_frame`` is a JPEG image. ``tracks`` contains the id and number of boxes of each track.
    """

    folder: Path
    first_frame: bytes
    width: int
    height: int
    tracks: tuple[tuple[int, int], ...]


class Videos:
    """Uploaded videos, each with a random name.

    Args:
      folder: folder of the videos, for exclusive use by this server.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._lock = threading.Lock()  # one video is decoded at a time
        self._videos: dict[str, Video] = {}

    def add(self, video: File, tracks: File | None) -> tuple[str, Video]:
        """Store a video and its tracks. Return its name and its contents.

        Raises:
          InputError: the video cannot be decoded, or the track file is invalid.
        """
        check_video(video)
        name = secrets.token_urlsafe(16)
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        try:
            order = {"out": str(folder)}
            for kind, given in (("video", video), ("tracks", tracks)):
                if given is not None:
                    order[kind] = str(folder / kind)
                    with (folder / kind).open("wb") as file:
                        shutil.copyfileobj(given.content, file)
            with self._lock:
                found = video_worker.run(order)
            first = (folder / video_worker.FIRST_FRAME).read_bytes()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        kept = Video(folder, first, found["width"], found["height"], tuple((i, n) for i, n in found["tracks"]))
        self._videos[name] = kept
        while len(self._videos) > MAX_VIDEOS:
            self.remove(next(iter(self._videos)))
        return name, kept

    def get(self, name: str) -> Video:
        """Return the video with a name. Raises NotFoundError if it is no longer kept."""
        if (found := self._videos.get(name)) is None:
            raise NotFoundError("the video is not kept any more: upload it again.")
        return found

    def crops(self, name: str, chosen: dict[str, Any]) -> list[np.ndarray]:
        """Return the crops of one person.

        Args:
          name: name of the video.
          chosen: {"box": [left, top, width, height]} in the first frame, or {"track": ID}.

        Raises:
          InputError: there is no person in the box or track.
        """
        video = self.get(name)
        out = video.folder / secrets.token_hex(8)
        out.mkdir()
        try:
            order = {"video": str(video.folder / "video"), "out": str(out), **chosen}
            if video.tracks:
                order["tracks"] = str(video.folder / "tracks")
            with self._lock:
                video_worker.run(order)
            return read_frames({path.name: path for path in sorted(out.iterdir())})
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Delete a video."""
        if video := self._videos.pop(name, None):
            shutil.rmtree(video.folder, ignore_errors=True)
