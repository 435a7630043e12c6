"""The command ``python -m rgcn_jax.data.keypoints``: keypoints in any form in, a store or an OpenPose folder out."""

from argparse import Namespace
from collections.abc import Sequence

import numpy as np

from rgcn_jax.command import Parser, on_interrupt, path_argument, run_command
from rgcn_jax.data.keypoints.coverage import report
from rgcn_jax.data.keypoints.formats import FORMATS, LEAST_SHARE, read, recognise
from rgcn_jax.data.keypoints.numbers import LARGEST
from rgcn_jax.data.keypoints.openpose import write_folder
from rgcn_jax.data.keypoints.store import check_store_path, save
from rgcn_jax.data.keypoints.table import KeypointTable, count_coverage, frame_sizes, shares_of_crop, unique_frames
from rgcn_jax.errors import InputError, printable


@on_interrupt("nothing is written.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax keypoints") -> None:
    """Converts keypoints of any supported format to a keypoint store, or to a folder of OpenPose files, and prints how
    many were detected.

    Raises:
      InputError: an argument, the keypoints or the data set are invalid.
    """
    for line in _convert(_parse(arguments, prog)):
        print(printable(line))


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    from rgcn_jax.data.load import FOLDERS  # which itself imports the keypoints

    parser = Parser(
        prog,
        "Convert keypoints of any supported format to a keypoint store, or to a folder of OpenPose files, and print "
        "how many were detected.",
        epilog="Formats: " + "; ".join(f"{name}: {form.what}" for name, form in FORMATS.items()) + ".",
    )
    parser.add_argument("--dataset", required=True, choices=sorted(FOLDERS), help="which layout the root has")
    parser.add_argument("--root", required=True, type=path_argument, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--keypoints", required=True, type=path_argument, metavar="PATH", help="folder or file of keypoints"
    )
    parser.add_argument("--format", choices=list(FORMATS), help="their format (default: recognised by the path)")
    parser.add_argument(
        "--out", required=True, type=path_argument, metavar="PATH", help="keypoint store to write, .npz; or folder"
    )
    parser.add_argument("--to", choices=("store", "openpose"), default="store", help="what to write")
    parser.add_argument(
        "--threshold", type=float, default=0.0, metavar="X", help="leave out keypoints of a lower confidence"
    )
    parser.add_argument("--detector", metavar="NAME", help="for the store's header: what found the keypoints")
    parser.add_argument(
        "--least-share",
        type=float,
        default=LEAST_SHARE,
        metavar="X",
        help="fraction of the frames that must have an entry, in a file that leaves out frames without persons "
        "(default: two thirds)",
    )
    return parser.parse_args(arguments)


def _convert(options: Namespace) -> list[str]:
    """Do it; what to print."""
    from rgcn_jax.data.load import FOLDERS

    path, out = options.keypoints, options.out
    if options.to == "store":
        check_store_path(out)
    if not 0 <= options.threshold <= LARGEST or not 0 <= options.least_share <= 1:
        raise InputError(
            f"--threshold={options.threshold} --least-share={options.least_share}: expected a confidence, 0 or more, "
            "and a fraction from 0 to 1."
        )
    split = FOLDERS[options.dataset](options.root)
    tracklets = tuple(dict.fromkeys((*split.train, *split.query, *split.gallery, *split.junk)))
    frames = unique_frames(tracklets)
    sizes = frame_sizes(split, tracklets, frames)
    form = options.format or recognise(path)
    found = read(path, frames, sizes, form, options.least_share)
    pixels = np.where(found.pixels[..., 2:] >= options.threshold, found.pixels, np.float32(0))
    table = KeypointTable(shares_of_crop(path, pixels, sizes), {frame: i for i, frame in enumerate(frames)})
    counts = count_coverage(table, tracklets)
    if options.to == "openpose":
        write_folder(out, frames, pixels)
    else:
        detector = options.detector or found.detector
        threshold = max(options.threshold, found.threshold)
        save(out, frames, pixels, detector=detector, skeleton=found.skeleton, threshold=threshold, coverage=counts)
    lines = [f"{path}: {FORMATS[form].what}{f', {found.skeleton}' if found.skeleton else ''}."]
    absent = np.count_nonzero(~found.has_entry)
    if absent:
        lines.append(f"Without an entry {absent:,} of the {len(frames):,} frames: nobody was found in them.")
    if found.unused:
        lines.append(f"{len(found.unused):,} entries are of no frame of the data set: left out.")
    return [
        *lines,
        f"{out}: {len(frames):,} frames. Share of the frames with so many of the 14 keypoints:",
        *report(counts),
    ]


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.data.keypoints")
