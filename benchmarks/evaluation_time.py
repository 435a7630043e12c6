"""Benchmark of an evaluation at MARS's size, compared with another checkout of this project.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.evaluation_time --beside=/tmp/before

The input is random features of 12,180 tracklets with the roles of MARS (1,980 queries in a gallery of 11,310, junk), of
2,048 and 512 dimensions. It evaluates three rows under every applicable protocol, to mAP and CMC in per cent; then, if
supported, the 95 % intervals and the rest of results.json. Results are CPU seconds of one process, which other load
hardly affects. Checkouts alternate, and the minimum of each is used.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[1]


def worker(count: int, queries: int) -> None:
    """Print the CPU seconds of one evaluation as JSON, in this checkout or an earlier one."""
    from rgcn_jax.evaluation.protocol import Roles
    from rgcn_jax.evaluation.ranking import as_percentages
    from rgcn_jax.types import Embeddings

    try:
        from rgcn_jax.evaluation.rank_protocols import evaluate_protocols
    except ImportError:  # in an earlier checkout
        from rgcn_jax.evaluation.protocol import evaluate_protocols  # pyright: ignore[reportAttributeAccessIssue]
    rng = np.random.default_rng(0)
    gallery = count * 11_310 // 12_180
    ids = 1 + np.arange(count) % max(gallery // 18, 1)
    rows = np.arange(count)
    ids[(rows >= gallery * 8062 // 11_310) & (rows < gallery)] = 0
    ids[gallery:] = -1
    embeddings = Embeddings(
        rng.standard_normal((count, 2048), dtype=np.float32),
        rng.standard_normal((count, 512), dtype=np.float32),
        ids.astype(np.int32),
        rng.integers(1, 7, count).astype(np.int32),
    )
    roles = Roles(rows < queries, rows < gallery, rows >= gallery)
    start = time.process_time()
    metrics = evaluate_protocols(embeddings, roles)
    found = {name: {r: as_percentages(m) for r, m in of.items() if m is not None} for name, of in metrics.items()}
    times = {"rankings": time.process_time() - start}
    for module in ("significance", "metrics_json"):  # the second in earlier checkouts
        with suppress(ImportError, AttributeError):
            ranking_json = import_module(f"rgcn_jax.evaluation.{module}").ranking_json
            start = time.process_time()
            for of_protocol in metrics.values():
                for m in of_protocol.values():
                    if m is not None:  # in earlier checkouts, of a missing branch
                        ranking_json(m, embeddings.person_ids[roles.query])
            times["intervals"] = time.process_time() - start
    print(json.dumps({"seconds": times, "mAP": found["official"]["fused"]["mAP"]}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the seconds of both checkouts and the ratio."""
    parser = argparse.ArgumentParser(
        description="Time of an evaluation at MARS's size, compared with another checkout."
    )
    parser.add_argument("--beside", type=Path, help="root of the other checkout")
    parser.add_argument("--tracklets", type=int, default=12_180)
    parser.add_argument("--queries", type=int, default=1980)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    known = parser.parse_args(arguments)
    if known.worker:
        worker(known.tracklets, known.queries)
        return
    places = [REPOSITORY, *([known.beside.resolve()] if known.beside else [])]
    best: list[dict[str, float]] = [{} for _ in places]
    for _ in range(known.repetitions):
        for place, times in zip(places, best, strict=True):
            command = [
                sys.executable,
                __file__,
                "--worker",
                f"--tracklets={known.tracklets}",
                f"--queries={known.queries}",
            ]
            environment = {**os.environ, "PYTHONPATH": str(place)}
            output = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True, cwd=place
            ).stdout
            for name, seconds in json.loads(output)["seconds"].items():
                times[name] = min(times.get(name, np.inf), seconds)
    for place, times in zip(places, best, strict=True):
        print(f"{place}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items()))
    if known.beside:
        here, there = (sum(times.values()) for times in best)
        print(f"rankings {best[0]['rankings'] / best[1]['rankings']:.2f} x, everything {here / there:.2f} x")


if __name__ == "__main__":
    main()
