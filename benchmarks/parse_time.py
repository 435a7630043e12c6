"""Benchmark of parsing a data set: trees of empty files with names as in DukeMTMC-VideoReID and iLIDS-VID.

    python benchmarks/parse_time.py --share=0.1

At a share of 1 the trees have the published numbers of persons, tracklets and, on average, frames. Parsing reads only
names, so empty files suffice. It prints the seconds of a first and a second reading (with cached listings), and frames
per second, without the effect of a slow disk or network.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.io import savemat

from rgcn_jax.data.datasets import dukemtmc_vidreid, ilids_vid

FRAMES = 168  # mean length of a tracklet of DukeMTMC-VideoReID
PEOPLE, FRAMES_ILIDS = 300, 73


def duke_names(share: float) -> Iterator[str]:
    """Paths of the frames of DukeMTMC-VideoReID."""
    for part, first, tracklets, each in (("train", 1, 2196, 3), ("query", 2001, 702, 1), ("gallery", 2001, 2636, 2)):
        for number in range(max(1, round(share * tracklets))):
            person, track = first + number // each, number % each
            for frame in range(1, FRAMES + 1):
                yield (
                    f"{part}/{person:04}/{track:04}/"
                    f"{person:04}_C{1 + number % 8}_F{frame:04}_X{1000 * track + 12 * frame}.jpg"
                )


def ilids_names(share: float) -> Iterator[str]:
    """Paths of the frames of iLIDS-VID."""
    for person in range(1, 2 * max(1, round(share * PEOPLE / 2)) + 1):
        for camera in ("cam1", "cam2"):
            for frame in range(1, FRAMES_ILIDS + 1):
                yield f"i-LIDS-VID/sequences/{camera}/person{person:03}/{camera}_person{person:03}_{frame:05}.png"


def main() -> None:
    """Write the trees, time the parsing, print a table and remove the trees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="fraction of the published size (default: 0.1)")
    share = parser.parse_args().share
    warnings.simplefilter("ignore")  # counts differ from the published ones
    print(f"{'layout':18}{'frames':>10}{'first, s':>10}{'second, s':>10}{'frames/s':>12}")
    for module, names in ((dukemtmc_vidreid, duke_names), (ilids_vid, ilids_names)):
        with tempfile.TemporaryDirectory() as folder:
            root, folders, count = Path(folder), set(), 0
            for name in names(share):
                count += 1
                file = root / name
                if file.parent not in folders:
                    file.parent.mkdir(parents=True)
                    folders.add(file.parent)
                file.touch()
            people = 2 * max(1, round(share * PEOPLE / 2))
            (root / "train-test people splits").mkdir()
            splits = np.tile(np.arange(1, people + 1), (10, 1))
            savemat(root / "train-test people splits/train_test_splits_ilidsvid.mat", {"ls_set": splits})
            seconds = []
            for _ in range(2):
                start = time.perf_counter()
                module.load(root)
                seconds.append(time.perf_counter() - start)
            layout = module.__name__.rpartition(".")[2]
            print(f"{layout:18}{count:10,}{seconds[0]:10.2f}{seconds[1]:10.2f}{count / seconds[1]:12,.0f}", flush=True)


if __name__ == "__main__":
    main()
