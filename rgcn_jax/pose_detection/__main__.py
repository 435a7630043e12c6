"""The command ``rgcn-jax detect``, also ``python -m rgcn_jax.pose_detection``: detect poses in a data set.

It runs a pose detector on the crops of a data set and writes a keypoint store.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.data.datasets.registry import DATA_SETS, add_follow_links
from rgcn_jax.data.keypoints import coverage
from rgcn_jax.errors import printable
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.run import Options, check, detect


@on_interrupt("what is finished is kept; rerun the same command to resume.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax detect") -> None:
    """Detect the keypoints of all crops of a data set, write the store and print a summary.

    Raises:
      InputError: an argument, the model or the data set is invalid.
    """
    fields = vars(_parse(arguments, prog))
    dataset, root, out, follow_links = (fields.pop(name) for name in ("dataset", "root", "out", "follow_links"))
    options = Options(**fields)
    check(out, options)
    report = detect(DATA_SETS[dataset].load(root, follow_links=follow_links), out, options)
    prepare = ("prepare", f"--dataset={dataset}", f"--root={root}", f"--keypoints={out}", "--out=prepared")
    if report is None:
        print(last_line(f"{out} is already complete", "rgcn-jax", *prepare))
        return
    resumed = f" ({report.resumed:,} more by earlier calls)" if report.resumed else ""
    rate = report.detected / max(report.working_seconds, 1e-9)
    print(
        printable(
            f"{out}: {report.detected:,} crops in {report.seconds:.1f} s{resumed}, {rate:.1f} crops/s without the "
            f"start of {options.workers} processes."
        )
    )
    print("Fraction of frames by number of detected keypoints (of 14):")
    print("\n".join(coverage.report(report.coverage)))
    print(last_line(f"keypoints: {out}", "rgcn-jax", *prepare))


def _parse(arguments: Sequence[str] | None, prog: str) -> Namespace:
    parser = Parser(
        prog,
        "Run a pose detector on all crops of a data set and write a keypoint store. Rerun the same command to resume. "
        "Nothing is downloaded.",
    )
    parser.flag("--dataset", "data set whose layout the root has", required=True, choices=sorted(DATA_SETS))
    parser.path("--root", "DIR", "folder of the data set", required=True)
    add_follow_links(parser)
    parser.path("--out", "FILE.npz", "keypoint store to write", required=True)
    parser.flag("--backend", "pose detector", required=True, choices=tuple(BACK_ENDS))
    parser.path("--model", "FILE", "weights: movenet-thunder.json (with its .bin), or an .onnx file", required=True)
    margins = ", ".join(f"{backend.margin} for {name}" for name, backend in BACK_ENDS.items())
    parser.flag(
        "--margin",
        f"size of the detector's input box, as a multiple of the crop (default: {margins})",
        type=float,
        metavar="X",
    )
    usual = Options("", Path())
    for name, text in {
        "threshold": "minimum confidence of a detected keypoint",
        "workers": "number of processes (default: one for each usable core); on a GPU one or two are enough",
        "batch": "crops per batch of the detector",
        "save-every": "frames between saves of a process",
    }.items():
        default = getattr(usual, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}", type=type(default), default=default, metavar="X" if name == "threshold" else "N", help=text
        )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.pose_detection")
