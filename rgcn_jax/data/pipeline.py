"""Reading clips of image files with tf.data: decode, crop, flip and erase in parallel in native code.

The only module that imports TensorFlow. Python runs once a batch (the plan); frames are read, decoded and moved by
TensorFlow's own threads. TensorFlow sees no accelerator here: JAX owns it.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from rgcn_jax.data.augment import ERASED_RGB
from rgcn_jax.data.reader import KeypointSource, planned_keypoints
from rgcn_jax.data.sampling import BatchPlan
from rgcn_jax.types import Batch, InputError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # nothing here uses it, and it announces itself at every start
try:
    import tensorflow as tf
except ImportError as error:
    raise InputError(
        "Reading a data set from disk needs TensorFlow, which is not installed: pip install 'rgcn_jax[data]' "
        "(from a checkout: pip install -e '.[data]')."
    ) from error

tf.config.set_visible_devices([], "GPU")


class FileReader:
    """A ``Reader`` of image files below ``root``; frames come out at (height, width), uint8 RGB.

    A frame of another size is first resized whole (bilinear, antialiased where it shrinks); then the plan's box is
    cut out and resized back (bilinear), mirrored and erased, the same for all frames of a clip. Batches are the same
    for any number of workers.

    Raises:
      InputError: a file cannot be read or decoded; the message names it.
    """

    def __init__(self, root: Path, keypoints: KeypointSource, height: int, width: int, ahead: int = 2):
        self._root, self._keypoints, self._size, self._ahead = root, keypoints, (height, width), ahead

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """The batches of the plans, in order."""
        plans = iter(plans)
        first = next(plans, None)
        if first is None:
            return
        under_way: list[list[str]] = []
        failures: list[Exception] = []

        def inputs() -> Iterator[dict[str, np.ndarray]]:
            try:
                yield from planned()
            except Exception as error:  # TensorFlow would hand on its text alone
                failures.append(error)
                raise

        def planned() -> Iterator[dict[str, np.ndarray]]:
            for plan in itertools.chain([first], plans):
                pairs = zip(plan.tracklets, plan.frames, strict=True)
                paths = [[str(self._root / t.frames[p]) for p in positions] for t, positions in pairs]
                under_way.append([path for clip in paths for path in clip])
                yield {
                    "paths": np.array(paths, object),
                    "keypoints": planned_keypoints(plan, self._keypoints),
                    "frame_mask": plan.frame_mask,
                    "label": plan.label,
                    "index": plan.index,
                    "box": plan.box,
                    "flip": plan.flip,
                    "erase": plan.erase,
                }

        signature = {
            "paths": tf.TensorSpec((None, None), tf.string),
            "keypoints": tf.TensorSpec((None, None, 14, 3), tf.float32),
            "frame_mask": tf.TensorSpec((None, None), tf.bool),
            "label": tf.TensorSpec((None,), tf.int32),
            "index": tf.TensorSpec((None,), tf.int32),
            "box": tf.TensorSpec((None, 4), tf.float32),
            "flip": tf.TensorSpec((None,), tf.bool),
            "erase": tf.TensorSpec((None, 4), tf.float32),
        }
        clips = tf.data.Dataset.from_generator(inputs, output_signature=signature).unbatch()
        clips = clips.map(self._read_clip, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        iterator = clips.batch(len(first.index)).prefetch(self._ahead).as_numpy_iterator()
        while True:
            try:
                batch = next(iterator, None)
            except tf.errors.OpError as error:
                raise (failures[0] if failures else _unreadable(under_way) or error) from error
            if batch is None:
                return
            under_way.pop(0)
            yield Batch(**batch)  # pyright: ignore[reportCallIssue]

    def _read_clip(self, clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        box, flip, erase = clip["box"], clip["flip"], clip["erase"]
        pixels = tf.TensorSpec((*self._size, 3), tf.uint8)
        frames = tf.map_fn(self._read_frame, clip["paths"], fn_output_signature=pixels)
        whole = tf.reduce_all(box == (0.0, 0.0, 1.0, 1.0))
        frames = tf.cond(whole, lambda: frames, lambda: self._cut(frames, box))
        frames = tf.cond(flip, lambda: tf.reverse(frames, [2]), lambda: frames)
        frames = tf.cond(erase[2] > erase[0], lambda: self._erased(frames, erase), lambda: frames)
        return {"frames": frames, **{name: clip[name] for name in ("keypoints", "frame_mask", "label", "index")}}

    def _read_frame(self, path: tf.Tensor) -> tf.Tensor:
        image = _decode(path)
        image.set_shape((None, None, 3))
        same = tf.reduce_all(tf.shape(image)[:2] == self._size)
        return tf.cond(same, lambda: image, lambda: _uint8(tf.image.resize(image, self._size, antialias=True)))

    def _cut(self, frames: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        height, width = self._size
        extent = tf.stack([box[3] - box[1], box[2] - box[0]])
        corner = tf.stack([box[1] * height, box[0] * width])
        moved = tf.raw_ops.ScaleAndTranslate(
            images=tf.cast(frames, tf.float32),
            size=self._size,
            scale=1.0 / extent,
            translation=-corner / extent,
            kernel_type="triangle",
            antialias=False,
        )
        return _uint8(moved)

    def _erased(self, frames: tf.Tensor, erase: tf.Tensor) -> tf.Tensor:
        height, width = self._size
        edges = tf.cast(tf.round(erase * (width, height, width, height)), tf.int32)
        rows, columns = tf.range(height)[:, None], tf.range(width)[None, :]
        inside = (columns >= edges[0]) & (columns < edges[2]) & (rows >= edges[1]) & (rows < edges[3])
        return tf.where(inside[None, :, :, None], tf.constant(ERASED_RGB, tf.uint8), frames)


def _decode(path: tf.Tensor | str) -> tf.Tensor:
    return tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)


def _uint8(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)


def _unreadable(under_way: list[list[str]]) -> InputError | None:
    """Names the files of the batches under way that cannot be decoded, if that is what went wrong."""
    paths = sorted({path for batch in under_way for path in batch})
    bad = [path for path in paths if not _decodes(path)]
    if not bad:
        return None
    more = f" (and {len(bad) - 1} more near it)" if len(bad) > 1 else ""
    return InputError(
        f"cannot decode the image {bad[0]}{more}: it is missing, truncated or no image; restore it from the data set's "
        "archive."
    )


def _decodes(path: str) -> bool:
    """Whether the pipeline can decode a file; another decoder would pass truncated JPEG files."""
    try:
        _decode(path)
    except tf.errors.OpError:
        return False
    return True
