"""Entry point of ``rgcn-jax COMMAND`` (or ``python -m rgcn_jax COMMAND``): the list of commands and their dispatch.

Each command is the function ``main(arguments, prog)`` of a module that also runs on its own, such as ``python -m
rgcn_jax.data.prepare``. The module is imported when the command is called, so the help page imports neither JAX nor
TensorFlow.
"""

import difflib
import importlib
from collections.abc import Sequence
from typing import NamedTuple

from rgcn_jax import __version__
from rgcn_jax.command import run_command
from rgcn_jax.errors import InputError


class Command(NamedTuple):
    """A command: its name, the module that defines its ``main``, and its summary on the help page."""

    name: str
    module: str
    does: str


COMMANDS = (
    Command("walkers", "rgcn_jax.walkers.__main__", "write the generated data set to disk, or draw a contact sheet"),
    Command("tracks", "rgcn_jax.data.mot", "cut a video and its tracks into a data set"),
    Command("detect", "rgcn_jax.pose_detection.__main__", "run a pose detector on the frames of a data set"),
    Command("keypoints", "rgcn_jax.data.keypoints.__main__", "convert keypoint files of pose estimators to a store"),
    Command("features", "rgcn_jax.data.features.__main__", "convert appearance features of another model"),
    Command("prepare", "rgcn_jax.data.prepare", "check a data set and prepare it for training"),
    Command("train", "rgcn_jax.main", "train a model and evaluate it, or resume a run"),
    Command("evaluate", "rgcn_jax.evaluate", "evaluate a model on any data set, or score a features file"),
    Command("embed", "rgcn_jax.embed", "write the features of all tracklets of a data set to a file"),
    Command("sweep", "rgcn_jax.sweep", "train all runs of a table of the paper, or of your own, and print the table"),
    Command("compare", "rgcn_jax.compare", "compare two configurations, or two rows, with intervals and p-values"),
    Command("robustness", "rgcn_jax.robustness", "evaluate a model under corrupted keypoints and frames"),
    Command("report", "rgcn_jax.report.__main__", "write an HTML page about a run, and figures for a paper"),
    Command("calibrate", "rgcn_jax.calibrate", "measure a model's thresholds at fixed false positive rates"),
    Command("export", "rgcn_jax.export.__main__", "write a model folder to share, or ONNX, TensorFlow or StableHLO"),
    Command("gallery", "rgcn_jax.gallery.__main__", "enrol tracklets and search for the same person"),
)
"""All commands, in the order of a typical workflow."""


def help_page(prog: str) -> str:
    """The text that ``--help`` prints."""
    width = max(len(command.name) for command in COMMANDS)
    lines = "\n".join(f"  {command.name:<{width}}  {command.does}" for command in COMMANDS)
    return (
        f"usage: {prog} COMMAND [flags]\n\n"
        "Video person re-identification with a pose branch, in JAX and Flax.\n\n"
        f"commands, in the order of a typical workflow:\n{lines}\n\n"
        f"{prog} COMMAND --help lists the flags of a command; {prog} --version prints the version.\n"
        f"To try it without any data: {prog} train --config=walkers"
    )


def dispatch(arguments: Sequence[str], prog: str = "rgcn-jax") -> object:
    """Run the command that the first argument names, with the remaining arguments, and return its exit status.

    Raises:
      InputError: the command is unknown, or the command itself raises it.
    """
    name, *rest = arguments or ["--help"]
    if name in ("--help", "-h", "help"):
        print(help_page(prog))
        return 0 if arguments else 2
    if name == "--version":
        print(f"rgcn_jax {__version__}")
        return 0
    modules = {command.name: command.module for command in COMMANDS}
    if name not in modules:
        near = difflib.get_close_matches(name.lower(), modules)
        hint = f"did you mean {', '.join(near)}?" if near else f"expected one of {', '.join(modules)}."
        raise InputError(f"unknown command {name}: {hint} {prog} --help lists them.")
    return importlib.import_module(modules[name]).main(rest, prog=f"{prog} {name}")


def main() -> None:
    """Entry point of the console script ``rgcn-jax``."""
    run_command(dispatch, prog="rgcn-jax")


if __name__ == "__main__":
    run_command(dispatch, prog="python -m rgcn_jax")
