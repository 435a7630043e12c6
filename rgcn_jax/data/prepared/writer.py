"""Writer of prepared data: resumable, and atomic as a whole.

All is written into ``1.0.0.partial``, which becomes ``1.0.0`` when everything is there. ``plan.json`` in it says what
is being prepared, so that only the same preparation continues. A shard has its name once it is finished; a shard that
has its name is not written again, unless one of its images has changed since.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rgcn_jax.data.keypoints import coverage
from rgcn_jax.data.prepared import fingerprints
from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.data.prepared.findings import SHOWN
from rgcn_jax.data.prepared.format import FORMAT, FORMAT_VERSION, INDEX, KEYPOINTS, MARKER, PARTIAL, VERSION, Shard
from rgcn_jax.data.prepared.plan import PLAN, Plan
from rgcn_jax.data.prepared.shard_task import FRAMES_PER_SHARD, BadFrame, ShardTask, cut
from rgcn_jax.data.prepared.shard_worker import work
from rgcn_jax.data.prepared.source import Source, SourceKeypoints
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.files import atomic_file, remove_unfinished
from rgcn_jax.runtime.handed_over import file_hash
from rgcn_jax.runtime.worker_pool import run_tasks

_LOCK = ".lock"
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
      InputError: another preparation is there, finished or not, images of a finished one have changed since, or the
        folder cannot be written.
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
        self.changed: list[str] = []
        """Images that changed after their shards were written, in an earlier call: those shards are written again."""
        self._source, self._keypoints, self._size = source, keypoints, (height, width)
        ranges = {name: cut(tracklets, frames_per_shard) for name, tracklets in source.subsets.items()}
        self._plan = Plan(source, keypoints, height, width, sum(map(len, ranges.values())))
        self._tasks = self._cut(ranges)
        self._resized = 0

    def __enter__(self) -> "Preparation":
        if self.finished:
            self._plan.compare(self.folder)
            self._refuse_changed()
            return self
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = (self._partial / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._clean()
            if (self._partial / PLAN).exists():
                self._plan.compare(self._partial)
                self._discard_changed()
            else:
                self._plan.write(self._partial)
        except BlockingIOError:
            raise InputError(f"{self._partial} is being prepared by another process: wait for it.") from None
        except OSError as error:
            raise self._write_error(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_lock"):
            self._clean()
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

    def _cut(self, ranges: Mapping[str, Sequence[range]]) -> dict[str, list[ShardTask]]:
        """The shards of each subset."""
        number, row, values, tasks = 0, 0, self._plan.keypoints, {}
        for subset, tracklets in self._source.subsets.items():
            tasks[subset] = []
            for i, positions in enumerate(ranges[subset]):
                name = prepared_format.shard_name(self._source.dataset, subset, i, len(ranges[subset]))
                numbered = tuple((number + k, tracklets[p]) for k, p in enumerate(positions))
                frames = sum(len(t.frames) for _, t in numbered)
                path, rows = self._partial / name, values[row : row + frames]
                tasks[subset].append(ShardTask(path, self._source.root, numbered, rows, *self._size))
                number, row = number + len(positions), row + frames
        return tasks

    def _discard_changed(self) -> None:
        """Remove finished shards whose images are others now, or of whose images nothing is known."""
        finished = [task for task in self._all if _is_finished(task)]
        for task in tqdm(finished, "compare with the images", disable=None, leave=False):
            assert task.path is not None
            before = fingerprints.load(task.path, task.frames)
            found = [] if before is None else [*fingerprints.changed(task.root, task.names, before)]
            if before is None or found:
                task.path.unlink()
            self.changed += found

    def _refuse_changed(self) -> None:
        found = []
        for task in tqdm(self._all, "compare with the images", disable=None, leave=False):
            assert task.path is not None
            before = fingerprints.load(self.folder / task.path.name, task.frames)
            found += fingerprints.changed(task.root, task.names, before) if before else []
        if found:
            raise InputError(
                f"{self.folder} is prepared already, but {len(found):,} of its images have changed since: "
                f"{listed(found, SHOWN)}. To prepare it from what is there now delete it and rerun the same command."
            )

    def _clean(self) -> None:
        """Remove what a killed preparation left unfinished."""
        for folder in (self._partial, self._partial / fingerprints.FOLDER):
            remove_unfinished(folder)

    def _finish(self) -> None:
        from rgcn_jax.data.prepared import tfds_format  # takes half a second, and belongs to an extra

        source, (height, width) = self._source, self._size
        files = {
            subset: [Shard(t.path.name, t.frames, t.path.stat().st_size) for t in tasks if t.path]
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
            "hashes": {name: file_hash(self._partial / name) for name in (INDEX, KEYPOINTS)},
            "shards": [asdict(shard) for shards in files.values() for shard in shards],
        }
        with atomic_file(self._partial / MARKER, "w") as file:
            file.write(json.dumps(marker, indent=1) + "\n")
        (self._partial / _LOCK).unlink()
        os.rename(self._partial, self.folder)

    def _unusable(self, bad: Sequence[BadFrame]) -> InputError:
        ordered = sorted(bad, key=lambda frame: frame.name)
        lines = "".join(f"\n  {self._source.root / frame.name} {frame.reason}" for frame in ordered)
        return InputError(
            f"{len(bad):,} frames cannot be used; restore them from the data set's archive and rerun the same "
            f"command to resume, what is finished is kept:{lines}"
        )

    def _write_error(self, error: OSError) -> InputError:
        """A system's error as a sentence."""
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
