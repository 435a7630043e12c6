"""A small set of frames, 32 x 16 pixels, on disk as PNG (which loses nothing) and the same in memory."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.memory import CachedSource, read_batch
from rgcn_jax.data.clips.sampling import BatchPlan, IdentitySampler
from rgcn_jax.types import Tracklet

HEIGHT, WIDTH = 32, 16
TRACKLETS = tuple(
    Tracklet(tuple(f"{person:02}/c{camera}f{f}.png" for f in range(frames)), person, camera)
    for person, camera, frames in ((1, 1, 2), (1, 2, 5), (2, 1, 6), (2, 3, 4), (3, 1, 1), (3, 2, 7))
)


def draw_image(rng, sharp=False, height=HEIGHT, width=WIDTH):
    """RGB noise; unless ``sharp`` as soft as a photograph, neighbouring pixels about 10 grey levels apart."""
    if sharp:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).round().astype(np.uint8)


def read_image(path: Path) -> np.ndarray:
    """RGB, as OpenCV decodes it."""
    image = cv2.imread(str(path))
    assert image is not None, f"{path} is no image"
    return image[..., ::-1]


@dataclass(frozen=True)
class Frames:
    """The set, by path of the frame: what is on disk below ``root`` and, the same, in memory."""

    root: Path
    pixels: dict[str, np.ndarray]
    points: dict[str, np.ndarray]

    @property
    def source(self):
        return CachedSource(
            lambda t: np.stack([self.pixels[f] for f in t.frames]),
            lambda t: np.stack([self.points[f] for f in t.frames]),
        )

    @property
    def read(self):
        return partial(read_batch, source=self.source)


def write(root: Path, sharp: bool = False) -> Frames:
    rng = np.random.default_rng(0)
    pixels, points = {}, {}
    for path in (f for t in TRACKLETS for f in t.frames):
        pixels[path] = draw_image(rng, sharp)
        points[path] = rng.uniform(0, 1, (14, 3)).astype(np.float32)
        points[path][rng.random(14) < 0.2] = 0
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / path), pixels[path][..., ::-1])
    return Frames(root, pixels, points)


def plans(steps: int, crop: float = 0.0, flip: float = 0.0, erase: float = 0.0) -> list[BatchPlan]:
    """Plans of 2 identities x 2 clips x 3 frames; the probabilities are of the augmentation."""
    augmentation = Augmentation(crop_probability=crop, flip_probability=flip, erase_probability=erase)
    sampler = IdentitySampler(
        TRACKLETS,
        identities=2,
        clips_per_identity=2,
        frames_per_clip=3,
        max_frame_stride=2,
        augmentation=augmentation,
        seed=0,
    )
    return list(sampler.plans(0, steps))


def assert_batches_equal(batch, other):
    assert batch.keys() == other.keys()
    for name in batch:
        assert batch[name].dtype == other[name].dtype
        np.testing.assert_array_equal(batch[name], other[name], err_msg=name)
