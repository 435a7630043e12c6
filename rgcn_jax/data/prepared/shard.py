"""Shards of prepared data as tasks of worker processes: frames are read, checked, resized if needed, and written.

TensorFlow is imported only in the worker processes, which are those of ``worker_pool`` or of Apache Beam.
"""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class ShardTask:
    """A shard to write to ``path``: consecutive tracklets, numbered from ``first``, and their keypoints."""

    path: Path
    root: Path
    first: int
    tracklets: Sequence[Tracklet]
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
        for number, tracklet in enumerate(self.tracklets, self.first):
            digest.update(repr((number, tracklet.person_id, tracklet.camera_id)).encode())
            for frame in tracklet.frames:
                try:
                    status = (self.root / frame).stat()
                    found = status.st_size, status.st_mtime_ns
                except OSError:  # reported on reading
                    found = None
                digest.update(repr((frame, found)).encode())
        return digest.hexdigest()[:32]


def check_frames(task: tuple[Path, Sequence[str]], advance: Callable[[], None]) -> dict[str, str]:
    """Decode the frames of a root, and return the unusable ones as ``write_shard`` does."""
    _set_environment()
    root, names = task
    bad: dict[str, str] = {}
    for name in names:
        try:
            _decoded(root / name)
        except InputError as error:
            bad[name] = str(error)
        advance()
    return bad


def write_shard(task: ShardTask, advance: Callable[[], None]) -> dict[str, str]:
    """Write a shard atomically, unless it has unusable frames; call ``advance`` after each frame.

    Returns unusable frames with the reason, the end of a sentence. Raises OSError if the shard cannot be written.
    """
    _set_environment()
    from array_record.python.array_record_module import ArrayRecordWriter

    bad: dict[str, str] = {}
    labels = (
        {"person_id": t.person_id, "camera_id": t.camera_id, "tracklet": number, "frame": i, "name": name}
        for number, t in enumerate(task.tracklets, task.first)
        for i, name in enumerate(t.frames)
    )
    # One record per chunk, for random access. Images are compressed already.
    options = "group_size:1,uncompressed"
    try:
        with atomic_path(task.path) as part, closing(ArrayRecordWriter(str(part), options)) as writer:
            for keypoints, fields in zip(task.keypoints, labels, strict=True):
                name = fields["name"]
                try:
                    image = _fitted(task.root / name, task.height, task.width)
                except InputError as error:
                    bad[name] = str(error)
                    part.unlink(missing_ok=True)
                else:
                    if not bad:
                        fields |= {"image": io.BytesIO(image), "keypoints": keypoints}
                        writer.write(_record(fields, task.height, task.width))
                advance()
    except RuntimeError as error:  # ArrayRecord raises it for system errors
        raise OSError(str(error)) from error
    return bad


def write_by_beam(tasks: Sequence[ShardTask], options: str) -> None:
    """Write shards by an Apache Beam pipeline, on many machines with a shared file system.

    An element is a shard, so runners may retry it. Shards with unusable frames are skipped. The extra ``beam`` must be
    installed here and on the workers. ``options``: pipeline options, NAME=VALUE separated by commas, as for ``tfds
    build --beam_pipeline_options``: ``runner=FlinkRunner,flink_master=HOST:8081``.

    Raises:
      InputError: Apache Beam is not installed, rejects the options, or the pipeline failed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(f"--beam needs the extra beam ({error}): pip install 'rgcn_jax[beam]'.") from error
    if not tasks:
        return
    absolute = [replace(task, path=task.path.resolve(), root=task.root.resolve()) for task in tasks]
    try:
        settings = PipelineOptions([f"--{option}" for option in options.split(",")])
        with beam.Pipeline(options=settings) as pipeline:
            _ = pipeline | beam.Create(absolute) | beam.Reshuffle() | beam.Map(_write_once)
    except Exception as error:  # the class depends on the runner
        what = " ".join(str(error).split())[:300]
        raise InputError(
            f"the pipeline of --beam={options} failed ({what}); what is finished is kept, rerun the same command to "
            "resume."
        ) from error


def _write_once(task: ShardTask) -> None:
    if not task.path.is_file():
        write_shard(task, lambda: None)


def _set_environment() -> None:
    """One TensorFlow thread per process."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", OMP_NUM_THREADS="1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # damaged images are reported by us


def _record(fields: dict[str, Any], height: int, width: int) -> bytes:
    """Serialize a record, deterministically."""
    from rgcn_jax.data.clips.tensorflow_cpu import tf
    from rgcn_jax.data.prepared import tfds_builders

    features = tfds_builders.features(height, width)
    record = features.serialize_example(features.encode_example(fields))
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def _decoded(path: Path) -> tuple[bytes, Any]:
    """Read an image file, encoded and decoded by TensorFlow. Raises InputError."""
    from rgcn_jax.data.clips import pixels
    from rgcn_jax.data.clips.tensorflow_cpu import tf

    encoded = read_encoded(path)
    try:
        return encoded, pixels.decode(encoded)
    except tf.errors.OpError as error:
        raise InputError("is truncated, or no JPEG or PNG image") from error


def _fitted(path: Path, height: int, width: int) -> bytes:
    """Encode the image at this size; an image of that size keeps its original bytes. Raises InputError."""
    from rgcn_jax.data.clips import pixels
    from rgcn_jax.data.clips.tensorflow_cpu import tf

    encoded, image = _decoded(path)
    if image.shape[:2] == (height, width):
        return encoded
    fitted = pixels.fit(image, height, width)
    return tf.io.encode_jpeg(fitted, quality=QUALITY, chroma_downsampling=True).numpy()
