"""Robustness of a model: metrics under corruptions of the test tracklets, by level.

Some corruptions affect keypoints only: f_a is then computed once, and only the pose branch is run. Occlusion, fewer
frames and a lower frame rate affect both branches.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.reader import Data, KeypointSource, Reader
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import MALFORMED, InputError
from rgcn_jax.evaluation.distance import ROWS
from rgcn_jax.evaluation.embed import Extractor, Readers, to_embeddings
from rgcn_jax.evaluation.feature_set import FeatureSet
from rgcn_jax.evaluation.metrics_json import ranking_json
from rgcn_jax.evaluation.pose_quality import pose_quality
from rgcn_jax.evaluation.results import Evaluation
from rgcn_jax.evaluation.scorer import Scorer, score, scorer_from_config
from rgcn_jax.experiments.corrupted_reader import CorruptedReader, OtherKeypoints, shortened
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

    Args:
      embedder: the model.
      data: its test set.
      seed: random seed of the corruptions.
      header: additional entries of the features' header, such as the model's calibrated fusion.

    Raises:
      InputError: the protocol of the config is not applicable to the data set.
    """

    def __init__(self, embedder: Embedder, data: Data, seed: int = 0, header: Mapping[str, Any] | None = None):
        self._embedder, self._data, self._seed, self._header = embedder, data, seed, header
        self._config = embedder.config
        self._scorer: Scorer = scorer_from_config(self._config, embedder.model, data, embedder.mesh)
        self._features: FeatureSet | None = None
        pose_alone = embedder.model.clone(appearance=None, num_identities=0)
        self._whole = Extractor(embedder.model, embedder.mesh, embedder.model.dtype)
        self._pose = Extractor(pose_alone, embedder.mesh, embedder.model.dtype)

    @property
    def tracklets(self) -> list[Tracklet]:
        """The test tracklets."""
        return self._scorer.tracklets

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames after resizing, in pixels."""
        return self._config.frame_size

    def undisturbed(self) -> Evaluation:
        """Evaluate the model without corruption; features are extracted once and kept."""
        if self._features is None:
            self._features = self._scorer.features(self._embedder.variables, self._embedder.step, self._header)
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
        wrap = partial(CorruptedReader, disturbances=disturbances, aspect=self._config.aspect)
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
        return self._evaluate(partial(OtherKeypoints, source=source), self._scorer.tracklets, False, source.of)

    def _evaluate(self, wrap: Any, tracklets: Sequence[Tracklet], of_frames: bool, keypoints_of: Any) -> Evaluation:
        self.undisturbed()
        assert self._features is not None
        of_frames = of_frames and self._config.with_appearance
        keypoints: Reader | None = self._data.read_keypoints
        assert keypoints is not None  # all data sets have a keypoint reader
        clips = self._data.read if of_frames else keypoints
        extractor = self._whole if of_frames else self._pose
        readers = Readers(wrap(clips), wrap(keypoints))
        cutting = self._scorer.cutting
        found = to_embeddings(tracklets, [*extractor.tracklets(self._embedder.variables, readers, tracklets, cutting)])
        kept = self._features.embeddings
        embeddings = kept._replace(pose=found.pose)
        if of_frames:
            embeddings = embeddings._replace(appearance=found.appearance)
        whole = self._scorer.tracklets
        quality = self._features.quality and pose_quality(keypoints_of, whole)
        return score(replace(self._features, embeddings=embeddings, quality=quality), self._config.evaluation)


def points(name: str) -> list[int | float | None]:
    """Levels of a corruption, starting with the one without effect."""
    return [CORRUPTIONS[name].undisturbed, *CORRUPTIONS[name].levels]


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
    try:
        found = json.loads(read_text(path))
        same = header is None or found["header"] == header
        for curve in found["curves"].values():
            _check_curve(curve)
        return {"header": dict(found["header"]), "curves": dict(found["curves"])} if same else _empty(header)
    except FileNotFoundError:
        return _empty(header)
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


def _empty(header: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"header": dict(header or {}), "curves": {}}


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
