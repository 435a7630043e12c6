"""Reader of clips from image files with tf.data: decode, crop, flip and erase in parallel in native code.

Python runs once per batch, to compute the plan and the locations of its frames. TensorFlow's threads read, decode and
copy the frames.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped

from rgcn_jax.data.clips import pixels
from rgcn_jax.data.clips.ahead import ReadAhead
from rgcn_jax.data.clips.reader import KeypointSource, planned_batch, planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.data.clips.tensorflow_cpu import tf
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.cores import usable_cores
from rgcn_jax.types import Batch


@runtime_checkable
class EncodedFrames(Protocol):
    """Source of the encoded frames of a plan."""

    def fetch(self, plan: BatchPlan) -> Shaped[np.ndarray, "b t"]:
        """Return what TensorFlow needs to read each frame: its path, or a record that contains it."""
        ...

    def encoded(self, fetched: tf.Tensor) -> tf.Tensor:
        """Return the encoded image of a fetched frame, by TensorFlow operations."""
        ...

    def name(self, frame: str) -> str:
        """Name of a frame for error messages."""
        ...


class LooseFiles:
    """Image files below a root, as ``EncodedFrames``."""

    def __init__(self, root: Path):
        self._root = root

    def fetch(self, plan: BatchPlan) -> Shaped[np.ndarray, "b t"]:
        """Return the paths; TensorFlow's threads read the files."""
        pairs, root = zip(plan.tracklets, plan.frames, strict=True), f"{self._root}{os.sep}"
        return np.array([[root + t.frames[p] for p in positions] for t, positions in pairs], object)

    def encoded(self, fetched: tf.Tensor) -> tf.Tensor:
        """Read the file."""
        return tf.io.read_file(fetched)

    def name(self, frame: str) -> str:
        """Path of the frame."""
        return str(self._root / frame)


class ClipReader:
    """A ``Reader`` of encoded frames; returns frames of size (height, width), uint8 RGB.

    A frame of another size is first resized as a whole (bilinear, antialiased when reduced). Then the plan's box is
    cropped and resized to the frame's size (bilinear), flipped and erased, in the same way for all frames of a clip.
    Batches do not depend on the number of threads.

    Args:
      frames: source of the encoded frames.
      keypoints: source of the keypoints.
      height: height of the returned frames in pixels.
      width: width of the returned frames in pixels.
      ahead: number of batches that a thread prefetches while the device computes.
      threads: number of TensorFlow threads per reader; 0: four per usable core (``usable_cores``), since threads that
        wait for a compiled loop are idle.

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

    def __call__(self, plans: Iterable[BatchPlan]) -> ReadAhead[Batch]:
        """Yield the batches of the plans, in order."""
        return ReadAhead(self._batches(iter(plans)), max(self._ahead - 1, 1), "clip-reader")

    def _batches(self, plans: Iterator[BatchPlan]) -> Generator[Batch, None, None]:
        first = next(plans, None)
        if first is None:
            return
        under_way: deque[tuple[BatchPlan, Float32[np.ndarray, "b t 14 3"]]] = deque()
        failures: list[Exception] = []

        def inputs() -> Iterator[dict[str, np.ndarray]]:
            try:
                for plan in itertools.chain([first], plans):
                    under_way.append((plan, planned_keypoints(plan, self._keypoints)))
                    yield {
                        "fetched": self._frames.fetch(plan),
                        "box": plan.box,
                        "flip": plan.flip,
                        "erase": plan.erase,
                    }
            except Exception as error:  # TensorFlow would pass on only its text
                failures.append(error)
                raise

        clips = self._clips(inputs, *first.frames.shape).as_numpy_iterator()
        while True:
            try:
                clip = next(clips, None)
                if clip is None:
                    return
                plan, keypoints = under_way[0]
                # TensorFlow's batch() takes three times as long, since it writes to newly allocated memory pages.
                frames = np.empty((len(plan.index), *clip.shape), np.uint8)
                frames[0] = clip
                for row in frames[1:]:
                    row[:] = next(clips)
            except tf.errors.OpError as error:
                raise (failures[0] if failures else self._unreadable(list(under_way)) or error) from error
            under_way.popleft()
            yield planned_batch(plan, frames, keypoints)

    def _clips(self, inputs: Callable[[], Iterator], clips: int, frames: int) -> tf.data.Dataset:
        """Data set of the frames of each clip in order, [t, h, w, 3]."""
        signature = {
            "fetched": tf.TensorSpec((clips, frames), tf.string),
            "box": tf.TensorSpec((clips, 4), tf.float32),
            "flip": tf.TensorSpec((clips,), tf.bool),
            "erase": tf.TensorSpec((clips, 4), tf.float32),
        }
        # The next plan is computed, and its records read, while TensorFlow's threads work on a batch.
        dataset = tf.data.Dataset.from_generator(inputs, output_signature=signature).prefetch(1).unbatch()
        threads = self._threads or 4 * usable_cores()
        dataset = dataset.map(self._read_clip, num_parallel_calls=threads, deterministic=True)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        return dataset.prefetch(clips).with_options(options)

    def _read_clip(self, clip: dict[str, tf.Tensor]) -> tf.Tensor:
        spec = tf.TensorSpec((*self._size, 3), tf.uint8)
        # Frames are read in sequence, since clips are already read in parallel.
        frames = tf.map_fn(self._read_frame, clip["fetched"], fn_output_signature=spec, parallel_iterations=1)
        return pixels.show(frames, clip["box"], clip["flip"], clip["erase"])

    def _read_frame(self, fetched: tf.Tensor) -> tf.Tensor:
        return pixels.fit(pixels.decode(self._frames.encoded(fetched)), *self._size)

    def _unreadable(self, under_way: Iterable[tuple[BatchPlan, object]]) -> InputError | None:
        """Return an error that names the undecodable images of the batches in progress; None if there are none."""
        bad: set[str] = set()
        for plan, _ in under_way:
            for clip, fetched in enumerate(self._frames.fetch(plan)):
                bad |= {
                    self._frames.name(plan.tracklets[clip].frames[position])
                    for position, frame in zip(plan.frames[clip], fetched, strict=True)
                    if not self._decodes(frame)
                }
        if not bad:
            return None
        return InputError(
            f"cannot decode the image {listed(sorted(bad), 1)}: it is missing, truncated or no image; restore it from "
            "the data set's archive."
        )

    def _decodes(self, fetched: str | bytes) -> bool:
        """Whether the pipeline can decode a frame. Other decoders accept truncated JPEG files."""
        try:
            pixels.decode(self._frames.encoded(tf.constant(fetched)))
        except tf.errors.OpError:
            return False
        return True
