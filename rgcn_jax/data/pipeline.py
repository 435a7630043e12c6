"""Reading clips with tf.data: decode, crop, flip and erase in parallel in native code.

Python runs once a batch (the plan, and where its frames are); frames are read, decoded and moved by TensorFlow's own
threads.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from rgcn_jax.data import pixels
from rgcn_jax.data.reader import KeypointSource, planned_keypoints
from rgcn_jax.data.sampling import BatchPlan
from rgcn_jax.data.tensorflow_cpu import tf
from rgcn_jax.types import Batch, InputError


@runtime_checkable
class EncodedFrames(Protocol):
    """Where the encoded frames of a plan come from."""

    def fetch(self, plan: BatchPlan) -> Shaped[np.ndarray, "b t"]:
        """What TensorFlow needs to get at each frame: its path, or a record that holds it."""
        ...

    def encoded(self, fetched: tf.Tensor) -> tf.Tensor:
        """The bytes of the image file, of what was fetched: TensorFlow operations."""
        ...

    def name(self, frame: str) -> str:
        """What an error message calls a frame of a tracklet."""
        ...


class LooseFiles:
    """Image files below a root: an ``EncodedFrames``."""

    def __init__(self, root: Path):
        self._root = root

    def fetch(self, plan: BatchPlan) -> Shaped[np.ndarray, "b t"]:
        """Paths; the files are read by TensorFlow's threads."""
        pairs = zip(plan.tracklets, plan.frames, strict=True)
        return np.array([[str(self._root / t.frames[p]) for p in positions] for t, positions in pairs], object)

    def encoded(self, fetched: tf.Tensor) -> tf.Tensor:
        """The file's contents."""
        return tf.io.read_file(fetched)

    def name(self, frame: str) -> str:
        """The path."""
        return str(self._root / frame)


class ClipReader:
    """A ``Reader`` of encoded frames; they come out at (height, width), uint8 RGB.

    A frame of another size is first resized whole (bilinear, antialiased where it shrinks); then the plan's box is
    cut out and resized back (bilinear), mirrored and erased, the same for all frames of a clip. Batches are the same
    for any number of threads.

    Args:
      frames: where the encoded frames come from.
      keypoints: where the keypoints come from.
      height: of the frames that come out, in pixels.
      width: likewise.
      ahead: batches that are finished in advance, while the device works on one.
      threads: of TensorFlow, for one reader; 0: as many as there are cores.

    Raises:
      InputError: an image cannot be read or decoded; the message names it.
    """

    def __init__(
        self,
        frames: EncodedFrames,
        keypoints: KeypointSource,
        height: int,
        width: int,
        ahead: int = 2,
        threads: int = 0,
    ):
        self._frames, self._keypoints, self._size = frames, keypoints, (height, width)
        self._ahead, self._threads = ahead, threads

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """The batches of the plans, in order."""
        plans = iter(plans)
        first = next(plans, None)
        if first is None:
            return
        under_way: list[BatchPlan] = []
        failures: list[Exception] = []

        def inputs() -> Iterator[dict[str, np.ndarray]]:
            try:
                for plan in itertools.chain([first], plans):
                    under_way.append(plan)
                    yield self._inputs(plan)
            except Exception as error:  # TensorFlow would hand on its text alone
                failures.append(error)
                raise

        iterator = self._dataset(inputs, *first.frames.shape).as_numpy_iterator()
        while True:
            try:
                batch = next(iterator, None)
            except tf.errors.OpError as error:
                raise (failures[0] if failures else self._unreadable(under_way) or error) from error
            if batch is None:
                return
            under_way.pop(0)
            yield Batch(**batch)  # pyright: ignore[reportCallIssue]

    def _inputs(self, plan: BatchPlan) -> dict[str, np.ndarray]:
        return {
            "fetched": self._frames.fetch(plan),
            "keypoints": planned_keypoints(plan, self._keypoints),
            "frame_mask": plan.frame_mask,
            "label": plan.label,
            "index": plan.index,
            "box": plan.box,
            "flip": plan.flip,
            "erase": plan.erase,
        }

    def _dataset(self, inputs: Callable[[], Iterator], clips: int, frames: int) -> tf.data.Dataset:
        signature = {
            "fetched": tf.TensorSpec((clips, frames), tf.string),
            "keypoints": tf.TensorSpec((clips, frames, 14, 3), tf.float32),
            "frame_mask": tf.TensorSpec((clips, frames), tf.bool),
            "label": tf.TensorSpec((clips,), tf.int32),
            "index": tf.TensorSpec((clips,), tf.int32),
            "box": tf.TensorSpec((clips, 4), tf.float32),
            "flip": tf.TensorSpec((clips,), tf.bool),
            "erase": tf.TensorSpec((clips, 4), tf.float32),
        }
        dataset = tf.data.Dataset.from_generator(inputs, output_signature=signature).unbatch()
        dataset = dataset.map(self._read_clip, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(clips, drop_remainder=True).prefetch(self._ahead)
        options = tf.data.Options()
        options.threading.private_threadpool_size = self._threads
        return dataset.with_options(options)

    def _read_clip(self, clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec((*self._size, 3), tf.uint8)
        frames = tf.map_fn(self._read_frame, clip["fetched"], fn_output_signature=spec)
        frames = pixels.show(frames, clip["box"], clip["flip"], clip["erase"])
        return {"frames": frames, **{name: clip[name] for name in ("keypoints", "frame_mask", "label", "index")}}

    def _read_frame(self, fetched: tf.Tensor) -> tf.Tensor:
        return pixels.fit(pixels.decode(self._frames.encoded(fetched)), *self._size)

    def _unreadable(self, under_way: list[BatchPlan]) -> InputError | None:
        """Names the images of the batches under way that cannot be decoded, if that is what went wrong."""
        bad: set[str] = set()
        for plan in under_way:
            for clip, fetched in enumerate(self._frames.fetch(plan)):
                bad |= {
                    self._frames.name(plan.tracklets[clip].frames[position])
                    for position, frame in zip(plan.frames[clip], fetched, strict=True)
                    if not self._decodes(frame)
                }
        if not bad:
            return None
        more = f" (and {len(bad) - 1} more near it)" if len(bad) > 1 else ""
        return InputError(
            f"cannot decode the image {min(bad)}{more}: it is missing, truncated or no image; restore it from the data "
            "set's archive."
        )

    def _decodes(self, fetched: str | bytes) -> bool:
        """Whether the pipeline can decode a frame; another decoder would pass truncated JPEG files."""
        try:
            pixels.decode(self._frames.encoded(tf.constant(fetched)))
        except tf.errors.OpError:
            return False
        return True


class FileReader(ClipReader):
    """A ``ClipReader`` of image files below ``root``."""

    def __init__(
        self, root: Path, keypoints: KeypointSource, height: int, width: int, ahead: int = 2, threads: int = 0
    ):
        super().__init__(LooseFiles(root), keypoints, height, width, ahead, threads)
