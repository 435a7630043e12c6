"""Pose detection on all crops of a data set in several processes; a killed run is resumed by the next call."""

import hashlib
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from rgcn_jax.data.keypoints.coverage import Coverage, measure
from rgcn_jax.data.keypoints.store import check_store_path, save
from rgcn_jax.errors import InputError
from rgcn_jax.pose_detection.chunks import Chunks, fingerprint
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.worker import Chunk, ChunkResult, Job, Options, process
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.runtime.worker_pool import run_tasks
from rgcn_jax.types import Split, unique_frames


@dataclass(frozen=True)
class Report:
    """Summary of a call. ``keypoints``: keypoints of all N frames, as stored. ``coverage``: how many were detected.
    ``resumed``: frames finished by earlier calls. ``detected``: frames finished by this one. ``seconds``: duration
    of this call, including the start of processes. ``working_seconds``: mean duration per process, excluding it.
    """

    keypoints: Float32[np.ndarray, "n 14 3"]
    coverage: Coverage
    resumed: int
    detected: int
    seconds: float
    working_seconds: float


def detect(split: Split, out: Path, options: Options) -> Report | None:
    """Detect the keypoints of every frame of a data set, including junk, and write a keypoint store.

    Args:
      split: the data set.
      out: the store, a ``.npz`` file. Finished work is kept next to it in ``OUT.parts`` until the end.
      options: settings of the detection.

    Returns:
      The summary; None if the store was already complete.

    Raises:
      InputError: an option, the model or the store's path is invalid, unfinished work has other settings, a process
        died, or images cannot be read. In the last case all of them are listed, the other keypoints are kept and no
        store is written.
    """
    check(out, options)
    start = time.perf_counter()
    tracklets = (*split.train, *split.query, *split.gallery, *split.junk)
    frames = unique_frames(tracklets)
    settings = _settings(split, frames, options)
    with closing(Chunks(out, settings)) as chunks:
        if chunks.complete:
            return None
        rows = {frame: row for row, frame in enumerate(frames)}
        _, done, damaged = chunks.read(rows)
        if damaged:
            print(f"damaged chunks, detected again: {', '.join(damaged)}", flush=True)
        job = Job(split.root, chunks.folder, fingerprint(settings), settings["margin"], options)
        results = _work(job, frames, np.flatnonzero(~done), options)
        keypoints, done_now, _ = chunks.read(rows)
        unreadable = sorted(problem for result in results for problem in result.unreadable)
        if unreadable:
            lines = "\n  ".join(unreadable)
            raise InputError(
                f"{len(unreadable):,} of the {len(frames):,} images cannot be read; the keypoints of the others are "
                f"kept in {chunks.folder}. Restore these images from the data set's archive and rerun the same "
                f"command:\n  {lines}"
            )
        if not done_now.all():
            missing = frames[np.flatnonzero(~done_now)[0]]
            raise InputError(f"chunks are missing from {chunks.folder} (of {missing}): rerun the same command.")
        store = chunks.folder / "store.part.npz"
        coverage = measure(keypoints[..., 2] > 0, rows, tracklets)
        save(
            store,
            frames,
            keypoints,
            detector=f"{options.backend} {options.model.name} {settings['model_sha256'][:16]} margin {job.margin:g}",
            skeleton=BACK_ENDS[options.backend].skeleton,
            threshold=options.threshold,
            coverage=coverage,
        )
        chunks.finish(store)
    working = sum(result.seconds for result in results) / max(min(options.workers, len(results)), 1)
    detected = sum(result.finished for result in results)
    return Report(keypoints, coverage, int(done.sum()), detected, time.perf_counter() - start, working)


def check(out: Path, options: Options) -> None:
    """Validate options and path before anything is read. Raises ``InputError``."""
    check_store_path(out)
    for name in ("workers", "batch", "save_every"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} is {getattr(options, name)}: expected 1 or more.")
    if not 0 <= options.threshold <= 1:
        raise InputError(f"threshold is {options.threshold}: expected a number from 0 to 1.")
    if options.margin is not None and not 1 <= options.margin <= 3:
        raise InputError(f"margin is {options.margin}: expected a number from 1 (the crop itself) to 3.")
    BACK_ENDS[options.backend].weights(options.model)


def _settings(split: Split, frames: Sequence[str], options: Options) -> dict:
    """All settings that affect the keypoints, including the root, since two data sets may have the same frame names."""
    backend = BACK_ENDS[options.backend]
    model = hashlib.sha256()
    for file in backend.weights(options.model):
        with open_file(file) as opened:
            hashlib.file_digest(cast(Any, opened), lambda: model)
    return {
        "format": 1,
        "dataset": split.name,
        "root": str(split.root.resolve()),
        "frames": len(frames),
        "frames_sha256": hashlib.sha256("\n".join(frames).encode()).hexdigest(),
        "backend": options.backend,
        "model_sha256": model.hexdigest(),
        "margin": float(backend.margin if options.margin is None else options.margin),
        "threshold": options.threshold,
    }


def _work(job: Job, frames: tuple[str, ...], missing: np.ndarray, options: Options) -> list[ChunkResult]:
    """Process the missing frames in chunks of ``save_every``."""
    rows = [missing[i : i + options.save_every] for i in range(0, len(missing), options.save_every)]
    chunks = [Chunk(job, f"{of[0]:09d}-{len(of)}", tuple(frames[row] for row in of)) for of in rows]
    with tqdm(
        total=len(frames), initial=len(frames) - len(missing), unit=" crops", disable=None, smoothing=0.05
    ) as bar:
        try:
            return [result for _, result in run_tasks(process, chunks, options.workers, bar.update)]
        except KeyboardInterrupt:
            bar.write("interrupted: the processes save their current chunks")
            raise
