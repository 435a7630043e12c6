"""The writing of prepared data: resumable, and atomic as a whole.

All is written into ``1.0.0.partial``, which becomes ``1.0.0`` when everything is there. ``plan.json`` in it says what
is being prepared, so that only the same preparation continues. A shard has its name once it is finished; a shard that
has its name is not written again.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data import prepared
from rgcn_jax.data.keypoint_files import coverage
from rgcn_jax.data.prepared import FORMAT, FORMAT_VERSION, INDEX, KEYPOINTS, MARKER, PARTIAL, VERSION, Shard
from rgcn_jax.data.shard_task import FRAMES_PER_SHARD, BadFrame, ShardTask, cut
from rgcn_jax.data.source import Source, SourceKeypoints
from rgcn_jax.data.workers import run_tasks
from rgcn_jax.types import InputError

_PLAN, _LOCK = "plan.json", ".lock"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Preparation:
    """One preparation, of which there is one at a time in a folder; a context manager.

    Args:
      out: folder that holds prepared data sets.
      source: what is prepared.
      keypoints: of all its frames; None: appearance only.
      height: of the frames, in pixels.
      width: likewise.
      frames_per_shard: a shard takes tracklets until it has so many.

    Raises:
      InputError: another preparation is there, finished or not, or the folder cannot be written.
    """

    def __init__(
        self,
        out: Path,
        source: Source,
        keypoints: SourceKeypoints | None,
        height: int,
        width: int,
        frames_per_shard: int = FRAMES_PER_SHARD,
    ):
        below = out / prepared.builder_name(source.dataset)
        self.folder, self._partial = below / VERSION, below / PARTIAL
        self._source, self._keypoints, self._size = source, keypoints, (height, width)
        self._tasks = self._cut(frames_per_shard)
        self._resized = 0

    def __enter__(self) -> "Preparation":
        plan = self._plan()
        if self.finished:
            self._compare(self.folder, plan)
            return self
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = (self._partial / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self._partial / _PLAN).exists():
                self._compare(self._partial, plan)
            self._clean()
            _write(self._partial / _PLAN, json.dumps(plan, indent=2))
        except BlockingIOError:
            raise InputError(f"{self._partial} is being prepared by another process: wait for it.") from None
        except OSError as error:
            raise self._told(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_lock"):
            self._clean()
            self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the data set is prepared."""
        return (self.folder / MARKER).is_file()

    @property
    def frames_done(self) -> int:
        """Frames in finished shards."""
        return sum(task.frames for task in self._all if _is_finished(task))

    @property
    def _all(self) -> list[ShardTask]:
        return [task for tasks in self._tasks.values() for task in tasks]

    def run(self, workers: int, progress: Callable[[int], object]) -> None:
        """Write what is missing, and give the folder its name.

        Raises:
          InputError: frames cannot be used (all of them are named), the disk is full, or a worker died. Finished
            shards are kept.
        """
        missing = [task for task in self._all if not _is_finished(task)]
        bad: list[BadFrame] = []
        try:
            for _, result in run_tasks(missing, workers, progress):
                bad += result.bad
                self._resized += result.resized
            if bad:
                raise self._unusable(bad)
            self._finish()
        except OSError as error:
            raise self._told(error) from error

    def report(self) -> list[str]:
        """What was prepared."""
        shards = [self.folder / task.path.name for task in self._all if task.path]
        tracklets = self._source.tracklets
        size = sum(path.stat().st_size for path in shards)
        resized = f" ({self._resized:,} of them resized by this command)" if self._resized else ""
        lines = [
            f"{self.folder}: {len(tracklets):,} tracklets, {sum(len(t.frames) for t in tracklets):,} frames of "
            f"{self._size[0]} x {self._size[1]} pixels{resized}, {len(shards):,} shards, {size / 1e9:.2f} GB"
        ]
        if self._keypoints:
            cameras = np.repeat([t.camera_id for t in tracklets], [len(t.frames) for t in tracklets])
            rows = {int(c): np.flatnonzero(cameras == c) for c in np.unique(cameras)}
            lines.append("Share of the frames with so many of the 14 keypoints:")
            lines += coverage.report(coverage.measure(self._keypoints.values[..., 2] > 0, rows))
        out = self.folder.parent.parent
        lines.append(f"Train with --config.data.name={self._source.dataset} --config.data.root={out}")
        return lines

    def _values(self) -> Float32[np.ndarray, "n 14 3"]:
        if self._keypoints:
            return self._keypoints.values
        return np.zeros((sum(len(t.frames) for t in self._source.tracklets), 14, 3), np.float32)

    def _cut(self, frames_per_shard: int) -> dict[str, list[ShardTask]]:
        """The shards of each part."""
        number, row, values, tasks = 0, 0, self._values(), {}
        for part, tracklets in self._source.parts.items():
            ranges = cut(tracklets, frames_per_shard)
            tasks[part] = []
            for i, positions in enumerate(ranges):
                name = prepared.shard_name(self._source.dataset, part, i, len(ranges))
                numbered = tuple((number + k, tracklets[p]) for k, p in enumerate(positions))
                frames = sum(len(t.frames) for _, t in numbered)
                path, rows = self._partial / name, values[row : row + frames]
                tasks[part].append(ShardTask(path, self._source.root, numbered, rows, *self._size))
                number, row = number + len(positions), row + frames
        return tasks

    def _plan(self) -> dict[str, Any]:
        """What decides all that is written."""
        index = prepared.index_arrays(self._source.tracklets, self._source.splits)
        digest = hashlib.sha256()
        for name in sorted(index):
            digest.update(name.encode() + index[name].tobytes())
        return {
            "version": FORMAT_VERSION,
            "dataset": self._source.dataset,
            "height": self._size[0],
            "width": self._size[1],
            "shards": len(self._all),
            "tracklets": digest.hexdigest(),
            "keypoints": hashlib.sha256(self._values().tobytes()).hexdigest() if self._keypoints else None,
        }

    def _compare(self, folder: Path, plan: dict[str, Any]) -> None:
        """Raises ``InputError`` if something else was prepared in a folder."""
        try:
            before = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
            different = [name for name in plan if before.get(name) != plan[name]]
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(
                f"{folder / _PLAN} cannot be read ({error}): delete {folder}, or choose another --out."
            ) from error
        if different:
            raise InputError(
                f"{folder} was prepared with another {' and '.join(different)}: delete it, or choose another --out."
            )

    def _clean(self) -> None:
        """Remove what a killed preparation left unfinished."""
        for path in self._partial.glob(".*.array_record-*"):
            path.unlink(missing_ok=True)

    def _finish(self) -> None:
        from rgcn_jax.data import tfds_form  # takes half a second, and belongs to an extra

        source, (height, width) = self._source, self._size
        files = {
            part: [Shard(t.path.name, t.frames, t.path.stat().st_size) for t in tasks if t.path]
            for part, tasks in self._tasks.items()
        }
        index = prepared.index_arrays(source.tracklets, source.splits)
        with (self._partial / INDEX).open("wb") as file:
            np.savez_compressed(file, **index)  # pyright: ignore[reportArgumentType]
            _to_disk(file)
        with (self._partial / KEYPOINTS).open("wb") as file:
            np.save(file, self._values())
            _to_disk(file)
        description = f"{source.dataset}: frames of tracklets with 14 keypoints, ids and cameras. One record a frame."
        tfds_form.write_metadata(self._partial, source.dataset, files, height, width, description)
        marker = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "dataset": source.dataset,
            "height": height,
            "width": width,
            "has_keypoints": self._keypoints is not None,
            "junk_has_keypoints": self._keypoints is not None and self._keypoints.junk,
            "frame_size": source.splits[1].frame_size,
            "partitions": {str(number): split.partition for number, split in source.splits.items()},
            "shards": [asdict(shard) for shards in files.values() for shard in shards],
        }
        _write(self._partial / MARKER, json.dumps(marker, indent=1))
        (self._partial / _LOCK).unlink()
        os.rename(self._partial, self.folder)

    def _unusable(self, bad: Sequence[BadFrame]) -> InputError:
        ordered = sorted(bad, key=lambda frame: frame.name)
        listed = "".join(f"\n  {self._source.root / frame.name} {frame.reason}" for frame in ordered)
        return InputError(
            f"{len(bad):,} frames cannot be used; restore them from the data set's archive and give the same command "
            f"again, what is finished is kept:{listed}"
        )

    def _told(self, error: OSError) -> InputError:
        """A system's error as a sentence."""
        text = error.strerror or str(error)
        if error.errno not in _NO_ROOM and not any(os.strerror(code) in str(error) for code in _NO_ROOM):
            return InputError(f"{self._partial} cannot be written ({text}): choose another --out.")
        left = [task for task in self._all if not _is_finished(task)]
        free = shutil.disk_usage(self._partial).free
        return InputError(
            f"no room left in {self._partial} ({text}): about {self._estimate(left) / 1e9:.2f} GB are still to be "
            f"written, {free / 1e9:.2f} GB are free on this disk; free as much as is missing and give the same command "
            f"again: the {len(self._all) - len(left)} of {len(self._all)} shards that are finished are kept."
        )

    def _estimate(self, tasks: Sequence[ShardTask]) -> float:
        """Bytes of the frames of some tasks, from the sizes of some of their images."""
        names = [task.root / t.frames[0] for task in tasks for _, t in task.tracklets]
        sizes = [path.stat().st_size for path in names[:: max(len(names) // 200, 1)] if path.is_file()]
        return sum(task.frames for task in tasks) * (sum(sizes) / max(len(sizes), 1) + 350)


def _is_finished(task: ShardTask) -> bool:
    return task.path is not None and task.path.is_file()


def _write(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        _to_disk(file)
    os.replace(part, path)


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
