"""Experiment trackers: where the metrics of a run go beside ``metrics.jsonl``. TensorBoard, Weights & Biases, MLflow.

TensorBoard's files are written wherever tensorboardX is installed; ``tracker`` in the config chooses one of the others.
Where they send what is theirs to say, by environment variables or a login: nothing is sent unless the config asks.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from rgcn_jax.config import Config
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.handed_over import read_text
from rgcn_jax.training import tensorboard

RUN_FILE = "tracker.json"
"""In the work directory: the id of this run in each tracker, so that a resumed run continues there."""


@runtime_checkable
class Tracker(Protocol):
    """Receives the metrics of a run. What it raises ends the tracker and is reported; it never ends the run."""

    name: str

    def add(self, scalars: Mapping[str, float | int], step: int) -> None:
        """Scalars by name, such as "train/loss" or "fused/mAP"; steps never decrease."""

    def close(self) -> None:
        """Everything is delivered when it returns."""


def open_trackers(config: Config, workdir: Path, first_step: int) -> list[Tracker]:
    """TensorBoard, where it is installed, and the tracker of the config.

    Args:
      config: of the run.
      workdir: of the run; exists.
      first_step: the last step that is not taken again.

    Raises:
      InputError: the tracker is not installed or does not start.
    """
    trackers: list[Tracker] = [tensorboard.Board(workdir, first_step)] if tensorboard.is_installed() else []
    if config.tracker != "none":
        trackers.append(_open(config, workdir))
    return trackers


def _open(config: Config, workdir: Path) -> Tracker:
    file = workdir / RUN_FILE
    known = _known_runs(file)
    try:
        if config.tracker == "wandb":
            from rgcn_jax.training.wandb_tracker import WandbTracker as Chosen
        else:
            from rgcn_jax.training.mlflow_tracker import MlflowTracker as Chosen
        tracker = Chosen(workdir, config, known.get(config.tracker))
    except ImportError as error:
        raise InputError(
            f"tracker is {config.tracker}, which is not installed ({error}): pip install 'rgcn_jax[{config.tracker}]'."
        ) from error
    except Exception as error:  # whatever its client raises: no login, no network, a folder that cannot be written
        raise InputError(
            f"tracker is {config.tracker}, which does not start ({type(error).__name__}: {error}): see "
            "docs/tracking.md, or train with --config.tracker=none."
        ) from error
    write_text(file, json.dumps(known | {config.tracker: tracker.run_id}) + "\n")
    return tracker


def _known_runs(file: Path) -> dict[str, str]:
    """The ids of this run by tracker; empty where there is no file. Raises ``InputError`` where it is none of ours."""
    if not file.exists():
        return {}
    try:
        found = json.loads(read_text(file, follow_links=False))
        if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
            raise ValueError("it has other fields")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file} is not what a run wrote ({error}): put it back from a copy, or remove it to begin new runs in the "
            "tracker."
        ) from error
    return found
