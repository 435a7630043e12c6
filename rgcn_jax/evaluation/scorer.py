"""Scoring a model: three rows (appearance, pose, fused) of mAP and CMC, under every protocol, from one set of features.

Training and the command ``rgcn_jax.evaluate`` use the same ``Scorer``.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from rgcn_jax import parallel
from rgcn_jax.config import Config, EvaluationConfig
from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.clips.sampling import evaluation_plans, num_evaluation_batches
from rgcn_jax.evaluation.distance import FeatureStatistics
from rgcn_jax.evaluation.embed import embed_tracklets, make_embed_step
from rgcn_jax.evaluation.protocol import Roles, evaluate_protocols, scorable_protocols, test_tracklets
from rgcn_jax.evaluation.ranking import RankingMetrics, as_percentages
from rgcn_jax.evaluation.tables import format_table
from rgcn_jax.models.build import build_model
from rgcn_jax.models.two_branch import TwoBranch, feature_statistics
from rgcn_jax.runtime.files import atomic_file, write_text
from rgcn_jax.types import Embeddings, Tracklet

RESULTS_FILE = "results.json"


def headline_mAP(rows: Mapping[str, Any]) -> float:
    """The fused row's mAP, the appearance row's without a pose branch, in per cent; also of a record of
    ``metrics.jsonl``.
    """
    return rows.get("fused", rows["appearance"])["mAP"]


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
    """By protocol and row; a row is None where the model has no pose branch."""
    embeddings: Embeddings
    tracklets: Sequence[Tracklet]
    roles: Roles

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """The headline protocol: row -> {mAP, rank1, rank5, rank10, rank20} in per cent."""
        return self.protocol_rows(self.protocol)

    def protocol_rows(self, protocol: str) -> dict[str, dict[str, float]]:
        """Likewise of any protocol."""
        return {row: as_percentages(m) for row, m in self.metrics[protocol].items() if m is not None}

    @property
    def headline_mAP(self) -> float:
        """The fused row's mAP, the appearance row's without a pose branch: what "best" means."""
        return headline_mAP(self.rows)

    def description(self) -> dict[str, Any]:
        """What has to be said beside the rows for them to mean something."""
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
        lines = [format_table(self.metrics[self.protocol], self.protocol, self.distance)]
        lines.append(f"(per cent; a random ranking expects Rank-1 {self.chance_rank1:.1f})")
        for name, rows in self.metrics.items():
            if name == self.protocol:
                continue
            numbers = (f"{row} {v['mAP']:.1f}/{v['rank1']:.1f}" for row, v in self.protocol_rows(name).items())
            counts = next(m for m in rows.values() if m is not None)
            lines.append(
                f"{name} (gallery {counts.num_gallery}, {counts.num_valid_queries} valid queries), mAP/Rank-1: "
                f"{', '.join(numbers)}"
            )
        return "\n".join(lines)


class Scorer:
    """Evaluates variables on the test tracklets of a data set; compiles once, whatever is evaluated how often.

    Raises:
      InputError: the protocol does not apply to the data set, or no query has a match.
    """

    def __init__(
        self, model: TwoBranch, data: Data, mesh: Mesh, *, frames_per_clip: int, dtype: Any, settings: EvaluationConfig
    ):
        self.model = model
        self._data, self._mesh, self._settings = data, mesh, settings
        self.tracklets, self._roles = test_tracklets(data.split)
        self._protocols, self._chance = scorable_protocols(self.tracklets, self._roles, settings.protocol)
        self._cutting = {
            "clips": settings.clips,
            "frames_per_clip": frames_per_clip,
            "clips_per_batch": settings.clips_per_batch,
        }
        parallel.check_divides(settings.clips_per_batch, mesh, "evaluation.clips_per_batch")
        self._embed_step = make_embed_step(model, mesh, dtype)

    def embed(self, variables: Any, tracklets: Sequence[Tracklet] | None = None) -> Embeddings:
        """Features of tracklets (None: the test tracklets), each exactly once."""
        tracklets = self.tracklets if tracklets is None else tracklets
        batches = self._data.read(evaluation_plans(tracklets, **self._cutting))
        total = num_evaluation_batches(tracklets, **self._cutting)
        silent = not (sys.stderr.isatty() and parallel.is_first())
        shown = tqdm(batches, "evaluating", total, unit="batch", leave=False, disable=silent)
        # A batch may be one process's share of the plan, the features are those of the whole plan.
        plans = evaluation_plans(tracklets, **self._cutting)
        return embed_tracklets(
            tracklets,
            (
                (plan.index, self._embed_step(variables, parallel.shard(batch, self._mesh)))
                for plan, batch in zip(plans, shown, strict=True)
            ),
        )

    def evaluate(self, variables: Any, step: int) -> Evaluation:
        """Embeds and ranks; of several processes each ranks all features."""
        embeddings = self.embed(variables)
        (mean_a, std_a), (mean_p, std_p) = jax.device_get(feature_statistics(variables["batch_stats"]))
        metrics = evaluate_protocols(
            embeddings,
            self._roles,
            kind=self._settings.distance,
            pose_weight=self._settings.pose_weight,
            statistics=FeatureStatistics(mean_a, std_a, mean_p, std_p),
            protocols=self._protocols,
        )
        return Evaluation(
            step=step,
            data_set=f"{self._data.split.name} {self._data.split.split_description}".strip(),
            protocol=self._settings.protocol,
            distance=self._settings.distance,
            clips=self._settings.clips,
            chance_rank1=100 * self._chance,
            metrics=metrics,
            embeddings=embeddings,
            tracklets=self.tracklets,
            roles=self._roles,
        )


def model_from_config(config: Config, num_identities: int, mesh: Mesh) -> TwoBranch:
    """The model of a config for the devices of ``mesh``, for training and for scoring alike."""
    return build_model(
        asdict(config.model),
        num_identities,
        config.dtype,
        axis_name=parallel.normalisation_axis(config.parallel.batch_norm),
        aspect=config.aspect,
        platform=mesh.devices.flat[0].platform,
    )


def scorer_from_config(config: Config, model: TwoBranch, data: Data, mesh: Mesh) -> Scorer:
    """The scorer of a config; ``model`` is ``model_from_config``'s."""
    return Scorer(
        model, data, mesh, frames_per_clip=config.frames_per_clip, dtype=model.dtype, settings=config.evaluation
    )


