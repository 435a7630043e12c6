"""Experiment trackers: TensorBoard, Weights & Biases and MLflow, in addition to ``metrics.jsonl``.

TensorBoard files are written if tensorboardX is installed; ``config.tracker`` selects one of the others. Their servers
are set by their own environment variables or login. Nothing is sent unless the config selects a tracker.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from rgcn_jax.config import Config
from rgcn_jax.errors import MALFORMED, as_input_error, needs_extra
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.training import tensorboard

RUN_FILE = "tracker.json"
"""File in the work directory with the run's id in each tracker, to continue there on resume."""


@runtime_checkable
class Tracker(Protocol):
    """Receives the metrics of a run. An exception disables the tracker and is reported; training continues."""

    name: str

    def add(self, scalars: Mapping[str, float | int], step: int) -> None:
        """Log scalars by name, such as "train/loss" or "fused/mAP"; steps never decrease."""

    def close(self) -> None:
        """Deliver everything before returning."""


def open_trackers(config: Config, workdir: Path, first_step: int) -> list[Tracker]:
    """Open TensorBoard, if it is installed, and the tracker of the config, in an existing work directory.

    Steps after ``first_step``, from which the run is resumed, are repeated. Raises InputError if the tracker is not
    installed or does not start.
    """
    trackers: list[Tracker] = [tensorboard.Board(workdir, first_step)] if tensorboard.is_installed() else []
    if config.tracker != "none":
        trackers.append(_open(config, workdir))
    return trackers


def _open(config: Config, workdir: Path) -> Tracker:
    file = workdir / RUN_FILE
    known = _known_runs(file)
    with needs_extra(config.tracker, f"tracker is {config.tracker}"):
        if config.tracker == "wandb":
            from rgcn_jax.training.wandb_tracker import WandbTracker as Chosen
        else:
            from rgcn_jax.training.mlflow_tracker import MlflowTracker as Chosen
    todo = "see docs/tracking.md, or train with --config.tracker=none"
    # Clients raise anything: no login, no network, an unwritable folder.
    with as_input_error(f"tracker is {config.tracker}, which does not start", todo, Exception):
        tracker = Chosen(workdir, config, known.get(config.tracker))
    write_text(file, json.dumps(known | {config.tracker: tracker.run_id}) + "\n")
    return tracker


def _known_runs(file: Path) -> dict[str, str]:
    """Ids of this run by tracker; empty if the file does not exist. Raises ``InputError`` if it is invalid."""
    if not file.exists():
        return {}
    todo = "restore it from a copy, or remove it to start new runs in the tracker"
    with as_input_error(f"{file} was not written by a run", todo, MALFORMED):
        found = json.loads(read_text(file, follow_links=False))
        if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
            raise ValueError("unexpected fields")
    return found
