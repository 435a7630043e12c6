"""Scoring of a model: mAP and CMC of the appearance, pose and fused rows, under every protocol, from one set of
features.

``Scorer`` embeds the test tracklets of a data set and ranks them; ``score`` ranks given features, such as those of a
features file. Used in training and by the command ``evaluate``.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from rgcn_jax import parallel
from rgcn_jax.config import Config, EvaluationConfig
from rgcn_jax.data.clips.reader import Data
from rgcn_jax.errors import as_input_error
from rgcn_jax.evaluation.calibrated import CalibratedDistances, Fusion
from rgcn_jax.evaluation.distance import FeatureStatistics, rows_of
from rgcn_jax.evaluation.embed import Cutting, Extractor, Readers, to_embeddings
from rgcn_jax.evaluation.feature_set import FeatureSet, of_tracklets
from rgcn_jax.evaluation.pose_quality import pose_quality
from rgcn_jax.evaluation.protocol import Roles, scorable_protocols, test_tracklets
from rgcn_jax.evaluation.rank_protocols import evaluate_protocols
from rgcn_jax.evaluation.results import Evaluation
from rgcn_jax.models.build import build_model
from rgcn_jax.models.two_branch import TwoBranch, feature_statistics
from rgcn_jax.types import Embeddings, Tracklet


class Scorer:
    """Evaluates variables of a model (``model_from_config``) on the test tracklets of a data set; compiles once.

    Raises:
      InputError: the protocol is not applicable to the data set, or no query has a match.
    """

    def __init__(self, config: Config, model: TwoBranch, data: Data, mesh: Mesh):
        self._data, self._settings = data, config.evaluation
        settings = config.evaluation
        self.tracklets, self.roles = test_tracklets(data.split)
        scorable_protocols(self.tracklets, self.roles, settings.protocol)
        self.cutting = Cutting(settings.clips, config.frames_per_clip, settings.clips_per_batch)
        parallel.check_divides(settings.clips_per_batch, mesh, "evaluation.clips_per_batch")
        self._extractor = Extractor(model, mesh, model.dtype)

    def embed(self, variables: Any, tracklets: Sequence[Tracklet] | None = None) -> Embeddings:
        """Embed tracklets (None: the test tracklets), each once."""
        tracklets = self.tracklets if tracklets is None else tracklets
        readers = Readers(self._data.read, self._data.read_keypoints)
        silent = not (sys.stderr.isatty() and parallel.is_first())
        found = self._extractor.tracklets(variables, readers, tracklets, self.cutting)
        shown = tqdm(found, "evaluating", len(tracklets), unit="tracklet", leave=False, disable=silent)
        return to_embeddings(tracklets, list(shown))

    def features(self, variables: Any, step: int, header: Mapping[str, Any] | None = None) -> FeatureSet:
        """Features of the test tracklets; ``header``: additional entries of the header."""
        return self._features(variables, self.tracklets, self.roles, {**self._described(step), **(header or {})})

    def train_features(self, variables: Any, step: int) -> FeatureSet:
        """Features of the training tracklets, which have no role."""
        train = self._data.split.train
        return self._features(variables, train, Roles(*np.zeros((3, len(train)), bool)), self._described(step))

    def _features(
        self, variables: Any, tracklets: Sequence[Tracklet], roles: Roles, header: Mapping[str, Any]
    ) -> FeatureSet:
        source = self._data.keypoints
        quality = None if source is None else pose_quality(source.of, tracklets)
        embeddings, statistics = self.embed(variables, tracklets), statistics_of(variables["batch_stats"])
        return of_tracklets(tracklets, embeddings, roles, statistics, header, quality)

    def _described(self, step: int) -> dict[str, Any]:
        split = self._data.split
        name = f"{split.name} {split.split_description}".strip()
        described = {"step": step, "data_set": name, "clips": self._settings.clips}
        if split.look_alikes:
            described["look_alikes"] = [list(group) for group in split.look_alikes]
        return described

    def evaluate(self, variables: Any, step: int) -> Evaluation:
        """Embed and rank the test tracklets. With several processes each ranks all features."""
        return score(self.features(variables, step), self._settings)


def score(features: FeatureSet, settings: EvaluationConfig) -> Evaluation:
    """Rank the features of test tracklets under every applicable protocol; tracklets without a role are ignored.

    Raises:
      InputError: the protocol is not applicable, no query has a match, a feature is not finite, or the requirements of
        the distance "standardized" or "calibrated" are missing.
    """
    tested = features.roles.query | features.roles.gallery | features.roles.junk
    features = features if tested.all() else features.take(tested)
    protocols, chance = scorable_protocols(features.tracklets, features.roles, settings.protocol)
    fused = calibrated_distances(features) if settings.distance == "calibrated" else None
    metrics = evaluate_protocols(
        features.embeddings,
        features.roles,
        kind=settings.distance,
        pose_weight=settings.pose_weight,
        statistics=features.statistics,
        protocols=protocols,
        fused=fused,
    )
    return Evaluation(
        step=int(features.header.get("step", 0)),
        data_set=str(features.header.get("data_set", "")),
        protocol=settings.protocol,
        distance=settings.distance,
        clips=str(features.header.get("clips", "")),
        chance_rank1=100 * chance,
        metrics=metrics,
        features=features,
    )


def calibrated_distances(features: FeatureSet) -> CalibratedDistances | None:
    """Distances of the fused row for the kind "calibrated"; None if there is no such row.

    Raises:
      InputError: the features lack the fusion, or the keypoint quality.
    """
    embeddings = features.embeddings
    if "fused" not in rows_of(embeddings.appearance.shape[1], embeddings.pose.shape[1]):
        return None
    with as_input_error(
        'the distance "calibrated" needs the fusion of the model, which these features lack',
        "learn it by rgcn-jax calibrate --model=DIR --fusion, and embed again",
        ValueError,
    ):
        fusion = Fusion.from_json(features.header.get("fusion"))
    return CalibratedDistances(embeddings, features.statistics, features.quality, features.num_frames, fusion)


def statistics_of(batch_stats: Mapping[str, Any]) -> FeatureStatistics:
    """The model's running statistics of the features, on the host."""
    (mean_a, std_a), (mean_p, std_p) = jax.device_get(feature_statistics(batch_stats))
    return FeatureStatistics(mean_a, std_a, mean_p, std_p)


def model_from_config(config: Config, num_identities: int, mesh: Mesh) -> TwoBranch:
    """Build the model of a config for the devices of ``mesh``, for training or scoring."""
    return build_model(
        asdict(config.model),
        num_identities,
        config.dtype,
        axis_name=parallel.normalisation_axis(config.parallel.batch_norm),
        aspect=config.aspect,
        platform=mesh.devices.flat[0].platform,
    )
