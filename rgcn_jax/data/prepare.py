"""Data preparation: convert a data set as it was distributed to ArrayRecord shards, or only check it for errors.

    python -m rgcn_jax.data.prepare --dataset=mars --root=MARS --keypoints=mars_keypoints.npz --out=PREPARED
    python -m rgcn_jax.data.prepare --dataset=mars --root=MARS --keypoints=mars_keypoints.npz --check --report=mars.txt

Killed at any moment, the first command resumes when it is rerun. ``prepared/format.py`` describes the files in
PREPARED. Training opens it by ``--config.data.name=mars --config.data.root=PREPARED``.
"""

from argparse import Namespace
from collections.abc import Sequence

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.data.datasets.registry import DATA_SETS, add_follow_links
from rgcn_jax.data.keypoints.__main__ import add_source_flags
from rgcn_jax.data.prepared.beam import write_shards
from rgcn_jax.data.prepared.check import check
from rgcn_jax.data.prepared.shard import FRAMES_PER_SHARD
from rgcn_jax.data.prepared.source import Finding, collected_warnings, read_keypoints, read_splits, remarks
from rgcn_jax.data.prepared.writer import Preparation
from rgcn_jax.errors import printable
from rgcn_jax.runtime.cores import usable_cores

LARGEST_SIDE = 4096
"""Of prepared frames, in pixels."""


@on_interrupt("what is finished is kept; rerun the same command to resume.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax prepare") -> int:
    """Prepares a data set, or checks it; returns the exit status: 0, or 1 for a data set that the check finds unusable.

    Raises:
      InputError: an argument or the data set is invalid.
    """
    options = _parse(arguments, prog)
    return _check(options) if options.check else _prepare(options)


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Prepare a data set for training, once: frames resized and checked, with keypoints and ids, in TensorFlow "
        "Datasets' format. If interrupted, rerun the same command to resume.",
    )
    parser.flag("--dataset", "which layout the root has", required=True, choices=sorted(DATA_SETS))
    parser.path("--root", "DIR", "folder of the data set as it was distributed", required=True)
    parser.path("--keypoints", "PATH", "folder or file of keypoints; without: appearance only")
    add_source_flags(parser)
    add_follow_links(parser)
    parser.path("--out", "DIR", "folder to write to; it may hold several prepared data sets")
    parser.whole("--height", "of the frames, in pixels", default=256, most=LARGEST_SIDE)
    parser.whole("--width", "of the frames, in pixels", default=128, most=LARGEST_SIDE)
    parser.whole("--workers", "processes (default: one for each core that may be used)", default=usable_cores())
    parser.flag("--beam", "write on many machines by Apache Beam with these options of its pipeline", metavar="OPTIONS")
    parser.switch("--check", "prepare nothing, list all that is wrong")
    parser.path("--report", "FILE", "with --check: a text file for every name that is found")
    parser.whole("--frames-per-clip", "shorter tracklets are remarked on", default=10)
    parser.whole("--frames-per-shard", "a file takes tracklets until it has so many frames", default=FRAMES_PER_SHARD)
    options = parser.parse_args(arguments)
    if options.check == (options.out is not None):
        parser.error("expected either --out=DIR or --check")
    if options.beam is not None and (options.check or not options.beam):
        parser.error("--beam=OPTIONS is for --out=DIR, such as --beam=runner=FlinkRunner,flink_master=HOST:8081")
    if options.report and not options.check:
        parser.error("--report=FILE is for --check only")
    return options


def _check(options: Namespace) -> int:
    lines, found, status = check(options)
    for line in lines:
        _say(line)
    if status:
        _say(last_line(found, then="correct what is listed above and rerun the same command"))
        return status
    keypoints = (f"--keypoints={options.keypoints}",) if options.keypoints else ()
    read = (f"--dataset={options.dataset}", f"--root={options.root}", *keypoints)
    _say(last_line(found, "rgcn-jax", "prepare", *read, "--out=prepared"))
    return status


def _prepare(options: Namespace) -> int:
    notes: list[Finding] = []
    keypoints = None
    with collected_warnings(notes):
        source = read_splits(options.dataset, options.root, options.follow_links)
        if options.keypoints:
            keypoints, odd = read_keypoints(options.keypoints, source, options.skeleton, options.units)
            notes += odd
    for note in [*notes, *remarks(source, options.frames_per_clip)]:
        _say(f"remark: {note.text}")
    with Preparation(
        options.out, source, keypoints, options.height, options.width, options.frames_per_shard
    ) as preparation:
        train = ("train", f"--config={options.dataset}", f"--config.data.root={options.out}")
        if preparation.finished:
            _say(last_line(f"{preparation.folder} is prepared already", "rgcn-jax", *train))
            return 0
        if preparation.unused:
            _say(
                f"remark: {len(preparation.unused):,} finished shards are not used, because their images or keypoints "
                "have changed since, or were prepared with other settings"
            )
        if options.beam:
            missing = preparation.missing
            write_shards(missing, options.beam)
            _say(f"the pipeline wrote {len(missing) - len(preparation.missing):,} of {len(missing):,} shards")
        for line in preparation.run(options.workers):
            _say(line)
    _say(last_line(f"prepared: {preparation.folder}", "rgcn-jax", *train))
    return 0


def _say(text: str) -> None:
    """Print a line."""
    print(printable(text), flush=True)


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.data.prepare")
