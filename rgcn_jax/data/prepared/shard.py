"""Shards of prepared data as tasks of worker processes: frames are read, checked, resized if needed, and written.

TensorFlow is imported only in the worker processes, by ``work``.
"""

import hashlib
import io
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.datasets.images import read_encoded
from rgcn_jax.data.prepared.format import FORMAT_VERSION
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_path
from rgcn_jax.types import Tracklet

QUALITY = 95
"""JPEG quality of resized frames; chroma subsampling is 4:2:0."""

FRAMES_PER_SHARD = 8192
"""Minimum number of frames per shard except the last one, about 60 to 100 MB of crops of 256 x 128 pixels. If the
preparation is killed, the shards in progress are lost.
"""


@dataclass(frozen=True)
class ShardTask:
    """Tracklets with their numbers in the data set, the keypoints of their frames, and the file to write.

    Without a ``path``, the frames are only checked.
    """

    path: Path | None
    root: Path
    tracklets: tuple[tuple[int, Tracklet], ...]
    keypoints: Float32[np.ndarray, "n 14 3"]
    height: int
    width: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.keypoints)

    def key(self) -> str:
        """Content key of the shard: hash of settings, tracklets and keypoints, and of name, size and modification time
        of each image. Images are not read, so a copy with a new modification time counts as another image.
        """
        digest = hashlib.sha256(repr((FORMAT_VERSION, self.height, self.width)).encode())
        digest.update(self.keypoints.tobytes())
        for number, tracklet in self.tracklets:
            digest.update(repr((number, tracklet.person_id, tracklet.camera_id)).encode())
            for frame in tracklet.frames:
                try:
                    status = (self.root / frame).stat()
                    found = status.st_size, status.st_mtime_ns
                except OSError:  # reported on reading
                    found = None
                digest.update(repr((frame, found)).encode())
        return digest.hexdigest()[:32]


def cut(tracklets: Sequence[Tracklet], frames_per_shard: int) -> list[list[Tracklet]]:
    """Group consecutive tracklets. Each group has just enough of them to reach ``frames_per_shard``."""
    groups, frames = [], frames_per_shard
    for tracklet in tracklets:
        if frames >= frames_per_shard:
            groups.append([])
            frames = 0
        groups[-1].append(tracklet)
        frames += len(tracklet.frames)
    return groups


def work(task: ShardTask, advance: Callable[[], None]) -> dict[str, str]:
    """Call ``run`` for ``worker_pool.run_tasks``, with one TensorFlow thread."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # damaged images are reported by us
    return run(task, advance)


def run(task: ShardTask, advance: Callable[[], None]) -> dict[str, str]:
    """Write the shard of a task atomically, or only check its frames if the task has no path.

    Args:
      task: the task.
      advance: called after each frame.

    Returns:
      Unusable frames with the reason, the end of a sentence. A shard with unusable frames is not written.

    Raises:
      OSError: the shard cannot be written.
    """
    bad: dict[str, str] = {}
    rows = ((number, i, t) for number, t in task.tracklets for i in range(len(t.frames)))
    with _shard_file(task.path, bad) if task.path else nullcontext() as writer:
        for row, (number, position, tracklet) in enumerate(rows):
            name = tracklet.frames[position]
            try:
                encoded = _fitted(task, name)
            except InputError as error:
                bad[name] = str(error)
            else:
                if writer and not bad:
                    writer.write(_record(task, encoded, row, number, position, tracklet))
            advance()
    return bad


def _record(task: ShardTask, encoded: bytes, row: int, number: int, position: int, tracklet: Tracklet) -> bytes:
    """Serialize a record, deterministically."""
    from rgcn_jax.data.clips.tensorflow_cpu import tf
    from rgcn_jax.data.prepared import tfds_format

    features = tfds_format.features(task.height, task.width)
    fields = {
        "image": io.BytesIO(encoded),
        "keypoints": task.keypoints[row],
        "person_id": tracklet.person_id,
        "camera_id": tracklet.camera_id,
        "tracklet": number,
        "frame": position,
        "name": tracklet.frames[position],
    }
    record = features.serialize_example(features.encode_example(fields))
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def _fitted(task: ShardTask, name: str) -> bytes:
    """Encode the image at the task's size; an image of that size keeps its original bytes. Raises InputError."""
    from rgcn_jax.data.clips import pixels
    from rgcn_jax.data.clips.tensorflow_cpu import tf

    encoded = read_encoded(task.root / name)
    try:
        image = pixels.decode(encoded)
    except tf.errors.OpError as error:
        raise InputError("is truncated, or no JPEG or PNG image") from error
    if task.path is None or image.shape[:2] == (task.height, task.width):
        return encoded
    fitted = pixels.fit(image, task.height, task.width)
    return tf.io.encode_jpeg(fitted, quality=QUALITY, chroma_downsampling=True).numpy()


@contextmanager
def _shard_file(path: Path, bad: Collection[str]) -> Iterator[Any]:
    """ArrayRecord writer whose file is moved to ``path`` after flushing, unless there are ``bad`` frames."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = None
    try:
        with atomic_path(path) as part:
            # One record per chunk, for random access. Images are compressed already.
            writer = ArrayRecordWriter(str(part), "group_size:1,uncompressed")
            yield writer
            writer.close()
            if bad:
                part.unlink()
    except RuntimeError as error:  # ArrayRecord raises it for system errors
        raise OSError(str(error)) from error
    finally:
        with suppress(RuntimeError):
            if writer and writer.is_open():
                writer.close()