def write_results(workdir: Path, evaluation: Evaluation, config: Config, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Writes ``results.json``, whole or not at all: the last evaluation under all protocols, the config, and what else
    stands ``beside`` them (``provenance``).
    """
    results = {
        "step": evaluation.step,
        **evaluation.rows,
        **evaluation.description(),
        "protocols": {name: evaluation.protocol_rows(name) for name in evaluation.metrics},
        "config": config.to_dict(),
        **beside,
    }
    write_text(workdir / RESULTS_FILE, json.dumps(results, indent=2) + "\n")
    return results


def save_features(
    path: Path, evaluation: Evaluation, train: tuple[Sequence[Tracklet], Embeddings] | None = None
) -> None:
    """Features, ids and cameras of the test tracklets, and of ``train`` after them, to one ``.npz``: appearance [N,
    D_a], pose [N, D_p], person_ids [N], camera_ids [N], first_frames [N] (the path of each tracklet's first frame),
    is_query [N], is_gallery [N]. With the training tracklets it is what ``data.features`` takes.
    """
    tracklets, embeddings = list(evaluation.tracklets), evaluation.embeddings
    if train is not None:
        tracklets += train[0]
        embeddings = Embeddings(*(np.concatenate(pair) for pair in zip(embeddings, train[1], strict=True)))
    roles = {"is_query": evaluation.roles.query, "is_gallery": evaluation.roles.gallery}
    padded = {name: np.pad(role, (0, len(tracklets) - len(role))) for name, role in roles.items()}
    with atomic_file(path) as file:
        np.savez(
            file,
            **embeddings._asdict(),
            first_frames=np.array([t.frames[0] for t in tracklets]),
            is_query=padded["is_query"],
            is_gallery=padded["is_gallery"],
        )
