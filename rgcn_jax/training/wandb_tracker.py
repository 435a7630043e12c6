"""Weights & Biases tracker (extra ``wandb``): one W&B run per work directory. ``WANDB_MODE=offline`` keeps it local."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import wandb

from rgcn_jax.config import Config


class WandbTracker:
    """Logs config and scalars to a W&B run; ``WANDB_PROJECT`` and ``WANDB_ENTITY`` select project and entity.

    W&B also records the machine, but no code and no terminal output. After a resume, W&B keeps the first values of
    steps that are repeated.
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
        """Log the scalars of a step."""
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """Upload the rest and finish the run."""
        self._run.finish()
