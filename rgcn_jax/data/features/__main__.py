"""The command ``rgcn-jax features``: convert appearance features of another program to ``data.features``."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.data.datasets.registry import DATA_SETS, add_follow_links
from rgcn_jax.data.features.files import Rows, read_features
from rgcn_jax.data.features.matching import Matched, match
from rgcn_jax.errors import MALFORMED, InputError, as_input_error, printable
from rgcn_jax.runtime.files import writing
from rgcn_jax.runtime.npz import write_arrays
from rgcn_jax.runtime.user_files import LARGEST_LIST, read_file
from rgcn_jax.types import Split


@on_interrupt("nothing is written.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax features") -> None:
    """Convert appearance features of another program to the file format of ``data.features``.

    Raises:
      InputError: an argument, a file or the data set is invalid, or the features do not fit the data set.
    """
    options = _parse(arguments, prog)
    if options.out.suffix != ".npz" or not options.out.parent.is_dir():
        raise InputError(f"--out={options.out}: expected an .npz file in an existing folder.")
    parts = read_features(options.files)
    if options.names:
        parts = _with_names(parts, options.names)
    split = DATA_SETS[options.dataset].load(options.root, options.split, options.follow_links)
    matched = match(parts, split)
    write_features(options.out, matched, split)
    for line in [*matched.notes, *_summary(options.out, matched, split)]:
        print(printable(line))
    print(last_line(f"features: {options.out}", "rgcn-jax", "evaluate", f"--features={options.out}"))


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Convert appearance features of another program to the .npz file format of data.features. Rows are matched to "
        "the tracklets of a data set by frame names or by order, and persons and cameras are compared.",
        epilog="Files: .csv (GAF-Net), .mat (MATLAB 5 to 7.3), .npz, .pth, with arrays named gf, qf, g_pids, q_pids, "
        "g_camids, q_camids, g_names, q_names or similar (docs/own-features.md). Training features (train_f, ...) are "
        "optional.",
    )
    parser.path("--from", "FILE", "features; may be repeated", dest="files", required=True, action="append")
    parser.flag("--dataset", "data set whose layout the root has", required=True, choices=sorted(DATA_SETS))
    parser.path("--root", "DIR", "folder of the data set", required=True)
    add_follow_links(parser)
    parser.whole("--split", "number of the published split, from 1", default=1)
    parser.path(
        "--names",
        "FILE",
        "text file with a frame name for each row, one per line: queries, gallery, then training tracklets, if present",
    )
    parser.path("--out", "FILE.npz", "file to write", required=True)
    return parser.parse_args(arguments)


def _with_names(parts: Mapping[str, Rows], path: Path) -> dict[str, Rows]:
    """Combine rows with the names in a text file, in the order of the parts."""
    with as_input_error(f"--names={path} cannot be read as text in UTF-8", kinds=MALFORMED):
        names = read_file(path, LARGEST_LIST).decode("utf-8-sig").splitlines()
    counts = {part: len(rows.features) for part, rows in parts.items()}
    if len(names) != sum(counts.values()):
        rows = ", ".join(f"{part or 'all'} {count:,}" for part, count in counts.items())
        raise InputError(f"--names={path} has {len(names):,} lines, but the features have rows: {rows}.")
    named, start = {}, 0
    for part, count in counts.items():
        named[part] = parts[part]._replace(names=names[start : start + count])
        start += count
    return named


def write_features(path: Path, matched: Matched, split: Split) -> None:
    """Write the features in the format of ``evaluation.feature_set``.

    Arrays: appearance [N, D], pose [N, 0], person_ids [N], camera_ids [N], first_frames [N], is_query [N], is_gallery
    [N]. Order: gallery, queries outside of the gallery, junk, training tracklets. Tracklets without features are
    omitted.

    Raises:
      InputError: the file cannot be written.
    """
    order = dict.fromkeys([*split.gallery, *split.query, *split.junk, *split.train])
    tracklets = [t for t in order if t in matched.features]
    query, gallery = set(split.query), set(split.gallery)
    arrays = {
        "appearance": np.stack([matched.features[t] for t in tracklets]),
        "pose": np.zeros((len(tracklets), 0), np.float32),
        "person_ids": np.array([t.person_id for t in tracklets], np.int32),
        "camera_ids": np.array([t.camera_id for t in tracklets], np.int32),
        "first_frames": np.array([t.frames[0] for t in tracklets]),
        "is_query": np.array([t in query for t in tracklets]),
        "is_gallery": np.array([t in gallery for t in tracklets]),
    }
    with writing(path):
        write_arrays(path, arrays)


def _summary(path: Path, matched: Matched, split: Split) -> list[str]:
    width = len(next(iter(matched.features.values())))
    lines = [f"{path}: {width:,} dimensions of {len(matched.features):,} tracklets"]
    if absent := sum(t not in matched.features for t in split.train):
        lines.append(
            f"{absent:,} of {len(split.train):,} training tracklets have none: the file cannot be used for training"
        )
    if any(t not in matched.features for t in split.junk):
        lines.append("junk tracklets have none: the protocol junk_kept is omitted")
    return lines


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.data.features")
