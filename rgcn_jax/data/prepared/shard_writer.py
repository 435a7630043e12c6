"""Writer of one shard of prepared data: frames are read, checked, resized where needed, and written as records.

Runs in the worker processes of the preparation.
"""

import io
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from rgcn_jax.data.clips import pixels
from rgcn_jax.data.clips.tensorflow_cpu import tf
from rgcn_jax.data.datasets.images import LARGEST_IMAGE, check_size
from rgcn_jax.data.prepared import tfds_format
from rgcn_jax.data.prepared.shard_task import ShardResult, ShardTask
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_path
from rgcn_jax.runtime.handed_over import read_file
from rgcn_jax.types import Tracklet

QUALITY = 95
"""JPEG quality of a frame that had another size, colours at half the resolution (4:2:0), as cameras write them."""


def run(task: ShardTask, advance: Callable[[], None]) -> ShardResult:
    """Writes the shard of a task atomically; or, of a task without a path, only checks its frames.

    Args:
      task: what to do.
      advance: is called after each frame.

    Returns:
      How it went. Frames that cannot be decoded are collected, and a shard with one is not written.

    Raises:
      OSError: the shard cannot be written.
    """
    bad: dict[str, str] = {}
    resized = 0
    rows = ((number, i, t) for number, t in task.tracklets for i in range(len(t.frames)))
    with _shard_file(task.path, bad) if task.path else nullcontext() as writer:
        for row, (number, position, tracklet) in enumerate(rows):
            name = tracklet.frames[position]
            try:
                encoded, other_size = _fitted(task, _contents(task.root / name))
            except InputError as error:
                bad[name] = str(error)
            else:
                resized += other_size
                if writer and not bad:
                    writer.write(_record(task, encoded, row, number, position, tracklet))
            advance()
    return ShardResult(bad, resized)


def _record(task: ShardTask, encoded: bytes, row: int, number: int, position: int, tracklet: Tracklet) -> bytes:
    """A record, of the same bytes whenever it is written."""
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


def _contents(path: Path) -> bytes:
    """The bytes of an image file. Raises InputError."""
    try:
        encoded = read_file(path, LARGEST_IMAGE)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if not encoded:
        raise InputError("is empty")
    return encoded


def _fitted(task: ShardTask, encoded: bytes) -> tuple[bytes, int]:
    """An image at the task's size, and whether it had another; its own bytes if not. Raises InputError."""
    check_size(encoded)
    try:
        image = pixels.decode(encoded)
    except tf.errors.OpError as error:
        raise InputError("is truncated, or no JPEG or PNG image") from error
    if image.shape[:2] == (task.height, task.width):
        return encoded, 0
    if task.path is None:
        return b"", 1
    fitted = pixels.fit(image, task.height, task.width)
    return tf.io.encode_jpeg(fitted, quality=QUALITY, chroma_downsampling=True).numpy(), 1


@contextmanager
def _shard_file(path: Path, bad: Collection[str]) -> Iterator[Any]:
    """An ArrayRecord writer whose file appears at ``path`` once it is on the disk, if nothing is ``bad`` then."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = None
    try:
        with atomic_path(path) as part:
            # One record a chunk, to be read by itself. Compressing images again gains nothing.
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
