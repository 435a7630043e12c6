"""Verification by keypoints of real persons, on a small MARS-like folder that no model was trained on.

    python -m benchmarks.gait [--data=DIR] [--models walkers-gait runs/pose-0 ...]

It evaluates each model, untrained weights of the first one, and limb lengths relative to the torso. The metric is the
area under the ROC of pairs of tracklets, with a 95 % interval over persons. This is the probability that a genuine pair
is nearer than an impostor pair; chance is 50.

Pairs are of two cameras. If ``source.csv`` in the folder states the video track of each frame, pairs of two visits are
evaluated too: "camera 2" of one visit is the later part of the same walk.

Nothing is trained or selected here. Without the folder it prints a message and exits.
"""

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import table
from rgcn_jax.embedder import Embedder
from rgcn_jax.models.build import initialise
from rgcn_jax.parallel import replicate
from rgcn_jax.saved_model import open_model
from rgcn_jax.skeleton import EDGES
from rgcn_jax.types import Tracklet

DEFAULT = Path(os.environ.get("RGCN_JAX_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")) / "vtest_mars"


def auc(
    distances: Float[np.ndarray, "n n"], people: Int[np.ndarray, "n"], pairs: Bool[np.ndarray, "n n"], resamples: int
) -> tuple[float, float, float]:
    """Area under the ROC of the pairs in per cent, with ties counted half, and its 95 % interval by resampling persons.

    A genuine pair of a person drawn n times counts n times, an impostor pair n_i n_j times.
    """
    first, second = np.nonzero(np.triu(pairs, 1))
    same = people[first] == people[second]
    ids, index = np.unique(people, return_inverse=True)
    rng = np.random.default_rng(0)
    counts = [
        np.ones(len(ids)),
        *(np.bincount(rng.integers(0, len(ids), len(ids)), minlength=len(ids)).astype(float) for _ in range(resamples)),
    ]
    d = distances[first, second]
    genuine, impostor = d[same], d[~same]
    wins = (genuine[:, None] < impostor[None]) + 0.5 * (genuine[:, None] == impostor[None])
    a, b = index[first], index[second]
    areas = []
    for count in counts:
        of_genuine, of_impostor = count[a[same]], count[a[~same]] * count[b[~same]]
        total = of_genuine.sum() * of_impostor.sum()
        if total > 0:
            areas.append(100 * float(of_genuine @ wins @ of_impostor) / total)
    low, high = np.percentile(areas[1:], [2.5, 97.5]) if len(areas) > 1 else (np.nan, np.nan)
    return areas[0], float(low), float(high)


def limb_ratios(keypoints: Sequence[Float[np.ndarray, "_ 14 3"]], aspect: float) -> Float[np.ndarray, "n n"]:
    """Distances of tracklets by the median length of each edge of the skeleton relative to the median torso length.

    Each is divided by its standard deviation over tracklets. Edges that are never visible in either tracklet are
    ignored.
    """
    rows = []
    for found in keypoints:
        place = np.where(found[..., 2:] > 0, found[..., :2] * [aspect, 1.0], np.nan)
        lengths = np.stack([np.linalg.norm(place[:, i] - place[:, j], axis=-1) for i, j in EDGES], axis=1)
        torso = np.linalg.norm(place[:, 1] - (place[:, 8] + place[:, 11]) / 2, axis=-1)
        rows.append([_median(x) / _median(torso) for x in lengths.T])
    ratios = np.array(rows)
    ratios /= np.nanstd(ratios, axis=0)
    return np.sqrt(np.nanmean((ratios[:, None] - ratios[None]) ** 2, axis=-1))


def _median(values: np.ndarray) -> float:
    detected = values[~np.isnan(values)]
    return float(np.median(detected)) if len(detected) else np.nan


def pose_distances(embedder: Embedder, keypoints: Sequence[np.ndarray]) -> Float[np.ndarray, "n n"]:
    """Distances of tracklets by f_p, as in the model's evaluation."""
    embeddings = embedder(None, list(keypoints))
    return np.asarray(embedder.distance(embeddings, embeddings, row="pose"))


