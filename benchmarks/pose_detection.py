r"""Accuracy of a pose detector's keypoints compared with stored ones, and its speed.

    python -m benchmarks.pose_detection --dataset=mars --root=vtest_mars --stored=vtest_mars/keypoints.npz \
        --backend=movenet --model=movenet-thunder.json

Runs the detector over the whole data set, into a temporary folder, once for each number of processes, and prints speed
and accuracy. PCK@a is the fraction of the stored keypoints that are detected within a torso lengths of the stored
position; missing ones count as wrong. The torso length is the distance from the neck to the midpoint of the hips of the
stored keypoints. Frames without one of these three stored keypoints are excluded.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.keypoints import formats
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.run import Options, detect
from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.types import unique_frames

_NECK, _HIPS = KEYPOINTS.index("neck"), [KEYPOINTS.index("right_hip"), KEYPOINTS.index("left_hip")]


def pck(found: Float32[np.ndarray, "n 14 3"], stored: Float32[np.ndarray, "n 14 3"], share: float) -> np.ndarray:
    """Return the PCK of each of the 14 keypoints, and of all together as a 15th, in [0, 1] or NaN; inputs are in
    pixels.
    """
    detected = stored[..., 2] > 0
    whole = detected[:, [_NECK, *_HIPS]].all(axis=1)
    torso = np.linalg.norm(stored[whole, _NECK, :2] - stored[whole][:, _HIPS, :2].mean(axis=1), axis=1)
    distance = np.linalg.norm(found[whole, :, :2] - stored[whole, :, :2], axis=2)
    right = (distance <= share * torso[:, None]) & (found[whole, :, 2] > 0) & detected[whole]
    counts = detected[whole].sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.append(right.sum(axis=0), right.sum()) / np.append(counts, counts.sum())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="A pose detector beside stored keypoints.")
    parser.add_argument("--dataset", choices=sorted(DATA_SETS), required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--stored", type=Path, required=True, help="keypoint store to compare with")
    parser.add_argument("--backend", choices=tuple(BACK_ENDS), required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--margin", type=float)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    split = DATA_SETS[arguments.dataset].load(arguments.root)
    tracklets = (*split.train, *split.query, *split.gallery, *split.junk)
    frames = unique_frames(tracklets)
    # The size is only used for OpenPose folders, not for stores.
    stored = formats.read(arguments.stored, frames, np.ones((1, 2), np.int64)).pixels
    found = np.zeros_like(stored)
    print(f"{len(frames):,} crops of {split.name}\nprocesses  crops/s  in all, with the start of the processes")
    for workers in arguments.workers:
        with tempfile.TemporaryDirectory() as folder:
            options = Options(arguments.backend, arguments.model, arguments.margin, workers=workers)
            report = detect(split, Path(folder) / "found.npz", options)
        assert report is not None
        found = report.keypoints
        print(f"{workers:9d} {report.detected / report.working_seconds:8.1f} {report.seconds:8.1f} s")
    print(f"\n{'keypoint':15} PCK@0.1 PCK@0.2  found stored")
    values = [pck(found, stored, share) for share in (0.1, 0.2)]
    for row, name in enumerate((*KEYPOINTS, "all")):
        shares = [np.mean(k[:, row, 2] > 0) if row < 14 else np.mean(k[..., 2] > 0) for k in (found, stored)]
        print(f"{name:15} " + " ".join(f"{v:7.1%}" for v in (values[0][row], values[1][row])), end=" ")
        print(" ".join(f"{v:6.1%}" for v in shares))
    print("\nframes with   0 keypoints   fewer than 7")
    for name, keypoints in (("found", found), ("stored", stored)):
        counts = np.count_nonzero(keypoints[..., 2] > 0, axis=1)
        print(f"{name:11} {np.mean(counts == 0):13.2%} {np.mean(counts < 7):14.2%}")


if __name__ == "__main__":
    main()
