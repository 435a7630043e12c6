"""Benchmark of scaling: CPU time and memory of start-up, sampling, embedding, ranking and search by data set size.

    python -m benchmarks.scale                        # every part
    python -m benchmarks.scale startup ranking
    python -m benchmarks.scale ranking --full         # 10,000 queries against 500,000 tracklets: minutes
    python -m benchmarks.scale --save=scale.jsonl     # and benchmarks/scale_chart.py draws it

Each row is measured in a separate process. Memory is the peak of this process above that of Python and the imports.
Seconds are processor time, which other load on the machine affects less than wall time. The last column is the cost of
one unit of work; if it is constant as the rows grow, the cost is linear.

  startup    tracklets and frame names of a data set in MARS's layout (names only, no images): the work of training
             before it opens the first frame, that is the lists, the fingerprint, the sampler and the test tracklets
  sampling   the plan of a batch of 32 clips
  embedding  work of the host for tracklets of three clips: plans, means of the clips, the arrays
  ranking    queries against a gallery, 192 dimensions: distances, ranks, mAP
  search     a query against a gallery on disk (`rgcn_jax.gallery`), 2,560 dimensions
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import machine


class Measured(NamedTuple):
    """Processor seconds, the number of units of work, and the name of a unit."""

    seconds: float
    units: int
    unit: str


def clock(call: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def write_lists(info: Path, tracklets: int, frames: int) -> None:
    """Write MARS's lists of ``tracklets`` tracklets of ``frames`` frames each: half of them for training, a tenth of
    the rest queries; four tracklets per person, each in another camera.
    """
    from scipy.io import savemat

    info.mkdir(parents=True)
    count = tracklets // 2
    for part in ("train", "test"):
        rows = np.zeros((count, 4), np.int64)
        with (info / f"{part}_name.txt").open("w", encoding="utf-8") as file:
            for i in range(count):
                person, camera = 1 + i // 4, 1 + i % 4
                rows[i] = i * frames + 1, (i + 1) * frames, person, camera
                head = f"{person:04}C{camera}T{i % 10000:04}F"
                file.writelines(f"{head}{frame:03}.jpg\n" for frame in range(1, frames + 1))
        savemat(info / f"tracks_{part}_info.mat", {f"track_{part}_info": rows})
    savemat(info / "query_IDX.mat", {"query_IDX": np.arange(1, count + 1, 10)[None]})


def startup(tracklets: int, frames: int) -> Measured:
    """Measure reading the lists up to the first plan."""
    from rgcn_jax.data.clips.sampling import IdentitySampler
    from rgcn_jax.data.datasets import mars
    from rgcn_jax.evaluation.protocol import scorable_protocols, test_tracklets
    from rgcn_jax.runtime.provenance import fingerprint

    def start() -> None:
        split = mars.load(root, check_files=False)
        fingerprint(split)
        sampler(IdentitySampler, split.train).plan(0)
        scorable_protocols(*test_tracklets(split))

    warnings.simplefilter("ignore")  # counts differ from the published ones
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_lists(root / "info", tracklets, frames)
        return Measured(clock(start), tracklets * frames, "frame")


def sampler(kind: Any, tracklets: Sequence[Any]) -> Any:
    """The sampler, with the batch of configs/mars.py."""
    from rgcn_jax.data.clips.augment import Augmentation

    batch = {"identities": 8, "clips_per_identity": 4, "frames_per_clip": 10, "max_frame_stride": 4}
    return kind(tracklets, **batch, augmentation=Augmentation(), seed=0)


def made_up(tracklets: int, frames: int) -> list[Any]:
    """Synthetic tracklets, four per person."""
    from rgcn_jax.types import Tracklet

    return [Tracklet((f"{i}.jpg",) * frames, 1 + i // 4, 1 + i % 4) for i in range(tracklets)]


def sampling(tracklets: int, frames: int, plans: int = 200) -> Measured:
    """Measure plans of batches."""
    from rgcn_jax.data.clips.sampling import IdentitySampler

    drawn = sampler(IdentitySampler, made_up(tracklets, frames))
    drawn.plan(0)
    return Measured(clock(lambda: [drawn.plan(step) for step in range(plans)]), plans, "batch")


def embedding(tracklets: int, frames: int) -> Measured:
    """Measure plans, means and arrays of tracklets, with synthetic features of the clips."""
    from rgcn_jax.evaluation.embed import Cutting, to_embeddings, tracklet_means
    from rgcn_jax.evaluation.embed_step import ClipFeatures

    clip = ClipFeatures(np.ones((32, 128), np.float32), np.ones((32, 64), np.float32), {})  # pyright: ignore
    all_of_them = made_up(tracklets, frames)

    def embed() -> None:
        plans = Cutting("dense", 10, 32).plans(all_of_them)
        to_embeddings(all_of_them, list(tracklet_means((plan.index, clip) for plan in plans)))

    return Measured(clock(embed), tracklets, "tracklet")


def ranking(queries: int, gallery: int) -> Measured:
    """Measure ranking, from features to mAP."""
    from benchmarks.ranking import random_case
    from rgcn_jax.evaluation.distance import fuse
    from rgcn_jax.evaluation.protocol import PROTOCOLS
    from rgcn_jax.evaluation.rank_protocols import rank_features

    embeddings, roles = random_case(queries, gallery, 128, 64)
    official = {"official": PROTOCOLS["official"]}
    features = fuse(embeddings, "fused", "normalized")
    seconds = clock(lambda: rank_features(features, embeddings, roles, official, overwrite=True))
    return Measured(seconds, queries, "query")


def search(queries: int, gallery: int) -> Measured:
    """Measure queries one at a time, after a first query, which verifies the checksums."""
    from benchmarks.gallery import WIDTHS, features, fill, model
    from rgcn_jax.gallery import Gallery

    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder, "gallery"), WIDTHS, gallery)
        opened, one = Gallery.open(Path(folder, "gallery"), model(WIDTHS)), features(WIDTHS, 10**9, 1)
        opened.search(one, k=20)
        return Measured(clock(lambda: [opened.search(one, k=20) for _ in range(queries)]), queries, "query")


Rows = list[tuple[int, int]]

PARTS: dict[str, tuple[Callable[[int, int], Measured], tuple[str, str], Rows, Rows]] = {
    "startup": (startup, ("tracklets", "frames each"), [(2_000, 58), (20_478, 58), (14_943, 200), (20_000, 100)], []),
    "sampling": (sampling, ("tracklets", "frames each"), [(2_000, 60), (20_000, 60), (200_000, 60)], []),
    "embedding": (embedding, ("tracklets", "frames each"), [(2_000, 30), (20_000, 30), (100_000, 30)], []),
    "ranking": (
        ranking,
        ("queries", "gallery"),
        [(1_980, 11_310), (20, 100_000), (20, 500_000), (200, 500_000)],
        [(2_000, 500_000), (10_000, 500_000)],
    ),
    "search": (search, ("queries", "gallery"), [(20, 1_000), (20, 10_000), (20, 50_000)], [(20, 500_000)]),
}
"""For each part: its function, the names of its two numbers, its rows, and additional rows with --full."""


def measure(part: str, first: int, second: int) -> dict[str, Any]:
    """Measure a row in this process."""
    call = PARTS[part][0]
    call(*SMALL[part])  # imports, and one-time initialisation
    before = peak_memory()
    measured = call(first, second)
    return {**measured._asdict(), "memory": peak_memory() - before}


SMALL = {"startup": (80, 2), "sampling": (80, 20), "embedding": (64, 20), "ranking": (5, 100), "search": (1, 20)}
"""Size of the warm-up call of each part, before memory is measured."""


def peak_memory() -> float:
    """Peak memory of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Cost against work.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--full", action="store_true", help="the largest rows too, which take minutes")
    parser.add_argument("--rows", type=int, default=99, help="of each part, the smallest first (default: all)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="append each row to it, as a line of JSON")
    parser.add_argument("--measure", nargs=3, metavar=("PART", "FIRST", "SECOND"), help=argparse.SUPPRESS)
    a = parser.parse_args(argv)
    if a.measure:
        part, first, second = a.measure
        print(json.dumps(measure(part, int(first), int(second))))
        return
    if unknown := [part for part in a.parts if part not in PARTS]:
        parser.error(f"unknown {', '.join(unknown)}: there are {', '.join(PARTS)}.")
    print(f"{machine()}; NumPy {np.__version__}")
    for part in a.parts or PARTS:
        _, names, rows, more = PARTS[part]
        print(f"\n{part}\n\n| {' | '.join(names)} | processor, s | memory, MiB | µs of one unit |")
        print("|---|---|---|---|---|")
        for first, second in (rows + more * a.full)[: a.rows]:
            command = [sys.executable, "-m", "benchmarks.scale", "--measure", part, str(first), str(second)]
            process = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(process.stdout.splitlines()[-1])
            if a.save:
                with a.save.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"part": part, "first": first, "second": second, **found}) + "\n")
            each = f"{1e6 * found['seconds'] / found['units']:,.2f} a {found['unit']}"
            print(f"| {first:,} | {second:,} | {found['seconds']:.2f} | {found['memory']:.0f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
