"""The result of an evaluation: rows of mAP and CMC under every protocol, as a table, as JSON and per query."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from rgcn_jax.evaluation.feature_set import FeatureSet
from rgcn_jax.evaluation.metrics_json import ranking_json
from rgcn_jax.evaluation.ranking import RankingMetrics, as_percentages
from rgcn_jax.evaluation.significance import metric_intervals, values_by_query
from rgcn_jax.evaluation.tables import format_table, format_value
from rgcn_jax.runtime.files import write_text, writing
from rgcn_jax.runtime.npz import write_arrays

RESULTS_FILE = "results.json"


def headline_mAP(rows: Mapping[str, Any]) -> float:
    """The fused row's mAP, or that of the one branch there is, in per cent; also of a record of ``metrics.jsonl``."""
    return next(rows[row] for row in ("fused", "appearance", "pose") if row in rows)["mAP"]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model at a step, and everything that names them."""

    step: int
    data_set: str
    """Its name, and which of its splits where it has several."""
    protocol: str
    """The headline's."""
    distance: str
    clips: str
    chance_rank1: float
    """Rank-1 in per cent that a random ranking expects under the headline protocol."""
    metrics: Mapping[str, Mapping[str, RankingMetrics | None]]
    """By protocol and row; a row is None where the model lacks a branch of it."""
    features: FeatureSet
    """What was ranked."""

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """The headline protocol: row -> {mAP, rank1, rank5, rank10, rank20} in per cent."""
        return self.protocol_rows(self.protocol)

    def protocol_rows(self, protocol: str) -> dict[str, dict[str, float]]:
        """The rows of any protocol, in per cent."""
        return {row: as_percentages(m) for row, m in self.metrics[protocol].items() if m is not None}

    @property
    def query_ids(self) -> Int32[np.ndarray, "q"]:
        """Person ids of the queries."""
        return self.features.embeddings.person_ids[self.features.roles.query]

    @property
    def headline_mAP(self) -> float:
        """The fused row's mAP, or that of the one branch there is: what "best" means."""
        return headline_mAP(self.rows)

    def description(self) -> dict[str, Any]:
        """The data set, the settings and the counts that the rows depend on."""
        counts = next(m for m in self.metrics[self.protocol].values() if m is not None)
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
        """One line: mAP / Rank-1 of the rows."""
        parts = (f"{row} {numbers['mAP']:.1f}/{numbers['rank1']:.1f}" for row, numbers in self.rows.items())
        return f"mAP/Rank-1 (%): {', '.join(parts)}"

    def table(self) -> str:
        """The headline as a table, the other protocols as a line each."""
        rows = self.metrics[self.protocol]
        intervals = {row: metric_intervals(m, self.query_ids) for row, m in rows.items() if m is not None}
        lines = [format_table(rows, self.protocol, self.distance, intervals)]
        lines.append(
            f"(per cent, ± half the 95 % interval over persons; a random ranking expects Rank-1 "
            f"{self.chance_rank1:.1f})"
        )
        for name, rows in self.metrics.items():
            if name == self.protocol:
                continue
            numbers = (self._shown(row, m) for row, m in rows.items() if m is not None)
            counts = next(m for m in rows.values() if m is not None)
            lines.append(
                f"{name} (gallery {counts.num_gallery}, {counts.num_valid_queries} valid queries), mAP and "
                f"Rank-1: {'; '.join(numbers)}"
            )
        return "\n".join(lines)

    def _shown(self, row: str, metrics: RankingMetrics) -> str:
        values, intervals = as_percentages(metrics), metric_intervals(metrics, self.query_ids)
        return f"{row} {', '.join(format_value(values[name], intervals[name]) for name in ('mAP', 'rank1'))}"

    def to_dict(self) -> dict[str, Any]:
        """Rows, counts, settings and all protocols, as JSON takes them; ``metrics`` with intervals over persons."""
        return {
            "step": self.step,
            **self.rows,
            **self.description(),
            "protocols": {name: self.protocol_rows(name) for name in self.metrics},
            "metrics": {
                name: {row: ranking_json(m, self.query_ids) for row, m in rows.items() if m is not None}
                for name, rows in self.metrics.items()
            },
        }


def write_results(path: Path, evaluation: Evaluation, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Writes an evaluation as JSON with what else is ``beside`` it (config, provenance), and the scores of every query
    to ``queries_path(path)``, both atomically; returns the former.

    Raises:
      InputError: they cannot be written.
    """
    results = {**evaluation.to_dict(), **beside}
    _write_queries(queries_path(path), evaluation)
    write_text(path, json.dumps(results, indent=2) + "\n")
    return results


def queries_path(results: Path) -> Path:
    """NAME.queries.npz beside NAME.json."""
    return results.with_suffix(".queries.npz")


def _write_queries(path: Path, evaluation: Evaluation) -> None:
    """Writes the scores of every query to an ``.npz`` file, for paired tests and rank lists.

    Arrays, a row a query: ``first_frames``, ``person_ids``, ``camera_ids``; and for each protocol and row
    ``PROTOCOL/ROW/METRIC`` with the metrics mAP (average precision), mINP, rank1, rank5, rank10 and rank20 in per cent,
    and first_match, the rank of the first match; NaN, or 0 of first_match, where the query has no match.
    """
    queries = evaluation.features.take(evaluation.features.roles.query)
    arrays = {
        "first_frames": np.array(queries.first_frames),
        "person_ids": queries.embeddings.person_ids,
        "camera_ids": queries.embeddings.camera_ids,
    }
    for protocol, rows in evaluation.metrics.items():
        for row, metrics in rows.items():
            if metrics is not None:
                values = values_by_query(metrics) | {"first_match": metrics.first_match_rank}
                arrays |= {f"{protocol}/{row}/{name}": of_query for name, of_query in values.items()}
    with writing(path):
        write_arrays(path, arrays)
