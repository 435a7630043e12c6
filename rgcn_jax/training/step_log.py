"""Logs metrics one step late so that the host never blocks the device."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from rgcn_jax.config import Config
from rgcn_jax.runtime.time_accounting import Seconds
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.nonfinite import FiniteCheck
from rgcn_jax.training.run import Run
from rgcn_jax.training.state import Progress
from rgcn_jax.training.writer import Writer


def is_time(step: int, every: int, total: int) -> bool:
    """Whether periodic work is due after ``step``: every ``every`` steps (0: never), and after step ``total``."""
    return step == total or (every > 0 and step % every == 0)


@dataclass
class StepLog:
    """Fetches, checks and records the metrics of a step while the next step runs on the device."""

    config: Config
    run: Run
    checkpoints: Checkpoints
    writer: Writer
    progress: Progress
    check: FiniteCheck
    seconds: Seconds

    def __post_init__(self):
        self._waiting: tuple[int, Mapping[str, Any]] | None = None
        self.restart(self.progress.step)

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of a dispatched step, and settle the previous one."""
        for value in metrics.values():
            value.copy_to_host_async()
        self.settle()
        self._waiting = step, metrics

    def settle(self) -> None:
        """Wait for the last step's metrics, check them (``FiniteCheck.check``), and write a record if one is due."""
        if self._waiting is None:
            return
        (step, metrics), self._waiting = self._waiting, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.seconds.now("logging")
        self.check.check(step, values, self.checkpoints.latest_step())
        self.progress.step = step
        total = self.run.total_steps
        if is_time(step, self.config.log_every_steps, total):
            since_step, since = self._since
            rate = (step - since_step) / max(time.monotonic() - since, 1e-9)
            self.restart(step)
            values["frames_per_second"] = rate * (self.config.batch.clips * self.config.frames_per_clip)
            values["seconds_left"] = (total - step) / rate
            values["epoch"] = step / self.run.sampler.steps_per_epoch
            if self.config.on_nonfinite == "skip":
                values["skipped_steps"] = self.progress.skipped_steps
            self.writer.train(step, values)
        self.seconds.now("step")

    def restart(self, step: int) -> None:
        """Begin to measure the step rate after ``step``."""
        self._since = step, time.monotonic()
