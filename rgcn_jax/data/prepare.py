"""Data preparation: convert an original data set to ArrayRecord shards, or only check it for errors.

    python -m rgcn_jax.data.prepare --dataset=mars --root=MARS --keypoints=mars_keypoints.npz --out=PREPARED
    python -m rgcn_jax.data.prepare --dataset=mars --root=MARS --keypoints=mars_keypoints.npz --check --report=mars.txt

If killed, the first command resumes when it is rerun. ``prepared/format.py`` describes the files in PREPARED. Training
reads them with ``--config.data.name=mars --config.data.root=PREPARED``.
"""

from argparse import Namespace
from collections.abc import Sequence

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.data.datasets.registry import DATA_SETS, add_follow_links
from rgcn_jax.data.keypoints.__main__ import add_source_flags
from rgcn_jax.data.prepared.check import check
from rgcn_jax.data.prepared.source import Finding, collected_warnings, read_keypoints, read_splits, remarks
from rgcn_jax.data.prepared.writer import FRAMES_PER_SHARD, prepare
from rgcn_jax.errors import printable
from rgcn_jax.runtime.cores import usable_cores

LARGEST_SIDE = 4096
"""Maximum height and width of prepared frames, in pixels."""


@on_interrupt("what is finished is kept; rerun the same command to resume.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax prepare") -> int:
    """Prepare or check a data set; return the exit status: 0, or 1 if the check finds it unusable.

    Raises:
      InputError: an argument or the data set is invalid.
    """
    options = _parse(arguments, prog)
    return check(options, _say) if options.check else _prepare(options)


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Prepare a data set for training: resized and checked frames, with keypoints and ids, in the format of "
        "TensorFlow Datasets. Rerun the same command to resume.",
    )
    parser.flag("--dataset", "data set whose layout the root has", required=True, choices=sorted(DATA_SETS))
    parser.path("--root", "DIR", "folder of the original data set", required=True)
    parser.path("--keypoints", "PATH", "keypoint files or store; without it, appearance only")
    add_source_flags(parser)
    add_follow_links(parser)
    parser.path("--out", "DIR", "folder to write to, which may hold several prepared data sets")
    parser.whole("--height", "height of the frames, in pixels", default=256, most=LARGEST_SIDE)
    parser.whole("--width", "width of the frames, in pixels", default=128, most=LARGEST_SIDE)
    parser.whole("--workers", "number of processes (default: number of usable cores)", default=usable_cores())
    parser.flag("--beam", "write on many machines by Apache Beam, with these pipeline options", metavar="OPTIONS")
    parser.switch("--check", "do not prepare, but list all errors")
    parser.path("--report", "FILE", "text file for the full list of --check")
    parser.whole("--frames-per-clip", "shorter tracklets are reported", default=10)
    parser.whole("--frames-per-shard", "minimum number of frames in a file", default=FRAMES_PER_SHARD)
    options = parser.parse_args(arguments)
    if options.check == (options.out is not None):
        parser.error("expected either --out=DIR or --check")
    if options.beam is not None and (options.check or not options.beam):
        parser.error("--beam=OPTIONS needs --out=DIR, such as --beam=runner=FlinkRunner,flink_master=HOST:8081")
    if options.report and not options.check:
        parser.error("--report=FILE needs --check")
    return options


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
    size = options.height, options.width
    done = prepare(
        options.out, source, keypoints, size, options.frames_per_shard, options.workers, options.beam, say=_say
    )
    _say(last_line(done, "rgcn-jax", "train", f"--config={options.dataset}", f"--config.data.root={options.out}"))
    return 0


def _say(text: str) -> None:
    """Print a line."""
    print(printable(text), flush=True)


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.data.prepare")
