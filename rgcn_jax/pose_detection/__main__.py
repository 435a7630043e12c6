"""``python -m rgcn_jax.pose_detection``: from the crops of a data set to a keypoint store, by a pose detector."""

import argparse
import sys
from collections.abc import Sequence

from rgcn_jax.command import path_argument
from rgcn_jax.data.datasets.registry import DATA_SETS
from rgcn_jax.data.keypoints import coverage
from rgcn_jax.errors import InputError, printable
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.run import Options, check, detect


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rgcn_jax.pose_detection",
        description="Runs a pose detector over all crops of a data set and writes a keypoint store. Stopped at any "
        "moment, the same command continues. Nothing is downloaded.",
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", required=True, choices=sorted(DATA_SETS), help="which layout the root has")
    parser.add_argument("--root", required=True, type=path_argument, help="folder of the data set")
    parser.add_argument("--out", required=True, type=path_argument, help="keypoint store to write, .npz")
    parser.add_argument("--backend", required=True, choices=tuple(BACK_ENDS), help="which detector")
    parser.add_argument(
        "--model",
        required=True,
        type=path_argument,
        help="its weights: movenet-thunder.json (with its .bin), or an .onnx file",
    )
    margins = ", ".join(f"{backend.margin} for {name}" for name, backend in BACK_ENDS.items())
    parser.add_argument(
        "--margin", type=float, help=f"what the detector looks at, as a multiple of the crop; default {margins}"
    )
    numbers = {
        "threshold": "confidence from which a keypoint counts as detected",
        "workers": "processes; on a CPU, one a core is fastest",
        "batch": "crops that enter the detector together",
        "save_every": "frames between two savings of a process",
    }
    for name, text in numbers.items():
        default = getattr(Options, name)
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text}; default {default}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 2 where the user has to mend something."""
    fields = vars(_parser().parse_args(arguments))
    dataset, root, out = (fields.pop(name) for name in ("dataset", "root", "out"))
    options = Options(**fields)
    try:
        check(out, options)
        report = detect(DATA_SETS[dataset].load(root), out, options)
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept, the same command continues", file=sys.stderr)
        return 130
    if report is None:
        print(f"{out} is complete already.")
        return 0
    taken_over = f" ({report.taken_over:,} more by earlier calls)" if report.taken_over else ""
    print(
        f"{out}: {report.detected:,} crops in {report.seconds:.1f} s{taken_over}, "
        f"{report.detected / max(report.working_seconds, 1e-9):.1f} crops/s without the start of {options.workers} "
        "processes."
    )
    print("Share of the frames with so many of the 14 keypoints:")
    print("\n".join(coverage.report(report.coverage)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
