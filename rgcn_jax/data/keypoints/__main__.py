"""The command ``python -m rgcn_jax.data.keypoints``: keypoints in any form in, a store or an OpenPose folder out."""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from rgcn_jax.command import path_argument
from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.keypoints.coverage import report
from rgcn_jax.data.keypoints.formats import FORMATS, LEAST_SHARE, recognise
from rgcn_jax.data.keypoints.numbers import LARGEST
from rgcn_jax.data.keypoints.openpose import write_folder
from rgcn_jax.data.keypoints.store import check_store_path, save
from rgcn_jax.data.keypoints.table import read_source
from rgcn_jax.errors import InputError, printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Turn keypoints in any form that is read into a keypoint store, or into a folder of OpenPose files, and print how
    many were detected; return the exit status.
    """
    try:
        for line in _convert(_parse(arguments)):
            print(printable(line))
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing is written", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rgcn_jax.data.keypoints",
        description=main.__doc__,
        epilog="Forms: " + "; ".join(f"{name}: {form.what}" for name, form in FORMATS.items()) + ".",
    )
    parser.add_argument("--dataset", required=True, choices=sorted(DATA_SETS), help="which layout the root has")
    parser.add_argument("--root", required=True, type=path_argument, help="folder of the data set")
    parser.add_argument("--keypoints", required=True, type=path_argument, help="folder or file of keypoints")
    parser.add_argument("--format", choices=list(FORMATS), help="which form they have; default: told by the path")
    parser.add_argument("--out", required=True, type=path_argument, help="keypoint store to write, .npz; or folder")
    parser.add_argument("--to", choices=("store", "openpose"), default="store", help="what to write (default: store)")
    parser.add_argument("--threshold", type=float, default=0.0, help="leave out keypoints of a lower confidence")
    parser.add_argument("--detector", help="for the store's header: what found the keypoints")
    parser.add_argument(
        "--least_share",
        type=float,
        default=LEAST_SHARE,
        help="of the frames, so many at least must have an entry in a file that leaves out frames without people "
        "(default: two thirds)",
    )
    return parser.parse_args(arguments)


def _convert(options: argparse.Namespace) -> list[str]:
    """Do it; what to print."""
    path, out = options.keypoints, options.out
    if options.to == "store":
        check_store_path(out)
    if not 0 <= options.threshold <= LARGEST or not 0 <= options.least_share <= 1:
        raise InputError(
            f"--threshold={options.threshold} --least_share={options.least_share}: expected a confidence, 0 or more, "
            "and a share from 0 to 1."
        )
    split = DATA_SETS[options.dataset].load(options.root)
    tracklets = tuple(dict.fromkeys((*split.train, *split.query, *split.gallery, *split.junk)))
    name = options.format or recognise(path)
    table, found = read_source(
        path,
        split,
        tracklets,
        format_name=name,
        least_share=options.least_share,
        threshold=options.threshold,
    )
    frames, coverage = tuple(table.rows), table.coverage(tracklets)
    if options.to == "openpose":
        write_folder(out, frames, found.pixels)
    else:
        save(
            out,
            frames,
            found.pixels,
            detector=options.detector or found.detector,
            skeleton=found.skeleton,
            threshold=found.threshold,
            coverage=coverage,
        )
    lines = [f"{path}: {FORMATS[name].what}{f', {found.skeleton}' if found.skeleton else ''}."]
    absent = np.count_nonzero(~found.has_entry)
    if absent:
        lines.append(f"Without an entry {absent:,} of the {len(frames):,} frames: nobody was found in them.")
    if found.unused:
        lines.append(f"{len(found.unused):,} entries are of no frame of the data set: left out.")
    return [
        *lines,
        f"{out}: {len(frames):,} frames. Share of the frames with so many of the 14 keypoints:",
        *report(coverage),
    ]


if __name__ == "__main__":
    sys.exit(main())
