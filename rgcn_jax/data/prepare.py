"""From a data set as it was distributed to its prepared form, once; or only a check of all that is wrong with it.

    python -m rgcn_jax.data.prepare --dataset=mars --root=MARS --keypoints=mars_keypoints.npz --out=PREPARED
    python -m rgcn_jax.data.prepare --dataset=mars --root=MARS --keypoints=mars_keypoints.npz --check --report=mars.txt

Killed at any moment, the first command continues where it was when it is given again. What is then in PREPARED is told
by ``prepared/format.py``. Training opens it by ``--config.data.name=mars --config.data.root=PREPARED``.
"""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from rgcn_jax.command import path_argument
from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.prepared.check import check
from rgcn_jax.data.prepared.findings import SHOWN, Finding
from rgcn_jax.data.prepared.shard_task import FRAMES_PER_SHARD
from rgcn_jax.data.prepared.source import Source, collected_warnings, read_keypoints, read_splits, remarks
from rgcn_jax.data.prepared.writer import Preparation
from rgcn_jax.errors import InputError, listed, printable

LARGEST_SIDE = 4096
"""Of prepared frames, in pixels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare a data set, or check it; return the exit status: 0, 1 for a data set that a check finds unusable, 2 for
    an error.
    """
    options = _parse(arguments)
    try:
        return check(options, _read_source, _say) if options.check else _prepare(options)
    except InputError as error:
        _say(f"error: {error}", error=True)
        return 2
    except KeyboardInterrupt:
        _say("interrupted: what is finished is kept; the same command continues.", error=True)
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rgcn_jax.data.prepare",
        description="Prepare a data set for training, once: frames resized and checked, with keypoints and ids, in "
        "TensorFlow Datasets' form. Killed at any moment, the same command continues.",
    )
    parser.add_argument("--dataset", required=True, choices=sorted(DATA_SETS), help="which layout the root has")
    parser.add_argument(
        "--root", required=True, type=path_argument, help="folder of the data set as it was distributed"
    )
    parser.add_argument("--keypoints", type=path_argument, help="folder or file of keypoints; without: appearance only")
    parser.add_argument("--out", type=path_argument, help="folder to write to; it may hold several prepared data sets")
    parser.add_argument("--height", type=_pixels, default=256, help="of the frames, in pixels (default: 256)")
    parser.add_argument("--width", type=_pixels, default=128, help="likewise (default: 128)")
    parser.add_argument("--workers", type=_positive, default=2, help="processes (default: 2)")
    parser.add_argument("--check", action="store_true", help="prepare nothing, list all that is wrong")
    parser.add_argument("--report", type=path_argument, help="with --check: a text file for every name that is found")
    parser.add_argument(
        "--frames_per_clip", type=_positive, default=10, help="shorter tracklets are remarked on (default: 10)"
    )
    parser.add_argument(
        "--frames_per_shard",
        type=_positive,
        default=FRAMES_PER_SHARD,
        help=f"a file takes tracklets until it has so many frames (default: {FRAMES_PER_SHARD})",
    )
    options = parser.parse_args(arguments)
    if options.check == (options.out is not None):
        parser.error("give either --out or --check")
    if options.report and not options.check:
        parser.error("--report is of --check")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _pixels(text: str) -> int:
    if not 1 <= (number := int(text)) <= LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"{number} is no number of pixels from 1 to {LARGEST_SIDE:,}")
    return number


def _read_source(options: argparse.Namespace) -> Source:
    return read_splits(options.dataset, options.root)


def _prepare(options: argparse.Namespace) -> int:
    notes: list[Finding] = []
    with collected_warnings(notes):
        source = _read_source(options)
        keypoints = read_keypoints(options.keypoints, source) if options.keypoints else None
    notes += [*(keypoints.remarks if keypoints else ()), *remarks(source, options.frames_per_clip)]
    for note in notes:
        _say(note.line)
    with Preparation(
        options.out, source, keypoints, options.height, options.width, options.frames_per_shard
    ) as preparation:
        if preparation.finished:
            _say(f"{preparation.folder} is prepared already.")
            return 0
        if preparation.changed:
            _say(
                f"remark: {len(preparation.changed):,} images have changed since their shards were written, and these "
                f"are written again: {listed(preparation.changed, SHOWN)}"
            )
        total = sum(len(t.frames) for t in source.tracklets)
        with tqdm(total=total, initial=preparation.frames_done, desc="prepare", unit="frame", disable=None) as bar:
            preparation.run(options.workers, bar.update)
    for line in preparation.report():
        _say(line)
    return 0


def _say(text: str, error: bool = False) -> None:
    """Print a line."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
