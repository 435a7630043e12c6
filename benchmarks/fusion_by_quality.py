"""Fusion by keypoint quality compared with fixed weights, with missing keypoints: mAP and a paired test.

    rgcn-jax evaluate --model=RUN --save-features=FILE.npz --with-train
    python -m benchmarks.fusion_by_quality --model=RUN --features=FILE.npz

f_a comes from the file. f_p is recomputed with each keypoint of each frame dropped with a given probability; no model
is trained for this. At 100 % there are no keypoints. The rows are:

- ``weight 1``: the distance standardized with the default pose weight.
- ``weight w``: the same with the pose weight of the run, which may have been chosen on test data.
- ``calibrated``: the model's ``fusion.json``. Without it, the fusion is learned here from the training persons, with a
  quarter, half and three quarters of their keypoints dropped.

Differences are of the average precision of the same queries, with 95 % intervals over persons
(``significance.paired_difference``).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rgcn_jax.calibrate_fusion import RATES, pose_with_dropout
from rgcn_jax.calibration import read_fusion
from rgcn_jax.command import path_argument, run_command
from rgcn_jax.data.clips.reader import Data
from rgcn_jax.embedder import Embedder
from rgcn_jax.evaluation.calibrated import QUALITIES, CalibratedDistances, Fusion
from rgcn_jax.evaluation.feature_set import FeatureSet, read_features
from rgcn_jax.evaluation.learn_fusion import learn_fusion
from rgcn_jax.evaluation.protocol import PROTOCOLS
from rgcn_jax.evaluation.rank_protocols import evaluate_protocols
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.evaluation.significance import Difference, interval_over_persons, paired_difference
from rgcn_jax.evaluation.tables import format_value
from rgcn_jax.saved_model import open_model
from rgcn_jax.training.run import open_process_data
from rgcn_jax.types import Tracklet

DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)


def learned(embedder: Embedder, data: Data, features: FeatureSet, tracklets: Sequence[Tracklet]) -> Fusion:
    """Learn the fusion from the training tracklets and their features."""
    samples = [pose_with_dropout(embedder, data, tracklets, rate) for rate in (0.0, *RATES)]
    return learn_fusion(features.embeddings, embedder.statistics, samples, features.num_frames)


def scored(
    embedder: Embedder, data: Data, features: FeatureSet, tracklets: Sequence[Tracklet], fusion: Fusion, rate: float
) -> dict[str, RankingMetrics]:
    """Evaluate the rows of both branches, of fixed weights and of the calibrated fusion, at one dropout rate."""
    sample = pose_with_dropout(embedder, data, tracklets, rate, seed=1)
    embeddings = features.embeddings._replace(pose=sample.pose)
    settings, statistics = embedder.config.evaluation, embedder.statistics
    protocols = {settings.protocol: PROTOCOLS[settings.protocol]}
    fused = CalibratedDistances(embeddings, statistics, sample.quality, features.num_frames, fusion)
    options = {"statistics": statistics, "protocols": protocols}
    name = settings.protocol
    calibrated = evaluate_protocols(embeddings, features.roles, "calibrated", fused=fused, **options)[name]
    fixed = {
        f"weight {weight:g}": evaluate_protocols(embeddings, features.roles, "standardized", weight, **options)[name]
        for weight in (1.0, settings.pose_weight)
    }
    weighted = {title: rows["fused"] for title, rows in fixed.items()}
    return {row: calibrated[row] for row in ("appearance", "pose")} | weighted | {"calibrated": calibrated["fused"]}


def written(test: Difference) -> str:
    """Format a difference: ``+2.1 [+1.0, +3.4] p = 0.0006``."""
    between = "" if test.interval is None else f" [{test.interval[0]:+.1f}, {test.interval[1]:+.1f}]"
    return f"{test.value:+.1f}{between} p = {test.p_value:.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the parameters and a line for each dropout rate."""
    parser = argparse.ArgumentParser(
        description="Fusion by quality compared with fixed weights under keypoint dropout."
    )
    parser.add_argument("--model", type=path_argument, required=True, help="the folder of a run")
    parser.add_argument(
        "--features", type=path_argument, required=True, help="its features, including those of training"
    )
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    known = parser.parse_args(arguments)
    embedder = Embedder(open_model(known.model))
    data = open_process_data(embedder.config)
    features = read_features(known.features)
    split = data.split
    by_name = {t.frames[0]: t for t in (*split.train, *split.query, *split.gallery, *split.junk)}
    tracklets = [by_name[name] for name in features.first_frames]
    tested = features.roles.query | features.roles.gallery | features.roles.junk
    parts = {part: (features.take(mask), [tracklets[i] for i in np.flatnonzero(mask)]) for part, mask in (
        ("train", ~tested), ("test", tested),
    )}  # fmt: skip
    fusion = read_fusion(known.model, embedder.hash, embedder.config.evaluation.clips)
    fusion = fusion or learned(embedder, data, *parts["train"])
    print(f"appearance: LLR = {fusion.appearance[0]:.2f} - {fusion.appearance[1]:.2f} d")
    for what, values in (("bias", fusion.pose_bias), ("log slope", fusion.pose_log_slope)):
        print(f"pose, {what}: {', '.join(f'{n} {v:+.2f}' for n, v in zip(QUALITIES, values, strict=True))}")
    ids = features.embeddings.person_ids[features.roles.query]
    lines = []
    for rate in DROPOUT:
        rows = scored(embedder, data, *parts["test"], fusion, rate)
        precision = {row: 100 * metrics.average_precision for row, metrics in rows.items()}
        cells = {row: format_value(v.mean(), interval_over_persons(v, ids)) for row, v in precision.items()}
        if not lines:
            print(f"{'dropout':<8}{''.join(f'{title:>12}' for title in cells)}   calibrated - each weight")
        tests = {
            row: paired_difference(precision[row], precision["calibrated"], ids) for row in cells if "weight" in row
        }
        shown = "".join(f"{cell:>12}" for cell in cells.values())
        print(f"{rate:<8.0%}{shown}   {', '.join(map(written, tests.values()))}", flush=True)
        means = {row: float(v.mean()) for row, v in precision.items()}
        lines.append({"dropout": rate, "mAP": means, "differences": {row: t._asdict() for row, t in tests.items()}})
    if known.out:
        known.out.write_text(json.dumps({"fusion": fusion.to_json(), "rows": lines}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
