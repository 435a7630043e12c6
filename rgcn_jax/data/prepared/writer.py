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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rgcn_jax.data.clips.reader import NoKeypoints
from rgcn_jax.data.keypoints.coverage import report
from rgcn_jax.data.keypoints.table import KeypointTable
from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.data.prepared.format import INDEX, KEYPOINTS, MARKER, Marker, Shard
from rgcn_jax.data.prepared.reader import index_arrays
from rgcn_jax.data.prepared.shard import ShardTask, write_by_beam, write_shard
from rgcn_jax.data.prepared.source import Source
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_file, remove_unfinished
from rgcn_jax.runtime.npz import write_arrays
from rgcn_jax.runtime.user_files import file_hash
from rgcn_jax.runtime.worker_pool import run_tasks
from rgcn_jax.types import Tracklet

FRAMES_PER_SHARD = 8192
"""Minimum number of frames per shard except the last one, about 60 to 100 MB of crops of 256 x 128 pixels. If the
preparation is killed, the shards in progress are lost.
"""

_LOCK = ".lock"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def prepare(
    out: Path,
    source: Source,
    keypoints: KeypointTable | None,
    size: tuple[int, int],
    frames_per_shard: int,
    workers: int,
    beam: str | None,
    say: Callable[[str], None],
) -> str:
    """Prepare a data set, or resume its preparation.

    Args:
      out: folder of prepared data sets.
      source: the data set.
      keypoints: keypoints of the tracklets, optionally without junk; None: appearance only.
      size: height and width of the prepared frames in pixels.
      frames_per_shard: minimum number of frames per shard.
      workers: number of processes.
      beam: options of an Apache Beam pipeline that writes the shards first (``write_by_beam``).
      say: prints a line: what was resumed or prepared, and the coverage of the keypoints.

    Returns:
      A clause: the folder, and whether it was already prepared.

    Raises:
      InputError: the data set was already prepared from other images, keypoints or settings, another process is
        preparing it, frames are unusable (all are named), the disk is full, or a worker died. Finished shards are kept.
    """
    below = out / prepared_format.builder_name(source.dataset)
    folder, partial = below / prepared_format.VERSION, below / prepared_format.PARTIAL
    tasks = list(_tasks(partial, source, keypoints, size, frames_per_shard))
    index = index_arrays(source.tracklets, source.splits)
    marker = Marker(
        format=prepared_format.FORMAT,
        version=prepared_format.FORMAT_VERSION,
        dataset=source.dataset,
        height=size[0],
        width=size[1],
        has_keypoints=keypoints is not None,
        junk_has_keypoints=keypoints is not None and keypoints.covers(source.junk),
        frame_size=source.splits[1].frame_size,
        partitions={str(number): split.split_description for number, split in source.splits.items()},
        source=_content_hash(tasks, index, keypoints is not None),
        hashes={},
        shards=[],
    )
    if os.path.isfile(folder / MARKER):  # pathlib raises for overlong names
        if prepared_format.read_marker(folder).source != marker.source:
            raise InputError(
                f"{folder} was prepared from something else: images, lists, keypoints or settings differ. Delete it "
                "and rerun the same command, or choose another --out."
            )
        return f"{folder} is already prepared"
    with _locked(partial, tasks):
        if unused := _unused(partial, tasks):
            say(
                f"remark: {len(unused):,} finished shards are not used, since their images or keypoints have changed, "
                "or they were prepared with other settings"
            )
        if beam:
            missing = _missing(tasks)
            write_by_beam(missing, beam)
            say(f"the pipeline wrote {len(missing) - len(_missing(tasks)):,} of {len(missing):,} shards")
        with _write_errors(partial, tasks):
            _write(source.root, _missing(tasks), workers)
            shards = _finish(partial, marker, tasks, index)
            os.rename(partial, folder)
    frames, written = sum(shard.frames for shard in shards), sum(shard.size for shard in shards)
    say(
        f"{folder}: {len(source.tracklets):,} tracklets, {frames:,} frames of {size[0]} x {size[1]} pixels, "
        f"{len(shards):,} shards, {written / 1e9:.2f} GB"
    )
    if keypoints:
        say("Share of the frames with so many of the 14 keypoints:")
        for line in report(keypoints.coverage(t for t in source.tracklets if keypoints.covers([t]))):
            say(line)
    return f"prepared: {folder}"


def _tasks(
    folder: Path, source: Source, table: KeypointTable | None, size: tuple[int, int], frames_per_shard: int
) -> Iterator[ShardTask]:
    """All shards, in the order of their records."""
    first, nothing = 0, NoKeypoints()
    for subset, tracklets in source.subsets.items():
        parts = _groups(tracklets, frames_per_shard)
        for i, part in enumerate(tqdm(parts, "compare with the images", disable=None, leave=False)):
            keypoints = [(table if table and table.covers([t]) else nothing).of(t) for t in part]
            builder = prepared_format.builder_name(source.dataset)
            path = folder / f"{builder}-{subset}.{prepared_format.ARRAY_RECORD}-{i:05}-of-{len(parts):05}"
            task = ShardTask(path, source.root, first, part, np.concatenate(keypoints), *size)
            first += len(part)
            yield replace(task, path=path.with_name(f"{path.name}.{task.key()}"))


