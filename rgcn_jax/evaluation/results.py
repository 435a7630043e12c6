"""Evaluation results: mAP and CMC by protocol and row, as a table, as JSON, and per query."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from rgcn_jax.evaluation.feature_set import FeatureSet
from rgcn_jax.evaluation.ranking import RankingMetrics, as_percentages
from rgcn_jax.evaluation.significance import metric_intervals, ranking_json, values_by_query
from rgcn_jax.evaluation.tables import format_table, format_value
from rgcn_jax.runtime.files import write_text, writing
from rgcn_jax.runtime.npz import write_arrays

RESULTS_FILE = "results.json"


def headline_mAP(rows: Mapping[str, Any]) -> float:
    """The mAP in per cent of the fused row, else of the model's only row; also for a record of ``metrics.jsonl``."""
    return next(rows[row] for row in ("fused", "appearance", "pose") if row in rows)["mAP"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model at a training step, with data set, protocol and settings."""

    step: int
    data_set: str
    """Name of the data set, and its split if there are several."""
    protocol: str
    """Name of the headline protocol."""
    distance: str
    clips: str
    chance_rank1: float
    """Expected Rank-1 of a random ranking under the headline protocol, in per cent."""
    metrics: Mapping[str, Mapping[str, RankingMetrics]]
    """Metrics by protocol and row."""
    features: FeatureSet
    """The features that were ranked."""

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """The headline protocol: row -> {mAP, rank1, rank5, rank10, rank20} in per cent."""
        return self.protocol_rows(self.protocol)

    def protocol_rows(self, protocol: str) -> dict[str, dict[str, float]]:
        """The rows of a protocol, in per cent."""
        return {row: as_percentages(m) for row, m in self.metrics[protocol].items()}

    @property
    def query_ids(self) -> Int32[np.ndarray, "q"]:
        """Person ids of the queries."""
        return self.features.embeddings.person_ids[self.features.roles.query]

    @property
    def headline_mAP(self) -> float:
        """The mAP of the fused row, else of the model's only row; selects the best checkpoint."""
        return headline_mAP(self.rows)

    def description(self) -> dict[str, Any]:
        """Data set, settings and counts that the rows depend on."""
        counts = next(iter(self.metrics[self.protocol].values()))
        return {
            "data_set": self.data_set,
            "protocol": self.protocol,
            "distance": self.distance,
            "clips": self.clips,
            "gallery": counts.num_gallery,
            "valid_queries": counts.num_valid_queries,
            "skipped_queries": counts.num_skipped_queries,
            "chance_rank1": self.chance_rank1,
        }

    def summary(self) -> str:
        """A line with mAP / Rank-1 of the rows."""
        parts = (f"{row} {numbers['mAP']:.1f}/{numbers['rank1']:.1f}" for row, numbers in self.rows.items())
        return f"mAP/Rank-1 (%): {', '.join(parts)}"

    def table(self) -> str:
        """The headline protocol as a table, followed by a line for each other protocol."""
        rows = self.metrics[self.protocol]
        intervals = {row: metric_intervals(m, self.query_ids) for row, m in rows.items()}
        lines = [format_table(rows, self.protocol, self.distance, intervals)]
        lines.append(
            f"(per cent, ± half the 95 % interval over persons; expected Rank-1 of a random ranking "
            f"{self.chance_rank1:.1f})"
        )
        for name, rows in self.metrics.items():
            if name == self.protocol:
                continue
            numbers = (self._shown(row, m) for row, m in rows.items())
            counts = next(iter(rows.values()))
            lines.append(
                f"{name} (gallery {counts.num_gallery}, {counts.num_valid_queries} valid queries), mAP and "
                f"Rank-1: {'; '.join(numbers)}"
            )
        return "\n".join(lines)

    def _shown(self, row: str, metrics: RankingMetrics) -> str:
        values, intervals = as_percentages(metrics), metric_intervals(metrics, self.query_ids)
        return f"{row} {', '.join(format_value(values[name], intervals[name]) for name in ('mAP', 'rank1'))}"

    def to_dict(self) -> dict[str, Any]:
        """Rows, counts, settings and all protocols as JSON values; ``metrics`` includes intervals over persons."""
        return {
            "step": self.step,
            **self.rows,
            **self.description(),
            "protocols": {name: self.protocol_rows(name) for name in self.metrics},
            "metrics": {
                name: {row: ranking_json(m, self.query_ids) for row, m in rows.items()}
                for name, rows in self.metrics.items()
            },
        }


def write_results(path: Path, evaluation: Evaluation, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Write an evaluation and ``extra`` (config, provenance) as JSON, and per-query scores to ``queries_path(path)``.

    Both are written atomically. Returns the JSON values.

    Raises:
      InputError: they cannot be written.
    """
    results = {**evaluation.to_dict(), **extra}
    _write_queries(queries_path(path), evaluation)
    write_text(path, json.dumps(results, indent=2) + "\n")
    return results


def queries_path(results: Path) -> Path:
    """NAME.queries.npz for NAME.json, in the same folder."""
    return results.with_suffix(".queries.npz")


def _write_queries(path: Path, evaluation: Evaluation) -> None:
    """Write the scores of every query to an ``.npz`` file, for paired tests and rank lists.

    Arrays, with one row per query: ``first_frames``, ``person_ids``, ``camera_ids``; and for each protocol and row
    ``PROTOCOL/ROW/METRIC`` with the metrics mAP (average precision), mINP, rank1, rank5, rank10 and rank20 in per cent,
    and first_match, the rank of the first match. Without a match these are NaN, and first_match is 0.
    """
    queries = evaluation.features.take(evaluation.features.roles.query)
    arrays = {
        "first_frames": np.array(queries.first_frames),
        "person_ids": queries.embeddings.person_ids,
        "camera_ids": queries.embeddings.camera_ids,
    }
    for protocol, rows in evaluation.metrics.items():
        for row, metrics in rows.items():
            values = values_by_query(metrics) | {"first_match": metrics.first_match_rank}
            arrays |= {f"{protocol}/{row}/{name}": of_query for name, of_query in values.items()}
    with writing(path):
        write_arrays(path, arrays)
