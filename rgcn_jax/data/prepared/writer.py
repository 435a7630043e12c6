"""Writer of prepared data: resumable, atomic, with content-addressed shards.

Files are written into ``1.0.0.partial``, which is renamed to ``1.0.0`` when complete. Until then, the name of a shard
ends with its content key (``ShardTask.key``). An existing shard with the right name is not written again. Shards of
other images, keypoints or settings have other names and are not used.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from rgcn_jax.data.keypoints.coverage import report
from rgcn_jax.data.keypoints.table import KeypointTable
from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.data.prepared.format import (
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    KEYPOINTS,
    MARKER,
    PARTIAL,
    VERSION,
    Marker,
    Shard,
)
from rgcn_jax.data.prepared.opened import index_arrays
from rgcn_jax.data.prepared.shard import FRAMES_PER_SHARD, ShardTask, cut, work
from rgcn_jax.data.prepared.source import Source
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_file, remove_unfinished
from rgcn_jax.runtime.npz import write_arrays
from rgcn_jax.runtime.user_files import file_hash
from rgcn_jax.runtime.worker_pool import run_tasks
from rgcn_jax.types import Tracklet

_LOCK = ".lock"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Preparation:
    """Preparation of a data set; a context manager that locks the folder.

    Args:
      out: folder of prepared data sets.
      source: the data set.
      keypoints: keypoints of the tracklets, optionally without junk; None: appearance only.
      height: height of the prepared frames in pixels.
      width: width of the prepared frames in pixels.
      frames_per_shard: minimum number of frames per shard.

    Raises:
      InputError: the data set was already prepared from other images, keypoints or settings, another process is
        preparing it, or the folder cannot be written.
    """

    def __init__(
        self,
        out: Path,
        source: Source,
        keypoints: KeypointTable | None,
        height: int,
        width: int,
        frames_per_shard: int = FRAMES_PER_SHARD,
    ):
        below = out / prepared_format.builder_name(source.dataset)
        self.folder, self._partial = below / VERSION, below / PARTIAL
        self._source, self._keypoints, self._size = source, keypoints, (height, width)
        self._index = index_arrays(source.tracklets, source.splits)
        self._tasks = self._cut(frames_per_shard)
        self.finished = os.path.isfile(self.folder / MARKER)  # pathlib raises for overlong names

    def __enter__(self) -> "Preparation":
        if not self.finished:
            with self._write_errors():
                self._partial.mkdir(parents=True, exist_ok=True)
                self._lock = (self._partial / _LOCK).open("w")
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise InputError(f"{self._partial} is being prepared by another process: wait for it.") from None
                remove_unfinished(self._partial)
        elif prepared_format.read_marker(self.folder).source != self._hash():
            raise InputError(
                f"{self.folder} was prepared from something else: images, lists, keypoints or settings differ. Delete "
                "it and rerun the same command, or choose another --out."
            )
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_lock"):
            remove_unfinished(self._partial)
            self._lock.close()

    @property
    def unused(self) -> list[Path]:
        """Finished shards of other images, keypoints or settings, which are deleted on completion."""
        shards = self._partial.glob(f"[!.]*.{prepared_format.ARRAY_RECORD}-*")
        return [path for path in shards if path not in self._tasks]

    @property
    def missing(self) -> list[ShardTask]:
        """Tasks of the shards that are not written yet."""
        return [task for path, task in self._tasks.items() if not path.is_file()]

    def run(self, workers: int) -> list[str]:
        """Write the missing shards with a progress bar, then rename the folder.

        Returns:
          Lines for the terminal: what was prepared, and the coverage of the keypoints.

        Raises:
          InputError: frames are unusable (all are named), the disk is full, or a worker died. Finished shards are kept.
        """
        bad: dict[str, str] = {}
        missing = self.missing
        with self._write_errors():
            with tqdm(total=sum(task.frames for task in missing), desc="prepare", unit="frame", disable=None) as bar:
                for _, of_shard in run_tasks(work, missing, workers, bar.update):
                    bad |= of_shard
            if bad:
                lines = "".join(f"\n  {self._source.root / name} {bad[name]}" for name in sorted(bad))
                raise InputError(
                    f"{len(bad):,} frames cannot be used; restore them from the data set's archive and rerun the same "
                    f"command to resume, what is finished is kept:{lines}"
                )
            shards = self._finish()
        frames, size = sum(shard.frames for shard in shards), sum(shard.size for shard in shards)
        lines = [
            f"{self.folder}: {len(self._source.tracklets):,} tracklets, {frames:,} frames of {self._size[0]} x "
            f"{self._size[1]} pixels, {len(shards):,} shards, {size / 1e9:.2f} GB"
        ]
        if table := self._keypoints:
            lines.append("Share of the frames with so many of the 14 keypoints:")
            lines += report(table.coverage(t for t in self._source.tracklets if table.covers([t])))
        return lines

    def _cut(self, frames_per_shard: int) -> dict[Path, ShardTask]:
        """Tasks of all shards by path, in the order of their records."""
        tasks, number = {}, 0
        for subset, tracklets in self._source.subsets.items():
            parts = cut(tracklets, frames_per_shard)
            for i, part in enumerate(tqdm(parts, "compare with the images", disable=None, leave=False)):
                keypoints = np.concatenate([self._keypoints_of(tracklet) for tracklet in part])
                task = ShardTask(None, self._source.root, tuple(enumerate(part, number)), keypoints, *self._size)
                number += len(part)
                name = prepared_format.shard_name(self._source.dataset, subset, i, len(parts))
                path = self._partial / f"{name}.{task.key()}"
                tasks[path] = replace(task, path=path)
        return tasks

    def _keypoints_of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        if self._keypoints and self._keypoints.covers([tracklet]):
            return self._keypoints.of(tracklet)
        return np.zeros((len(tracklet.frames), 14, 3), np.float32)

    def _hash(self) -> str:
        """Hash of everything that determines the prepared data."""
        digest = hashlib.sha256("\n".join(path.name for path in self._tasks).encode())
        for name in sorted(self._index):
            digest.update(name.encode() + self._index[name].tobytes())
        digest.update(str(self._keypoints is not None).encode())
        return digest.hexdigest()

    def _finish(self) -> list[Shard]:
        from rgcn_jax.data.prepared import tfds_format  # takes half a second, and needs an extra

        source, keypoints, (height, width) = self._source, self._keypoints, self._size
        write_arrays(self._partial / INDEX, self._index, compressed=True)
        with atomic_file(self._partial / KEYPOINTS) as file:
            np.save(file, np.concatenate([task.keypoints for task in self._tasks.values()]))
        for path in self.unused:
            path.unlink()
        shards = [Shard(path.stem, task.frames, path.stat().st_size) for path, task in self._tasks.items()]
        description = f"{source.dataset}: frames of tracklets with 14 keypoints, ids and cameras. One record a frame."
        subsets = {name: [shard for shard in shards if f"-{name}." in shard.file] for name in source.subsets}
        tfds_format.write_metadata(self._partial, source.dataset, subsets, height, width, description)
        marker = Marker(
            format=FORMAT,
            version=FORMAT_VERSION,
            dataset=source.dataset,
            height=height,
            width=width,
            has_keypoints=keypoints is not None,
            junk_has_keypoints=keypoints is not None and keypoints.covers(source.junk),
            frame_size=source.splits[1].frame_size,
            partitions={str(number): split.split_description for number, split in source.splits.items()},
            source=self._hash(),
            hashes={name: file_hash(self._partial / name) for name in (INDEX, KEYPOINTS)},
            shards=shards,
        )
        with atomic_file(self._partial / MARKER, "w") as file:
            file.write(json.dumps(asdict(marker), indent=1) + "\n")
        (self._partial / _LOCK).unlink()
        for path in self._tasks:  # last, since shards without keys are not reused after a kill
            path.rename(path.with_name(path.stem))
        os.rename(self._partial, self.folder)
        return shards

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Convert an OSError of the block to InputError; for a full disk with the space still needed."""
        try:
            yield
        except OSError as error:
            text = error.strerror or str(error)
            if error.errno not in _NO_ROOM and not any(os.strerror(code) in str(error) for code in _NO_ROOM):
                raise InputError(f"{self._partial} cannot be written ({text}): choose another --out.") from error
            left = self.missing
            names = [task.root / t.frames[0] for task in left for _, t in task.tracklets]
            sizes = [path.stat().st_size for path in names[:: max(len(names) // 200, 1)] if path.is_file()]
            needed = sum(task.frames for task in left) * (sum(sizes) / max(len(sizes), 1) + 350)
            raise InputError(
                f"no room left in {self._partial} ({text}): about {needed / 1e9:.2f} GB are still to be written, "
                f"{shutil.disk_usage(self._partial).free / 1e9:.2f} GB are free on this disk; free as much as is "
                f"missing and rerun the same command to resume: the {len(self._tasks) - len(left)} of "
                f"{len(self._tasks)} shards that are finished are kept."
            ) from error
