"""Weights & Biases (extra ``wandb``): one run a work directory. ``WANDB_MODE=offline`` keeps it on the disk."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import wandb

from rgcn_jax.config import Config


class WandbTracker:
    """Sends scalars to a run of W&B. Project and entity are ``WANDB_PROJECT`` and ``WANDB_ENTITY``.

    Sent: the config, the scalars and what W&B records of the machine; no code and no output of the terminal. After a
    resume W&B keeps its first values of the steps that are taken again.
    """

    name = "Weights & Biases"

    def __init__(self, workdir: Path, config: Config, run_id: str | None):
        self.run_id = run_id or secrets.token_hex(4)
        settings = wandb.Settings(console="off", disable_code=True, disable_git=True, silent=True)
        self._run = wandb.init(
            dir=workdir,
            id=self.run_id,
            resume="allow",
            name=workdir.resolve().name,
            config=config.to_dict(),
            settings=settings,
        )

    def add(self, scalars: Mapping[str, float | int], step: int) -> None:
        """Logs the scalars of a step."""
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """Finishes the run: what is not sent yet is."""
        self._run.finish()
