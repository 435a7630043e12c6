"""Robustness of a model: metrics under corruptions of the test tracklets, by level.

Some corruptions affect keypoints only: f_a is then computed once, and only the pose branch is run. Occlusion, fewer
frames and a lower frame rate affect both branches.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.reader import Data, KeypointSource
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import MALFORMED, InputError
from rgcn_jax.evaluation.distance import ROWS
from rgcn_jax.evaluation.embed import Extractor, Readers, to_embeddings
from rgcn_jax.evaluation.feature_set import FeatureSet
from rgcn_jax.evaluation.pose_quality import pose_quality
from rgcn_jax.evaluation.results import Evaluation
from rgcn_jax.evaluation.scorer import Scorer, score
from rgcn_jax.evaluation.significance import ranking_json
from rgcn_jax.experiments.corrupted_reader import corrupted_reader, other_keypoints_reader, shortened
from rgcn_jax.experiments.corruptions import CORRUPTIONS, disturb, disturbed_keypoints
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.types import Tracklet

ROBUSTNESS_FILE = "robustness.json"

OTHER_KEYPOINTS = "other_keypoints"
"""Name of the curve with keypoints of another detector, which has no numeric level."""

METRICS = ("mAP", "mINP", "rank1", "rank5", "rank10", "rank20")

Point = dict[str, Any]
"""``level`` (None: all frames, or other keypoints) and ``rows``: row -> ``ranking_json``."""


class Robustness:
    """Evaluates a model on corrupted test tracklets.

    ``header``: additional entries of the features' header, such as the model's calibrated fusion.

    Raises:
      InputError: the protocol of the config is not applicable to the data set.
    """

    def __init__(self, embedder: Embedder, data: Data, seed: int = 0, header: Mapping[str, Any] | None = None):
        self._embedder, self._data, self._seed, self._header = embedder, data, seed, header
        self._config = embedder.config
        self._scorer = Scorer(self._config, embedder.model, data, embedder.mesh)
        pose_alone = embedder.model.clone(appearance=None, num_identities=0)
        self._pose = Extractor(pose_alone, embedder.mesh, embedder.model.dtype)

    @cached_property
    def _features(self) -> FeatureSet:
        return self._scorer.features(self._embedder.variables, self._embedder.step, self._header)

    def undisturbed(self) -> Evaluation:
        """Evaluate the model without corruption; features are extracted once and kept."""
        return score(self._features, self._config.evaluation)

    def corrupted(self, name: str, level: int | float) -> Evaluation:
        """Evaluate the model at a level of one of ``CORRUPTIONS``.

        Raises:
          InputError: the corruption affects frames, and the appearance features are precomputed.
        """
        corruption = CORRUPTIONS[name]
        if corruption.of_frames and self._config.data.features:
            raise InputError(f"{name} affects frames, but the appearance features of this model are precomputed.")
        disturbances = {t: disturb(name, level, t, self._seed) for t in self._scorer.tracklets}
        wrap = partial(corrupted_reader, disturbances=disturbances, aspect=self._config.aspect)
        tracklets = [shortened(*pair) for pair in disturbances.items()]

        def keypoints_of(tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
            assert self._data.keypoints is not None
            found = disturbances[tracklet]
            every = np.arange(len(tracklet.frames))
            points = disturbed_keypoints(self._data.keypoints.of(tracklet), found, every, self._config.aspect)
            return points[found.positions]

        return self._evaluate(wrap, tracklets, corruption.of_frames, keypoints_of)

    def other_keypoints(self, source: KeypointSource) -> Evaluation:
        """Evaluate the model with keypoints of another detector."""
        return self._evaluate(partial(other_keypoints_reader, source=source), self._scorer.tracklets, False, source.of)

    def _evaluate(self, wrap: Any, tracklets: Sequence[Tracklet], of_frames: bool, keypoints_of: Any) -> Evaluation:
        of_frames = of_frames and self._config.with_appearance
        keypoints = self._data.read_keypoints
        assert keypoints is not None  # all data sets have a keypoint reader
        readers = Readers(wrap(self._data.read if of_frames else keypoints), wrap(keypoints))
        extractor = self._embedder.extractor if of_frames else self._pose
        of_each = extractor.tracklets(self._embedder.variables, readers, tracklets, self._scorer.cutting)
        found, kept = to_embeddings(tracklets, list(of_each)), self._features
        appearance = found.appearance if of_frames else kept.embeddings.appearance
        embeddings = kept.embeddings._replace(appearance=appearance, pose=found.pose)
        quality = kept.quality and pose_quality(keypoints_of, self._scorer.tracklets)
        return score(replace(kept, embeddings=embeddings, quality=quality), self._config.evaluation)


def point(level: int | float | None, evaluation: Evaluation) -> Point:
    """Metrics of the headline protocol at a level, with intervals over persons."""
    rows = evaluation.metrics[evaluation.protocol]
    return {"level": level, "rows": {row: ranking_json(m, evaluation.query_ids) for row, m in rows.items()}}


def read_robustness(path: Path, header: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read earlier measurements; without curves if the file does not exist or has another header.

    Raises:
      InputError: the file is damaged.
    """
    header = None if header is None else json.loads(json.dumps(header))  # converts tuples to lists, as in the file
    empty = {"header": dict(header or {}), "curves": {}}
    try:
        found = json.loads(read_text(path))
        same = header is None or found["header"] == header
        for curve in found["curves"].values():
            _check_curve(curve)
        return {"header": dict(found["header"]), "curves": dict(found["curves"])} if same else empty
    except FileNotFoundError:
        return empty
    except MALFORMED as error:
        raise InputError(f"{path} cannot be read ({error}): remove it and rerun rgcn-jax robustness.") from error


def _check_curve(curve: Any) -> None:
    """Raise ValueError, LookupError, TypeError or AttributeError for an invalid curve."""
    if not isinstance(curve["unit"], str) or not isinstance(curve["points"], list):
        raise ValueError("invalid curve")
    for at in curve["points"]:
        rows = at["rows"]
        numbers = [at["level"], *(m[name] for m in rows.values() for name in (*METRICS, "valid_queries", "persons"))]
        for metrics in rows.values():
            for interval in metrics["intervals"].values():
                numbers += [None, None] if interval is None else [interval[0], interval[1]]
        if set(rows) != set(curve["points"][0]["rows"]) or not {*rows} <= {*ROWS}:
            raise ValueError(f"a point has the rows {', '.join(rows)}")
        if not {*map(type, numbers)} <= {int, float, type(None)}:
            raise ValueError("invalid number")


def write_robustness(path: Path, found: Mapping[str, Any]) -> None:
    """Write NAME.json, and NAME.csv with one line per value. Raises InputError if they cannot be written."""
    write_text(path, json.dumps(found, indent=2) + "\n")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["corruption", "level", "row", "metric", "value", "low", "high", "queries", "persons"])
    writer.writerows(_lines(found))
    write_text(path.with_suffix(".csv"), text.getvalue())


def _lines(found: Mapping[str, Any]) -> Iterator[list[Any]]:
    for name, curve in found["curves"].items():
        for at in curve["points"]:
            for row, metrics in at["rows"].items():
                for metric in METRICS:
                    low, high = metrics["intervals"].get(metric) or ("", "")
                    level = "" if at["level"] is None else at["level"]
                    counts = metrics["valid_queries"], metrics["persons"]
                    yield [name, level, row, metric, metrics[metric], low, high, *counts]