def _groups(tracklets: Sequence[Tracklet], frames_per_shard: int) -> list[list[Tracklet]]:
    """Group consecutive tracklets. Each group has just enough of them to reach ``frames_per_shard``."""
    groups, frames = [], frames_per_shard
    for tracklet in tracklets:
        if frames >= frames_per_shard:
            groups.append([])
            frames = 0
        groups[-1].append(tracklet)
        frames += len(tracklet.frames)
    return groups


def _content_hash(tasks: Sequence[ShardTask], index: Mapping[str, np.ndarray], has_keypoints: bool) -> str:
    """Hash of everything that determines the prepared data."""
    digest = hashlib.sha256("\n".join(task.path.name for task in tasks).encode())
    for name in sorted(index):
        digest.update(name.encode() + index[name].tobytes())
    digest.update(str(has_keypoints).encode())
    return digest.hexdigest()


def _missing(tasks: Sequence[ShardTask]) -> list[ShardTask]:
    return [task for task in tasks if not task.path.is_file()]


def _unused(folder: Path, tasks: Sequence[ShardTask]) -> list[Path]:
    """Finished shards of other images, keypoints or settings."""
    used = {task.path for task in tasks}
    return [path for path in folder.glob(f"[!.]*.{prepared_format.ARRAY_RECORD}-*") if path not in used]


def _write(root: Path, missing: Sequence[ShardTask], workers: int) -> None:
    """Write shards with a progress bar. Raises InputError that names all unusable frames."""
    bad: dict[str, str] = {}
    with tqdm(total=sum(task.frames for task in missing), desc="prepare", unit="frame", disable=None) as bar:
        for _, of_shard in run_tasks(write_shard, missing, workers, bar.update):
            bad |= of_shard
    if bad:
        lines = "".join(f"\n  {root / name} {bad[name]}" for name in sorted(bad))
        raise InputError(
            f"{len(bad):,} frames cannot be used; restore them from the data set's archive and rerun the same command "
            f"to resume, what is finished is kept:{lines}"
        )


def _finish(folder: Path, marker: Marker, tasks: Sequence[ShardTask], index: Mapping[str, np.ndarray]) -> list[Shard]:
    """Write all other files, remove unused shards, and give the shards their final names."""
    from rgcn_jax.data.prepared import tfds_builders  # takes half a second, and needs an extra

    write_arrays(folder / INDEX, index, compressed=True)
    with atomic_file(folder / KEYPOINTS) as file:
        np.save(file, np.concatenate([task.keypoints for task in tasks]))
    for path in _unused(folder, tasks):
        path.unlink()
    shards = [Shard(task.path.stem, task.frames, task.path.stat().st_size) for task in tasks]
    tfds_builders.write_metadata(folder, marker.dataset, shards, marker.height, marker.width)
    hashes = {name: file_hash(folder / name) for name in (INDEX, KEYPOINTS)}
    marker = replace(marker, hashes=hashes, shards=shards)
    with atomic_file(folder / MARKER, "w") as file:
        file.write(json.dumps(asdict(marker), indent=1) + "\n")
    (folder / _LOCK).unlink()
    for task in tasks:  # last, since shards without keys are not reused after a kill
        task.path.rename(task.path.with_name(task.path.stem))
    return shards


@contextmanager
def _locked(folder: Path, tasks: Sequence[ShardTask]) -> Iterator[None]:
    """Create and lock the folder. Raises InputError if another process has locked it."""
    with ExitStack() as stack:
        with _write_errors(folder, tasks):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{folder} is being prepared by another process: wait for it.") from None
            remove_unfinished(folder)
        yield


@contextmanager
def _write_errors(folder: Path, tasks: Sequence[ShardTask]) -> Iterator[None]:
    """Convert an OSError of the block to InputError; for a full disk with the space still needed."""
    try:
        yield
    except OSError as error:
        text = error.strerror or str(error)
        if error.errno not in _NO_ROOM and not any(os.strerror(code) in str(error) for code in _NO_ROOM):
            raise InputError(f"{folder} cannot be written ({text}): choose another --out.") from error
        left = _missing(tasks)
        firsts = [task.root / tracklet.frames[0] for task in left for tracklet in task.tracklets]
        sizes = [path.stat().st_size for path in firsts if path.is_file()]
        needed = sum(task.frames for task in left) * (sum(sizes) / max(len(sizes), 1) + 350)
        raise InputError(
            f"no room left in {folder} ({text}): about {needed / 1e9:.2f} GB are still to be written, "
            f"{shutil.disk_usage(folder).free / 1e9:.2f} GB are free on this disk; free as much as is missing and "
            f"rerun the same command to resume: the {len(tasks) - len(left)} of {len(tasks)} shards that are finished "
            "are kept."
        ) from error
