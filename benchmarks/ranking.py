"""Benchmark from features to mAP, compared with the matrix product that it contains.

    python benchmarks/ranking.py

The input is random features of MARS's size: 1,980 queries, 11,310 gallery tracklets, 2,560 dimensions. One row and one
protocol are evaluated completely: fusion of both branches, centring, distances, ranking, mAP. Product and evaluation
alternate in one process, and the minimum of each is used, so that other load on the machine has little effect on the
ratio.
"""

import argparse
import os
import time

import numpy as np

from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles
from rgcn_jax.evaluation.rank_protocols import rank_features
from rgcn_jax.evaluation.ranking import as_percentages
from rgcn_jax.runtime.cores import usable_cores
from rgcn_jax.types import Embeddings


def seconds(function) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def random_case(queries: int, gallery: int, appearance: int, pose: int) -> tuple[Embeddings, Roles]:
    """Random features and ids; the first ``queries`` of the ``gallery`` tracklets are also queries. As on MARS there
    are 13 tracklets per person, about 11 of them in other cameras than the query's.
    """
    rng = np.random.default_rng(0)
    embeddings = Embeddings(
        appearance=rng.standard_normal((gallery, appearance), dtype=np.float32),
        pose=rng.standard_normal((gallery, pose), dtype=np.float32),
        person_ids=(1 + np.arange(gallery) % max(gallery // 13, 1)).astype(np.int32),
        camera_ids=rng.integers(1, 7, gallery).astype(np.int32),
    )
    return embeddings, Roles(np.arange(gallery) < queries, np.ones(gallery, bool), np.zeros(gallery, bool))


def main() -> None:
    """Print the times in seconds and the ratio."""
    parser = argparse.ArgumentParser(description="Time of the evaluation compared with its matrix product.")
    parser.add_argument("--queries", type=int, default=1980)
    parser.add_argument("--gallery", type=int, default=11310, help="including the queries")
    parser.add_argument("--repetitions", type=int, default=7)
    arguments = parser.parse_args()
    embeddings, roles = random_case(arguments.queries, arguments.gallery, 2048, 512)
    persons = embeddings.person_ids
    official = {"official": PROTOCOLS["official"]}
    gallery = np.concatenate([embeddings.appearance, embeddings.pose], axis=1)
    query = gallery[: arguments.queries].copy()

    def evaluate(kind: str):
        metrics = rank_features(fuse(embeddings, "fused", kind), embeddings, roles, official, overwrite=True)[
            "official"
        ]
        as_percentages(metrics)
        return metrics

    tasks = {
        "matrix product": lambda: np.dot(query, gallery.T),
        "euclidean": lambda: evaluate("euclidean"),
        "normalized": lambda: evaluate("normalized"),
    }
    best = dict.fromkeys(tasks, np.inf)
    for _ in range(arguments.repetitions):
        for name, task in tasks.items():
            best[name] = min(best[name], seconds(task))
    metrics = evaluate("euclidean")
    matches = np.mean(
        [
            np.sum((persons == persons[q]) & (embeddings.camera_ids != embeddings.camera_ids[q]))
            for q in range(arguments.queries)
        ]
    )
    variables = {name: os.environ[name] for name in sorted(os.environ) if name.startswith(("OPENBLAS_", "OMP_"))}
    print(f"NumPy {np.__version__}, {usable_cores()} core(s), environment {variables or 'without OPENBLAS_*, OMP_*'}")
    print(
        f"{arguments.queries} queries ({metrics.num_valid_queries} valid, {matches:.1f} matches each) x "
        f"{metrics.num_gallery} gallery x 2560 dimensions, minimum of {arguments.repetitions}"
    )
    for name, value in best.items():
        print(f"{name:<16}{value:8.3f} s{value / best['matrix product']:8.2f} x")


if __name__ == "__main__":
    main()
