"""Command-line flags for a trained model and its data, shared by several commands; path of a results file."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rgcn_jax.command import Parser, path_argument
from rgcn_jax.config import DATA_SETS
from rgcn_jax.config_io import import_from_current_folder
from rgcn_jax.errors import InputError
from rgcn_jax.shipped import SHIPPED

if TYPE_CHECKING:  # not at run time: they import JAX, which takes seconds
    from rgcn_jax.embedder import Embedder


def add_model_flags(parser: Parser, required: bool = True) -> None:
    """Add ``--model``, ``--checkpoint`` and ``--allow-import``."""
    parser.add_argument(
        "--model",
        "--workdir",
        required=required,
        type=path_argument,
        metavar="DIR",
        help=f"a run folder, a model folder, or {', '.join(SHIPPED)}, which is part of the package",
    )
    parser.flag("--checkpoint", "checkpoint of a run", choices=("latest", "best"), default="latest")
    parser.flag(
        "--allow-import",
        "a Python module that the model's config names and that may be imported; may be repeated",
        action="append",
        default=[],
        metavar="MODULE",
    )


def add_data_flags(parser: Parser) -> None:
    """Add ``--dataset``, ``--root``, ``--keypoints`` and ``--split``; their defaults are those of the run."""
    parser.flag("--dataset", "a data set other than the run's", choices=DATA_SETS)
    parser.path("--root", "DIR", "folder of the data set, as data.root")
    parser.path("--keypoints", "PATH", "keypoints of the data set, as data.keypoints")
    parser.whole("--split", "published split of the data set, as data.split")


def data_overrides(known: Namespace) -> list[str]:
    """Convert the flags of ``add_data_flags`` to config overrides.

    Another data set or root resets all fields of the run's own data set, such as its keypoints.
    """
    fields = {"name": known.dataset, "root": known.root, "keypoints": known.keypoints, "split": known.split}
    if known.dataset or known.root:
        fields = {"keypoints": "", "split": 1, "features": ""} | {n: v for n, v in fields.items() if v is not None}
        if known.dataset and not known.root:
            fields["root"] = ""
    return [f"--config.data.{name}={value}" for name, value in fields.items() if value is not None]


def open_embedder(known: Namespace, overrides: Sequence[str]) -> "Embedder":
    """Join the processes of the job and load the model of ``--model`` on all their devices.

    Raises InputError if the model does not exist, its config names a module that is not allowed, or the processes
    differ.
    """
    from rgcn_jax import parallel
    from rgcn_jax.embedder import Embedder
    from rgcn_jax.runtime.compilation_cache import keep_compiled
    from rgcn_jax.saved_model import open_model

    parallel.start_processes()
    if known.allow_import:
        import_from_current_folder()
    saved = open_model(known.model, known.checkpoint, allow_imports=known.allow_import, overrides=overrides)
    if note := keep_compiled(saved.config.compilation_cache):
        print(note, flush=True)
    parallel.check_same("the model", f"{saved.hash} {saved.config}")
    return Embedder(saved, saved.config.parallel.num_devices)


def results_path(folder: Path, name: str, out: Path | None) -> Path:
    """Path of a results file: ``out``, else ``evaluations/NAME.json`` in the folder or, if read-only, in the current
    one.

    Raises InputError if ``out`` is not a .json file in an existing folder, or neither folder can be written.
    """
    if out is not None:
        if out.suffix != ".json" or not out.parent.is_dir():
            raise InputError(f"--out={out}: expected a .json file in an existing folder.")
        return out
    for place in (folder / "evaluations", Path("evaluations")):
        try:
            place.mkdir(exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            return place / f"{name}.json"
    raise InputError(
        f"neither {folder / 'evaluations'} nor evaluations in the current folder can be written: set the results file "
        "by --out=FILE.json."
    )
