"""The command ``rgcn-jax robustness``, also ``python -m rgcn_jax.robustness``: metrics under corrupted input.

Keypoints are dropped, noisy, swapped or from another detector; frames are occluded, fewer or at a lower rate.
"""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.errors import InputError, printable
from rgcn_jax.experiments.corruptions import CORRUPTIONS
from rgcn_jax.model_command import add_data_flags, add_model_flags, data_overrides, open_embedder
from rgcn_jax.runtime import processes

if TYPE_CHECKING:  # not at run time: it imports JAX, which takes seconds
    from rgcn_jax.evaluation.results import Evaluation
    from rgcn_jax.experiments.robustness import Robustness


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax robustness") -> None:
    """Parse the command line, evaluate the model at every level, print a line for each and write the curves.

    Raises ``InputError`` for invalid arguments, models, data and keypoints, and if the file cannot be written.
    """
    known, overrides = _parse(arguments, prog)
    if processes.place() is not None:
        raise InputError("robustness runs in one process: unset the variables of a multi-process job (docs/launch.md).")
    from rgcn_jax.calibration import read_fusion
    from rgcn_jax.experiments.robustness import (
        OTHER_KEYPOINTS,
        ROBUSTNESS_FILE,
        Robustness,
        point,
        points,
        read_robustness,
        write_robustness,
    )
    from rgcn_jax.training.run import open_process_data

    embedder = open_embedder(known, [*data_overrides(known), *overrides])
    path = known.out or known.model / ROBUSTNESS_FILE
    config = embedder.config
    if not config.with_pose and known.other_keypoints:
        raise InputError("--other-keypoints: the model has no pose branch.")
    with_frames = not config.data.features
    affecting = [n for n, c in CORRUPTIONS.items() if (with_frames if c.of_frames else config.with_pose)]
    chosen = known.corruptions or affecting
    header = {"model": embedder.hash, "step": embedder.step, "seed": known.seed, "config": config.to_dict()}
    data = open_process_data(config, required=("query", "gallery"))
    header |= {"data_set": f"{data.split.name} {data.split.split_description}".strip()}
    found = read_robustness(path, header)
    of_model = {}
    if config.evaluation.distance == "calibrated":
        fusion = read_fusion(known.model, embedder.hash, config.evaluation.clips)
        of_model = {"fusion": fusion.to_json()} if fusion else {}
    measured = Robustness(embedder, data, known.seed, of_model)

    def add(name: str, unit: str, level: int | float | None, evaluate: "Callable[[], Evaluation]") -> None:
        curve = found["curves"].setdefault(name, {"unit": unit, "points": []})
        before = [at for at in curve["points"] if at["level"] == level]
        if before:
            print(_line(name, before[0]), flush=True)
            return
        curve["points"].append(point(level, evaluate()))
        write_robustness(path, found)
        print(_line(name, curve["points"][-1]), flush=True)

    for name in chosen:
        for level in points(name):
            if level is None or level == CORRUPTIONS[name].undisturbed:
                add(name, CORRUPTIONS[name].unit, level, measured.undisturbed)
            else:
                add(name, CORRUPTIONS[name].unit, level, partial(measured.corrupted, name, level))
    if known.other_keypoints:
        source = _keypoints(known, measured, data)
        found["curves"].pop(OTHER_KEYPOINTS, None)
        add(OTHER_KEYPOINTS, f"keypoints of {known.other_keypoints.name}", 0.0, measured.undisturbed)
        add(OTHER_KEYPOINTS, "", None, lambda: measured.other_keypoints(source))
    wrote = f"robustness: {path} and {path.with_suffix('.csv').name}"
    print(last_line(wrote, "rgcn-jax", "report", known.model, "--out=report.html"))


def _keypoints(known: Namespace, measured: "Robustness", data: Any) -> Any:
    """Load the test tracklets' keypoints of another detector."""
    from rgcn_jax.data.keypoints import table

    split = data.split
    if split.name == "walkers":  # its frames are rendered, so there are no files to measure
        split = replace(split, frame_size=measured.frame_size)
    found = table.load(known.other_keypoints, split, measured.tracklets)
    for remark in found.remarks:
        print(f"doubtful keypoints: {printable(remark)}", flush=True)
    return found


def _line(name: str, at: dict[str, Any]) -> str:
    level = "" if at["level"] is None else f"{at['level']:g}"
    rows = ", ".join(f"{row} {m['mAP']:.1f}/{m['rank1']:.1f}" for row, m in at["rows"].items())
    return f"{name:<16}{level:>5}  mAP/Rank-1 (%): {rows}"


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Evaluate a model on corrupted test tracklets: missing, noisy and swapped keypoints, keypoints of another "
        "detector, occlusion, missing spans, fewer frames and a lower frame rate. Rerun the same command to resume.",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.clips=even. Example: rgcn-jax "
        "robustness --model=runs/walkers",
        config_fields=True,
    )
    add_model_flags(parser)
    add_data_flags(parser)
    parser.flag(
        "--corruptions",
        f"corruptions to apply, of {', '.join(CORRUPTIONS)} (default: all that the model and its data allow)",
        type=_names,
        default=[],
        metavar="A,B",
    )
    parser.path(
        "--other-keypoints",
        "PATH",
        "keypoints of the same tracklets by another detector, in any format that data.keypoints accepts",
    )
    parser.whole("--seed", "seed of the corruptions", default=0, least=0)
    parser.path(
        "--out", "FILE.json", "the curves, also written as FILE.csv (default: robustness.json in the model's folder)"
    )
    known, overrides = parser.parse_known_args(arguments)
    if known.out and (known.out.suffix != ".json" or not known.out.parent.is_dir()):
        raise InputError(f"--out={known.out}: expected a .json file in an existing folder.")
    return known, overrides


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CORRUPTIONS]:
        raise ArgumentTypeError(f"unknown corruption {unknown[0][:50]!r}: expected some of {', '.join(CORRUPTIONS)}")
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.robustness")
