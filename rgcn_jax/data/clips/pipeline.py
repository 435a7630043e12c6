"""Reader of clips from image files with tf.data: decode, crop, flip and erase in parallel in native code.

Python runs once a batch (the plan, and where its frames are); frames are read, decoded and moved by TensorFlow's own
threads.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped

from rgcn_jax.data.clips import pixels
from rgcn_jax.data.clips.ahead import ReadAhead
from rgcn_jax.data.clips.reader import KeypointSource, planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.data.clips.tensorflow_cpu import tf
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.cores import usable_cores
from rgcn_jax.types import Batch


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
        pairs, root = zip(plan.tracklets, plan.frames, strict=True), f"{self._root}{os.sep}"
        return np.array([[root + t.frames[p] for p in positions] for t, positions in pairs], object)

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
      width: of the frames, in pixels.
      ahead: batches that are finished in advance, while the device works on one; a thread assembles them.
      threads: of TensorFlow, for one reader; 0: four for each core that may be used (``usable_cores``), for those
        that wait for a compiled loop do not work.

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
        """The batches of the plans, in order."""
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
            except Exception as error:  # TensorFlow would hand on its text alone
                failures.append(error)
                raise

        clips = self._clips(inputs, *first.frames.shape).as_numpy_iterator()
        while True:
            try:
                clip = next(clips, None)
                if clip is None:
                    return
                plan, keypoints = under_way[0]
                # TensorFlow's batch() would do this at three times the cost: its memory is new page by page.
                frames = np.empty((len(plan.index), *clip.shape), np.uint8)
                frames[0] = clip
                for row in frames[1:]:
                    row[:] = next(clips)
            except tf.errors.OpError as error:
                raise (failures[0] if failures else self._unreadable(list(under_way)) or error) from error
            under_way.popleft()
            yield Batch(
                frames=frames,
                keypoints=keypoints,
                frame_mask=plan.frame_mask,
                label=plan.label,
                index=plan.index,
            )

    def _clips(self, inputs: Callable[[], Iterator], clips: int, frames: int) -> tf.data.Dataset:
        """The frames of clip after clip, [t, h, w, 3]."""
        signature = {
            "fetched": tf.TensorSpec((clips, frames), tf.string),
            "box": tf.TensorSpec((clips, 4), tf.float32),
            "flip": tf.TensorSpec((clips,), tf.bool),
            "erase": tf.TensorSpec((clips, 4), tf.float32),
        }
        # The next plan is made, and its records read, while TensorFlow's threads work on a batch.
        dataset = tf.data.Dataset.from_generator(inputs, output_signature=signature).prefetch(1).unbatch()
        threads = self._threads or 4 * usable_cores()
        dataset = dataset.map(self._read_clip, num_parallel_calls=threads, deterministic=True)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        return dataset.prefetch(clips).with_options(options)

    def _read_clip(self, clip: dict[str, tf.Tensor]) -> tf.Tensor:
        spec = tf.TensorSpec((*self._size, 3), tf.uint8)
        # One frame after another: it is the clips that are read in parallel.
        frames = tf.map_fn(self._read_frame, clip["fetched"], fn_output_signature=spec, parallel_iterations=1)
        return pixels.show(frames, clip["box"], clip["flip"], clip["erase"])

    def _read_frame(self, fetched: tf.Tensor) -> tf.Tensor:
        return pixels.fit(pixels.decode(self._frames.encoded(fetched)), *self._size)

    def _unreadable(self, under_way: Iterable[tuple[BatchPlan, object]]) -> InputError | None:
        """Names the images of the batches under way that cannot be decoded, if that is what went wrong."""
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
        """Whether the pipeline can decode a frame; another decoder would pass truncated JPEG files."""
        try:
            pixels.decode(self._frames.encoded(tf.constant(fetched)))
        except tf.errors.OpError:
            return False
        return True


class FileReader(ClipReader):
    """A ``ClipReader`` of image files below ``root``; ``options`` are its last ones."""

    def __init__(self, root: Path, keypoints: KeypointSource, height: int, width: int, **options: Any):
        super().__init__(LooseFiles(root), keypoints, height, width, **options)
