"""Stand-ins for trained models: what a gallery reads of an embedder, and features to enrol."""

from dataclasses import dataclass, replace

import numpy as np

from rgcn_jax.calibration import Calibration
from rgcn_jax.config import Config
from rgcn_jax.evaluation.distance import FeatureStatistics
from rgcn_jax.gallery import Entry
from rgcn_jax.types import Embeddings

WIDTHS = (6, 4)


@dataclass
class Model:
    hash: str
    config: Config
    statistics: FeatureStatistics
    calibration: Calibration | None = None


def model(distance="normalized", widths=WIDTHS, name="a", pose_weight=0.5):
    rng = np.random.default_rng(7)
    config = Config()
    settings = replace(config.evaluation, distance=distance, pose_weight=pose_weight)
    statistics = FeatureStatistics(
        *(x.astype(np.float32) for width in widths for x in (rng.normal(size=width), rng.uniform(0.5, 2, width)))
    )
    return Model(name, replace(config, evaluation=settings), statistics)


def embeddings(count, seed=0, widths=WIDTHS, duplicates=True):
    """Rectified features, as trunks give them; every tenth tracklet has the features of the one before."""
    rng = np.random.default_rng(seed)
    a, p = (np.maximum(rng.normal(1, 1, (count, width)), 0).astype(np.float32) for width in widths)
    if duplicates:
        a[10::10], p[10::10] = a[9:-1:10], p[9:-1:10]
    return Embeddings(a, p, rng.integers(1, 20, count).astype(np.int32), rng.integers(1, 5, count).astype(np.int32))


def entries(found, source="walks"):
    return [
        Entry(
            f"t{i:06d}",
            source,
            person,
            camera,
            start=None if i % 5 == 0 else 1000.0 + i,
            end=None if i % 5 == 0 else 1010.0 + i,
            quality=None if i % 7 == 0 else (i % 10) / 10,
            num_frames=i,
            frames=(f"{i}/é1.jpg",),
        )
        for i, (person, camera) in enumerate(zip(found.person_ids.tolist(), found.camera_ids.tolist(), strict=True))
    ]


def take(found, rows):
    return Embeddings(*(column[rows] for column in found))
