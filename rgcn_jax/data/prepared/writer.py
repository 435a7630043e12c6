"""Writer of prepared data: resumable, atomic, with content-addressed shards.

All is written into ``1.0.0.partial``, which becomes ``1.0.0`` when it is complete. There the name of a shard ends with
its key, a hash of the names, sizes and times of its images, of their keypoints and of the settings: a shard that has
its name need not be written again, and one of other images or settings is not used.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rgcn_jax.data.keypoints import coverage
from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.data.prepared.format import FORMAT, FORMAT_VERSION, INDEX, KEYPOINTS, MARKER, PARTIAL, VERSION, Shard
from rgcn_jax.data.prepared.index import index_arrays
from rgcn_jax.data.prepared.shard_task import FRAMES_PER_SHARD, BadFrame, ShardTask, cut
from rgcn_jax.data.prepared.shard_worker import work
from rgcn_jax.data.prepared.source import Source, SourceKeypoints
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_file, remove_unfinished
from rgcn_jax.runtime.handed_over import file_hash
from rgcn_jax.runtime.npz import write_arrays
from rgcn_jax.runtime.worker_pool import run_tasks

_LOCK = ".lock"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Preparation:
    """One preparation; a context manager that locks the folder.

    Args:
      out: folder that holds prepared data sets.
      source: what is prepared.
      keypoints: of all its frames; None: appearance only.
      height: of the frames, in pixels.
      width: of the frames, in pixels.
      frames_per_shard: a shard takes tracklets until it has so many.

    Raises:
      InputError: the data set is prepared already from other images, keypoints or settings, another process prepares
        it, or the folder cannot be written.
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
        below = out / prepared_format.builder_name(source.dataset)
        self.folder, self._partial = below / VERSION, below / PARTIAL
        self._source, self._keypoints, self._size = source, keypoints, (height, width)
        self._index = index_arrays(source.tracklets, source.splits)
        rows = sum(len(t.frames) for t in source.tracklets)
        self._values = keypoints.values if keypoints else np.zeros((rows, 14, 3), np.float32)
        self._tasks = self._cut({name: cut(tracklets, frames_per_shard) for name, tracklets in source.subsets.items()})
        self._resized = 0

    def __enter__(self) -> "Preparation":
        if self.finished:
            self._refuse_others()
            return self
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = (self._partial / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_unfinished(self._partial)
        except BlockingIOError:
            raise InputError(f"{self._partial} is being prepared by another process: wait for it.") from None
        except OSError as error:
            raise self._write_error(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_lock"):
            remove_unfinished(self._partial)
            self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the data set is prepared."""
        return os.path.isfile(self.folder / MARKER)  # pathlib's raises for too long a name

    @property
    def frames_done(self) -> int:
        """Frames in finished shards."""
        return sum(task.frames for task in self._all if _is_finished(task))

    @property
    def unused(self) -> list[Path]:
        """Finished shards of other images, keypoints or settings; they are deleted when all others are there."""
        own = {task.path for task in self._all}
        return [path for path in self._partial.glob(f"[!.]*.{prepared_format.ARRAY_RECORD}-*") if path not in own]

    @property
    def _all(self) -> list[ShardTask]:
        return [task for tasks in self._tasks.values() for task in tasks]

    def run(self, workers: int, progress: Callable[[int], object]) -> None:
        """Writes the missing shards, then renames the folder.

        Raises:
          InputError: frames cannot be used (all are named), the disk is full, or a worker died. Finished
            shards are kept.
        """
        missing = [task for task in self._all if not _is_finished(task)]
        bad: list[BadFrame] = []
        try:
            for _, result in run_tasks(work, missing, workers, progress):
                bad += result.bad
                self._resized += result.resized
            if bad:
                raise self._unusable(bad)
            self._finish()
        except OSError as error:
            raise self._write_error(error) from error

    def report(self) -> list[str]:
        """What was prepared."""
        shards = [self.folder / task.path.stem for task in self._all if task.path]
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
        return lines

    def _cut(self, ranges: Mapping[str, Sequence[range]]) -> dict[str, list[ShardTask]]:
        """The shards of each subset."""
        number, row, tasks = 0, 0, {}
        total = sum(map(len, ranges.values()))
        with tqdm(total=total, desc="compare with the images", disable=None, leave=False) as bar:
            for subset, tracklets in self._source.subsets.items():
                tasks[subset] = []
                for i, positions in enumerate(ranges[subset]):
                    name = prepared_format.shard_name(self._source.dataset, subset, i, len(ranges[subset]))
                    numbered = tuple((number + k, tracklets[p]) for k, p in enumerate(positions))
                    frames = sum(len(t.frames) for _, t in numbered)
                    rows = self._values[row : row + frames]
                    task = ShardTask(None, self._source.root, numbered, rows, *self._size)
                    tasks[subset].append(replace(task, path=self._partial / f"{name}.{task.key()}"))
                    number, row = number + len(positions), row + frames
                    bar.update()
        return tasks

    def _key(self) -> str:
        """A hash of all that decides about the prepared data."""
        digest = hashlib.sha256("\n".join(task.path.name for task in self._all if task.path).encode())
        for name in sorted(self._index):
            digest.update(name.encode() + self._index[name].tobytes())
        digest.update(str(self._keypoints is not None).encode())
        return digest.hexdigest()

    def _refuse_others(self) -> None:
        """Raises ``InputError`` if the finished data set was prepared from something else."""
        marker = prepared_format.read_marker(self.folder)
        if marker.get("source") == self._key():
            return
        now = {"height": self._size[0], "width": self._size[1], "has_keypoints": self._keypoints is not None}
        found = [f"{name} {marker[name]}, not {value}" for name, value in now.items() if marker[name] != value]
        raise InputError(
            f"{self.folder} was prepared from something else: "
            f"{', '.join(found) or 'images, lists, keypoints or shards differ'}. To prepare it from what is there now "
            "delete it and rerun the same command, or choose another --out."
        )

    def _finish(self) -> None:
        from rgcn_jax.data.prepared import tfds_format  # takes half a second, and belongs to an extra

        source, (height, width) = self._source, self._size
        write_arrays(self._partial / INDEX, self._index, compressed=True)
        with atomic_file(self._partial / KEYPOINTS) as file:
            np.save(file, self._values)
        for path in self.unused:
            path.unlink()
        files = {
            subset: [Shard(t.path.stem, t.frames, t.path.stat().st_size) for t in tasks if t.path]
            for subset, tasks in self._tasks.items()
        }
        description = f"{source.dataset}: frames of tracklets with 14 keypoints, ids and cameras. One record a frame."
        tfds_format.write_metadata(self._partial, source.dataset, files, height, width, description)
        marker = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "dataset": source.dataset,
            "height": height,
            "width": width,
            "has_keypoints": self._keypoints is not None,
            "junk_has_keypoints": self._keypoints is not None and self._keypoints.junk,
            "frame_size": source.splits[1].frame_size,
            "partitions": {str(number): split.split_description for number, split in source.splits.items()},
            "source": self._key(),
            "hashes": {name: file_hash(self._partial / name) for name in (INDEX, KEYPOINTS)},
            "shards": [asdict(shard) for shards in files.values() for shard in shards],
        }
        with atomic_file(self._partial / MARKER, "w") as file:
            file.write(json.dumps(marker, indent=1) + "\n")
        (self._partial / _LOCK).unlink()
        for task in self._all:  # last, so that hardly a kill finds finished shards without their keys
            if task.path:
                task.path.rename(task.path.with_name(task.path.stem))
        os.rename(self._partial, self.folder)

    def _unusable(self, bad: Sequence[BadFrame]) -> InputError:
        ordered = sorted(bad, key=lambda frame: frame.name)
        lines = "".join(f"\n  {self._source.root / frame.name} {frame.reason}" for frame in ordered)
        return InputError(
            f"{len(bad):,} frames cannot be used; restore them from the data set's archive and rerun the same "
            f"command to resume, what is finished is kept:{lines}"
        )

    def _write_error(self, error: OSError) -> InputError:
        """The error for a failed write."""
        text = error.strerror or str(error)
        if error.errno not in _NO_ROOM and not any(os.strerror(code) in str(error) for code in _NO_ROOM):
            return InputError(f"{self._partial} cannot be written ({text}): choose another --out.")
        left = [task for task in self._all if not _is_finished(task)]
        free = shutil.disk_usage(self._partial).free
        return InputError(
            f"no room left in {self._partial} ({text}): about {self._estimate(left) / 1e9:.2f} GB are still to be "
            f"written, {free / 1e9:.2f} GB are free on this disk; free as much as is missing and rerun the same "
            f"command to resume: the {len(self._all) - len(left)} of {len(self._all)} shards that are finished are "
            "kept."
        )

    def _estimate(self, tasks: Sequence[ShardTask]) -> float:
        """Bytes of the frames of some tasks, from the sizes of some of their images."""
        names = [task.root / t.frames[0] for task in tasks for _, t in task.tracklets]
        sizes = [path.stat().st_size for path in names[:: max(len(names) // 200, 1)] if path.is_file()]
        return sum(task.frames for task in tasks) * (sum(sizes) / max(len(sizes), 1) + 350)


def _is_finished(task: ShardTask) -> bool:
    return task.path is not None and task.path.is_file()
