"""Worker process of the pose detection: read images, detect keypoints, write a chunk."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.datasets.images import read_image
from rgcn_jax.errors import InputError
from rgcn_jax.pose_detection.chunks import write_chunk
from rgcn_jax.pose_detection.detector import BACK_ENDS, Detector
from rgcn_jax.runtime.cores import usable_cores
from rgcn_jax.skeleton import to_14


@dataclass(frozen=True)
class Options:
    """Settings of the detection. ``margin``: size of the detector's input box as a multiple of the crop; None: the back
    end's default. ``threshold``: minimum confidence of a detected keypoint. ``workers``: processes, which divide the
    usable cores among them. ``batch``: crops per batch of the detector. ``save_every``: frames between saves of a
    process.
    """

    backend: str
    model: Path
    margin: float | None = None
    threshold: float = 0.2
    workers: int = field(default_factory=usable_cores)
    batch: int = 32
    save_every: int = 256


@dataclass(frozen=True)
class Job:
    """What the chunks of a run share. ``margin``: that of the options, or the back end's default."""

    root: Path
    folder: Path
    settings_hash: str
    margin: float
    options: Options


@dataclass(frozen=True)
class Chunk:
    """Some frames of a run, and the name of the chunk with their keypoints."""

    job: Job
    name: str
    frames: tuple[str, ...]


@dataclass(frozen=True)
class ChunkResult:
    """``unreadable``: a message for each unreadable image. ``seconds``: duration, without opening the detector."""

    finished: int
    unreadable: tuple[str, ...]
    seconds: float


def process(chunk: Chunk, advance: Callable[[], None]) -> ChunkResult:
    """Detect the keypoints of some frames and write them as one chunk; unreadable images are skipped and reported.

    ``advance`` is called after each frame.

    Raises:
      InputError: the detector cannot be opened, or the chunk cannot be written.
    """
    job, options = chunk.job, chunk.job.options
    detector = _detector(options, job.margin)
    start = time.perf_counter()
    names: list[str] = []
    found: list[Float32[np.ndarray, "n 14 3"]] = []
    unreadable: list[str] = []
    for first in range(0, len(chunk.frames), options.batch):
        crops = []
        batch = chunk.frames[first : first + options.batch]
        for frame in batch:
            try:
                crops.append(read_image(job.root / frame))
            except InputError as error:
                unreadable.append(str(error))
            else:
                names.append(frame)
        if crops:
            keypoints = to_14(detector(crops), BACK_ENDS[options.backend].skeleton)
            found.extend(
                accepted(k, crop.shape[:2], options.threshold) for k, crop in zip(keypoints, crops, strict=True)
            )
        for _ in batch:
            advance()
    if names:
        write_chunk(job.folder, chunk.name, names, np.stack(found), job.settings_hash)
    return ChunkResult(len(names), tuple(unreadable), time.perf_counter() - start)


def accepted(
    keypoints: Float32[np.ndarray, "14 3"], size: tuple[int, int], threshold: float
) -> Float32[np.ndarray, "14 3"]:
    """Zero keypoints that do not count as detected: confidence below the threshold, not above 0 or not finite, or
    position outside of the crop of ``size`` (height, width), border included.
    """
    x, y, confidence = np.moveaxis(keypoints, -1, 0)
    inside = (x >= 0) & (x <= size[1]) & (y >= 0) & (y <= size[0])
    sure = (confidence >= threshold) & (confidence > 0) & np.isfinite(confidence)
    return np.where((inside & sure)[:, None], keypoints, np.float32(0))


@functools.cache
def _detector(options: Options, margin: float) -> Detector:
    cv2.setNumThreads(1)
    threads = max(usable_cores() // options.workers, 1)
    return BACK_ENDS[options.backend].open(options.model, margin, threads)
