"""A finished or interrupted run, opened to evaluate it: the model, the data and a checkpoint's state."""

from pathlib import Path

from rgcn_jax.config import Config
from rgcn_jax.errors import InputError
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.run import Run, prepare
from rgcn_jax.training.state import TrainState


def restore(config: Config, workdir: Path, kind: str) -> tuple[Run, TrainState]:
    """A run, and its newest checkpoint of a kind ("latest" or "best") in ``workdir``; nothing there is changed.

    Raises:
      InputError: there is no such checkpoint, it is damaged or of another model, or the data cannot be read.
    """
    folder = workdir.resolve() / "checkpoints" / kind
    if not folder.is_dir():  # before the model is built; and opening it would make the folder
        raise InputError(f"no {kind!r} checkpoint in {folder}: train first, or point --workdir to a finished run.")
    run = prepare(config, restored=True)
    with Checkpoints(workdir) as checkpoints:
        return run, checkpoints.restore(kind, run.state)
