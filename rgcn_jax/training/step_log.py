"""Logs metrics one step late so that the host never blocks the device."""

from collections.abc import Mapping
from typing import Any

import jax

from rgcn_jax.config import Config
from rgcn_jax.runtime.time_accounting import Clock, Seconds
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.nonfinite import FiniteCheck
from rgcn_jax.training.run import Run
from rgcn_jax.training.state import Progress
from rgcn_jax.training.writer import Writer


def is_time(step: int, every: int, total: int) -> bool:
    """Whether periodic work is due after ``step``: every ``every`` steps (0: never), and after step ``total``."""
    return step == total or (every > 0 and step % every == 0)


class StepLog:
    """Fetches, checks and records the metrics of a step while the next step runs on the device."""

    def __init__(
        self,
        config: Config,
        run: Run,
        checkpoints: Checkpoints,
        writer: Writer,
        progress: Progress,
        check: FiniteCheck,
        seconds: Seconds,
    ):
        self._run, self._checkpoints, self._writer, self._progress = run, checkpoints, writer, progress
        self._check, self._seconds = check, seconds
        self._every, self._skips = config.log_every_steps, config.on_nonfinite == "skip"
        self._frames = config.batch.clips * config.frames_per_clip
        self._clock = Clock(progress.step)
        self._waiting: tuple[int, Mapping[str, Any]] | None = None

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of a dispatched step, and settle the previous one."""
        for value in metrics.values():
            value.copy_to_host_async()
        self.settle()
        self._waiting = step, metrics

    def settle(self) -> None:
        """Wait for the metrics of the last step, check them, and write a record if one is due.

        Raises:
          InputError: a value is not finite, and training stops.
        """
        if self._waiting is None:
            return
        (step, metrics), self._waiting = self._waiting, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._seconds.now("logging")
        self._check.check(step, values, self._checkpoints.latest_step())
        self._progress.step = step
        total = self._run.total_steps
        if is_time(step, self._every, total):
            rate = self._clock.steps_per_second(step)
            values["frames_per_second"] = rate * self._frames
            values["seconds_left"] = (total - step) / rate
            values["epoch"] = step / self._run.sampler.steps_per_epoch
            if self._skips:
                values["skipped_steps"] = self._progress.skipped_steps
            self._writer.train(step, values)
        self._seconds.now("step")

    def restart(self, step: int) -> None:
        """Exclude the time since the last step from the step rate."""
        self._clock = Clock(step)
