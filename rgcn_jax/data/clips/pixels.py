"""Decoding, resizing and augmentation of frames as TensorFlow operations.

Used for loose files, prepared data and the preparation itself, so that decoding and rounding are identical.
"""

from rgcn_jax.data.clips.augment import ERASED_RGB
from rgcn_jax.data.clips.tensorflow_cpu import tf


def decode(encoded: tf.Tensor | bytes) -> tf.Tensor:
    """Decode a JPEG or PNG file to uint8 RGB pixels [h, w, 3]; grey images get three equal channels.

    JPEG is decoded like ``tf.io.decode_jpeg`` with default settings (fast integer transform). Raises tf.errors.OpError
    for incomplete images, unlike decoders that fill the missing part of a truncated JPEG with grey.
    """
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def fit(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resize a frame [h, w, 3] uint8 (bilinear, antialiased when reduced); unchanged if it has that size."""
    image.set_shape((None, None, 3))
    fits = tf.reduce_all(tf.shape(image)[:2] == (height, width))
    return tf.cond(fits, lambda: image, lambda: _uint8(tf.image.resize(image, (height, width), antialias=True)))


def show(frames: tf.Tensor, box: tf.Tensor, flip: tf.Tensor, erase: tf.Tensor) -> tf.Tensor:
    """Crop, flip and erase the frames of a clip [t, h, w, 3] uint8 (see ``BatchPlan``).

    The box is resampled to the frame's size (bilinear). Box, flip and rectangle are the same for all frames.
    """
    whole = tf.reduce_all(box == (0.0, 0.0, 1.0, 1.0))
    shown = tf.cond(
        whole,
        lambda: tf.cond(flip, lambda: _mirrored(frames), lambda: frames),
        lambda: _sampled(frames, box, flip),
    )
    return tf.cond(erase[2] > erase[0], lambda: _erased(shown, erase), lambda: shown)


# These are compiled to loops over the pixels. Separate TensorFlow operations (ScaleAndTranslate, reverse, where) take
# four to ten times as long, together longer than decoding.
@tf.function(jit_compile=True, autograph=False)
def _mirrored(frames: tf.Tensor) -> tf.Tensor:
    return tf.reverse(frames, [2])


@tf.function(jit_compile=True, autograph=False)
def _sampled(frames: tf.Tensor, box: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """Bilinear sampling along columns, then rows, one frame at a time to stay in the processor's cache."""
    height, width = _size(frames)
    left, right, of_right = _neighbours(box[0], box[2], width, flip)
    above, below, of_below = _neighbours(box[1], box[3], height, tf.constant(False))

    def sampled(frame: tf.Tensor) -> tf.Tensor:
        a, b = (tf.cast(tf.gather(frame, at, axis=1), tf.float32) for at in (left, right))
        rows = a + (b - a) * of_right[:, None]
        a, b = (tf.gather(rows, at, axis=0) for at in (above, below))
        return _nearest(a + (b - a) * of_below[:, None, None])

    return tf.map_fn(sampled, frames)


def _neighbours(first: tf.Tensor, last: tf.Tensor, size: int, mirror: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Sampling positions of ``size`` pixels from ``first`` to ``last`` along an axis: pixel before, pixel after, and
    weight of the latter. Pixels are sampled at their centres; the border is replicated.
    """
    centre = tf.range(size, dtype=tf.float32) + 0.5
    centre = tf.where(mirror, size - centre, centre)
    at = tf.clip_by_value(first * size + centre * (last - first) - 0.5, 0.0, size - 1.0)
    before = tf.floor(at)
    index = tf.cast(before, tf.int32)
    return index, tf.minimum(index + 1, size - 1), at - before


@tf.function(jit_compile=True, autograph=False)
def _erased(frames: tf.Tensor, erase: tf.Tensor) -> tf.Tensor:
    height, width = _size(frames)
    edges = tf.cast(tf.round(erase * (width, height, width, height)), tf.int32)
    rows, columns = tf.range(height)[:, None], tf.range(width)[None, :]
    inside = (columns >= edges[0]) & (columns < edges[2]) & (rows >= edges[1]) & (rows < edges[3])
    return tf.where(inside[None, :, :, None], tf.constant(ERASED_RGB, tf.uint8), frames)


def _size(frames: tf.Tensor) -> tuple[int, int]:
    """Static height and width."""
    return frames.shape[1], frames.shape[2]  # pyright: ignore[reportReturnType]


def _nearest(pixels: tf.Tensor) -> tf.Tensor:
    """Compute ``_uint8`` of float32 numbers from 0 to 255 at half the cost. In 2^23 + x the last bit is 1, so the
    addition rounds (ties to even), and the lowest byte is the result.
    """
    return tf.cast(tf.bitwise.bitwise_and(tf.bitcast(pixels + 2.0**23, tf.int32), 255), tf.uint8)


def _uint8(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
