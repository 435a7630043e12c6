"""Loading of a run for the report: model, features of the test tracklets, scores and training records."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.load import open_data
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import as_input_error
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.evaluation.feature_set import FeatureSet, read_features, write_features
from rgcn_jax.evaluation.protocol import PROTOCOLS, Protocol, test_tracklets
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.evaluation.results import RESULTS_FILE, Evaluation
from rgcn_jax.evaluation.scorer import Scorer, score
from rgcn_jax.experiments.robustness import ROBUSTNESS_FILE, read_robustness
from rgcn_jax.runtime.json_lines import read_json_lines
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.saved_model import open_model
from rgcn_jax.training.run import open_process_data
from rgcn_jax.types import Tracklet

FEATURES_FILE = "report_features.npz"
"""Features of the test tracklets, stored in the run's folder for later reports."""

TEST_SUBSETS = ("query", "gallery")


@dataclass(frozen=True)
class ReportedRun:
    """A loaded run.

    ``data``: its data set. ``tracklets``: the distinct test tracklets, in the order of the features. ``records``: lines
    of ``metrics.jsonl``. ``results``: ``results.json``, empty if missing. ``robustness``: curves measured by ``rgcn-jax
    robustness`` with these weights, by corruption.
    """

    name: str
    embedder: Embedder
    evaluation: Evaluation
    data: Data
    tracklets: Sequence[Tracklet]
    records: Sequence[Mapping[str, Any]]
    results: Mapping[str, Any]
    robustness: Mapping[str, Any]

    @property
    def protocol(self) -> Protocol:
        """The headline protocol."""
        return PROTOCOLS[self.evaluation.protocol]

    @property
    def metrics(self) -> Mapping[str, RankingMetrics]:
        """Metrics of the headline protocol by row."""
        return self.evaluation.metrics[self.evaluation.protocol]

    @property
    def rows(self) -> tuple[str, ...]:
        """Rows of the model; the last one is its headline."""
        return tuple(self.metrics)

    def features(self, row: str) -> Float32[np.ndarray, "n d"]:
        """Features of the test tracklets, whose Euclidean distances are those of a row."""
        found, settings = self.evaluation.features, self.embedder.config.evaluation
        return fuse(found.embeddings, row, settings.distance, settings.pose_weight, found.statistics)

    def open_images(self) -> Data:
        """Open the data set with frames, even if the model reads none. Raises InputError if it cannot be read."""
        config = self.embedder.config
        data = replace(config.data, features="")
        return open_data(data, config.frame_size, config.with_pose, TEST_SUBSETS, True)


def load_run(
    path: Path, overrides: Sequence[str] = (), allow_imports: Collection[str] = (), name: str = ""
) -> ReportedRun:
    """Load a run, embed its test tracklets unless an earlier report has stored the features, and score them.

    ``overrides``: "--config.field=value" arguments, such as another data.root. ``allow_imports``: modules that the
    model's config names and that may be imported. ``name``: in the report; empty: that of the folder.

    Raises:
      InputError: the model, the data or the features cannot be read, or the features cannot be written.
    """
    embedder = Embedder(open_model(path, "latest", allow_imports=allow_imports, overrides=overrides))
    config = embedder.config
    data = open_process_data(config, required=TEST_SUBSETS)
    tracklets, _ = test_tracklets(data.split)
    features = _kept_features(path / FEATURES_FILE, embedder, tracklets)
    if features is None:
        print(f"{path}: embedding {len(tracklets):,} tracklets", flush=True)
        scorer = Scorer(config, embedder.model, data, embedder.mesh)
        header = {"model": embedder.hash, "config": config.to_dict()}
        features = scorer.features(embedder.variables, embedder.step, header)
        write_features(path / FEATURES_FILE, features)
    with as_input_error(f"{path / 'metrics.jsonl'} cannot be read"):
        records = [
            record for record, _ in read_json_lines(path / "metrics.jsonl")[0] if type(record.get("step")) is int
        ]
    robustness = read_robustness(path / ROBUSTNESS_FILE)
    return ReportedRun(
        name or path.resolve().name,
        embedder,
        score(features, config.evaluation),
        data,
        tracklets,
        records,
        _results(path),
        robustness["curves"] if robustness["header"].get("model") == embedder.hash else {},
    )


def _kept_features(file: Path, embedder: Embedder, tracklets: Sequence[Tracklet]) -> FeatureSet | None:
    """Features stored by an earlier report; None if there are none with this model, data and clips."""
    if not file.exists():
        return None
    found = read_features(file)
    same = found.model == embedder.hash and found.header.get("config") == json.loads(
        json.dumps(embedder.config.to_dict())
    )
    return found if same and list(found.first_frames) == [t.frames[0] for t in tracklets] else None


def _results(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path / RESULTS_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