def untrained_distances(
    name: str, seeds: Sequence[int], keypoints: Sequence[np.ndarray]
) -> list[Float[np.ndarray, "n n"]]:
    """Distances with untrained weights. Each dimension of f_p is divided by its standard deviation over the tracklets,
    since there are no running statistics. The input is standardised as in the model.
    """
    saved = open_model(name)
    embedder = Embedder(saved)  # compiled once
    model = saved.model(embedder.mesh)
    found = []
    for seed in seeds:
        fresh = initialise(model, seed, 4, 0)
        kept = {n: saved.variables["batch_stats"][n] for n in ("pose_norm",) if n in saved.variables["batch_stats"]}
        embedder.variables = replicate({**fresh, "batch_stats": {**fresh["batch_stats"], **kept}}, embedder.mesh)
        f = np.stack([e.pose for e in embedder(None, list(keypoints))])
        f = f / np.maximum(f.std(axis=0), 1e-9)
        found.append(np.linalg.norm(f[:, None] - f[None], axis=-1))
    return found


def visits(root: Path, tracklets: Sequence[Tracklet]) -> list[str] | None:
    """The video track of each tracklet; None if the folder does not state it."""
    if not (root / "source.csv").is_file():
        return None
    with (root / "source.csv").open(encoding="utf-8") as file:
        track = {row["name"]: row["auto_track"] for row in csv.DictReader(file)}
    return [track[Path(t.frames[0]).name] for t in tracklets]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gait", description="Verification by real keypoints.")
    parser.add_argument("--data", type=Path, default=DEFAULT, help="a folder in the layout of MARS with keypoints.npz")
    parser.add_argument("--models", nargs="+", default=["walkers-gait"], help="models without an appearance branch")
    parser.add_argument("--untrained", type=int, default=3, help="seeds of untrained weights; their mean is printed")
    parser.add_argument("--resamples", type=int, default=1000, help="resamples of the persons, for the intervals")
    a = parser.parse_args(argv)
    if not a.data.is_dir():
        print(f"skipped: the folder {a.data} does not exist; set another by --data")
        return
    split = mars.load(a.data)
    tracklets = [*split.train, *split.gallery]
    found = table.load(a.data / "keypoints.npz", split, tracklets)
    keypoints = [found.of(t) for t in tracklets]
    people, cameras = (np.array([getattr(t, name) for t in tracklets]) for name in ("person_id", "camera_id"))
    of_two = {"two cameras": cameras[:, None] != cameras[None]}
    if (visit := visits(a.data, tracklets)) is not None:
        other = np.array(visit)[:, None] != np.array(visit)[None]
        of_two["two cameras, two visits"] = of_two["two cameras"] & other
    genuine = [int(np.triu(pairs & (people[:, None] == people[None]), 1).sum()) for pairs in of_two.values()]
    print(
        f"{len(set(people.tolist()))} people, {len(tracklets)} tracklets; genuine pairs: "
        + ", ".join(f"{n} of {name}" for name, n in zip(of_two, genuine, strict=True))
    )
    aspect = 0.5  # aspect ratio of crops in MARS's layout
    rows = {"limb lengths / torso": [limb_ratios(keypoints, aspect)]}
    if a.untrained:
        rows[f"{a.models[0]}, untrained"] = untrained_distances(a.models[0], range(a.untrained), keypoints)
    for name in a.models:
        embedder = Embedder(open_model(name))
        rows[f"{name}, {embedder.config.evaluation.clips}"] = [pose_distances(embedder, keypoints)]
    print(f"| AUC, per cent | {' | '.join(of_two)} |\n|---|{'---|' * len(of_two)}")
    for name, distances in rows.items():
        cells = []
        for pairs in of_two.values():
            values = np.mean([auc(d, people, pairs, a.resamples) for d in distances], axis=0)
            cells.append(f"{values[0]:.0f} [{values[1]:.0f}, {values[2]:.0f}]")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
