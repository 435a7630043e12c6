"""The command ``rgcn-jax keypoints``: convert keypoints of any format to a store or an OpenPose folder."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence

import numpy as np

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.data.datasets.orientation import turned
from rgcn_jax.data.datasets.registry import DATA_SETS, add_follow_links
from rgcn_jax.data.keypoints import skeletons
from rgcn_jax.data.keypoints.coordinates import UNITS
from rgcn_jax.data.keypoints.coverage import report
from rgcn_jax.data.keypoints.formats import FORMATS, LEAST_SHARE, recognise
from rgcn_jax.data.keypoints.numbers import LARGEST
from rgcn_jax.data.keypoints.openpose import write_folder
from rgcn_jax.data.keypoints.store import check_store_path, save
from rgcn_jax.data.keypoints.table import read_source
from rgcn_jax.errors import InputError, printable
from rgcn_jax.skeleton import SKELETONS


@on_interrupt("nothing is written.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax keypoints") -> None:
    """Convert keypoints of any supported format to a keypoint store or a folder of OpenPose files; print a summary.

    Raises:
      InputError: an argument, the keypoints or the data set are invalid.
    """
    for line in _convert(_parse(arguments, prog)):
        print(printable(line))


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Convert keypoints of any supported format to a keypoint store, or to a folder of OpenPose files, and print "
        "how many were detected.",
        epilog="Formats: " + "; ".join(f"{name}: {known.what}" for name, known in FORMATS.items()) + ".",
    )
    parser.flag("--dataset", "which layout the root has", required=True, choices=sorted(DATA_SETS))
    parser.path("--root", "DIR", "folder of the data set", required=True)
    add_follow_links(parser)
    parser.path("--keypoints", "PATH", "folder or file of keypoints", required=True)
    parser.flag("--format", "their format (default: recognised by the path)", choices=list(FORMATS))
    add_source_flags(parser)
    parser.path("--out", "PATH", "keypoint store to write, .npz; or folder", required=True)
    parser.flag("--to", "what to write", choices=("store", "openpose"), default="store")
    parser.flag("--threshold", "leave out keypoints of a lower confidence", type=float, default=0.0, metavar="X")
    parser.flag("--detector", "for the store's header: what found the keypoints", metavar="NAME")
    parser.flag(
        "--least-share",
        "fraction of the frames that must have an entry, in a file that leaves out frames without persons "
        "(default: two thirds)",
        type=float,
        default=LEAST_SHARE,
        metavar="X",
    )
    return parser.parse_args(arguments)


def add_source_flags(parser: Parser) -> None:
    """Add ``--skeleton`` and ``--units``, for properties that keypoint files do not state."""
    parser.flag(
        "--skeleton",
        f"their skeleton, one of {', '.join(SKELETONS)} (default: as the files say, else by the number of keypoints)",
        type=_skeleton,
        metavar="NAME",
    )
    parser.flag(
        "--units",
        "their coordinates: pixels of the crop, or normalised to its width and height (default: as the files say, "
        "else pixels)",
        choices=UNITS,
    )


def _skeleton(name: str) -> str:
    try:
        return skeletons.find(name)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from error


def _convert(options: Namespace) -> list[str]:
    """Convert; return the lines to print."""
    path, out = options.keypoints, options.out
    if options.to == "store":
        check_store_path(out)
    if not 0 <= options.threshold <= LARGEST or not 0 <= options.least_share <= 1:
        raise InputError(
            f"--threshold={options.threshold} --least-share={options.least_share}: expected a confidence, 0 or more, "
            "and a fraction from 0 to 1."
        )
    split = DATA_SETS[options.dataset].load(options.root, follow_links=options.follow_links)
    tracklets = tuple(dict.fromkeys((*split.train, *split.query, *split.gallery, *split.junk)))
    name = options.format or recognise(path)
    table, found = read_source(
        path,
        split,
        tracklets,
        format_name=name,
        least_share=options.least_share,
        threshold=options.threshold,
        skeleton=options.skeleton,
        units=options.units,
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
    lines = [
        f"{path}: {FORMATS[name].what}{f', {found.skeleton}' if found.skeleton else ''}. Coordinates: {found.units}."
    ]
    lines += [f"doubtful: {remark}" for remark in (*table.remarks, *turned(split.root, tracklets))]
    absent = np.count_nonzero(~found.has_entry)
    if absent:
        lines.append(f"Without an entry {absent:,} of the {len(frames):,} frames: nobody was found in them.")
    if found.unused:
        lines.append(f"Entries of no frame of the data set, left out: {len(found.unused):,}.")
    return [
        *lines,
        f"{out}: {len(frames):,} frames. Share of the frames with so many of the 14 keypoints:",
        *report(coverage),
        last_line(
            f"keypoints: {options.out}",
            *("rgcn-jax", "prepare", f"--dataset={options.dataset}", f"--root={options.root}"),
            *(f"--keypoints={options.out}", "--out=prepared"),
        ),
    ]


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.data.keypoints")
