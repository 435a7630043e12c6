"""The loop of training: steps, and what is done between them. Nothing in it makes the device wait for the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from rgcn_jax import parallel
from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.clips.sampling import IdentitySampler
from rgcn_jax.evaluation.scorer import Evaluation, Scorer, headline_mAP
from rgcn_jax.runtime.preemption import Stopped, Stopping
from rgcn_jax.runtime.profiler import Profile
from rgcn_jax.runtime.time_accounting import Clock, Seconds
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.nonfinite import FiniteCheck
from rgcn_jax.training.state import Progress, TrainState
from rgcn_jax.training.writer import Writer
from rgcn_jax.types import Config


@dataclass(frozen=True)
class Run:
    """Everything that a training run consists of, made from the config before the first step."""

    data: Data
    sampler: IdentitySampler
    mesh: Mesh
    train_step: Callable
    scorer: Scorer
    state: TrainState
    total_steps: int


def is_time(step: int, every: int, total: int) -> bool:
    """Whether something periodic is due after ``step`` of ``total`` steps: every ``every`` steps (0: never), and
    after the last.
    """
    return step == total or (every > 0 and step % every == 0)


@dataclass
class Loop:
    """Takes the steps from ``progress.step`` to ``run.total_steps``. ``check`` sees the numbers of each step,
    ``stopping`` says when to go, ``seconds`` where the time goes, ``profile`` records some steps.
    """

    config: Config
    run: Run
    checkpoints: Checkpoints
    writer: Writer
    progress: Progress
    check: FiniteCheck
    stopping: Stopping
    seconds: Seconds
    profile: Profile

    def steps(self, state: TrainState) -> Evaluation:
        """In each step: batch, step, log, save, leave if told to, evaluate, in this order, so that neither a failing
        evaluation nor one that is cut off costs any training. Returns the last evaluation.

        Raises:
          InputError: a number is not finite, or a file cannot be written.
          Stopped: told to go; the state is saved.
        """
        config, run, first = self.config, self.run, self.progress.step
        total, every = run.total_steps, config.eval_every_epochs * run.sampler.steps_per_epoch
        evaluation = None
        due = 0 < first < total and is_time(first, every, total)
        if due and parallel.decided_by_first(self._evaluation_is_missing(first)):
            evaluation = self._evaluate(state, first)
        log, told_to_go = self._log(first), parallel.AnyProcess(run.mesh)
        batches = iter(run.data.read(run.sampler.plans(first, total)))
        self.stopping.first_step()
        for step in range(first + 1, total + 1):
            self._profile(step, log)
            self.seconds.now("input")
            batch = parallel.shard(next(batches), run.mesh)
            self.seconds.now("compile" if step == first + 1 else "step")
            state, metrics = run.train_step(state, batch)
            log.add(step, metrics)
            go = told_to_go(bool(self.stopping.asked))
            evaluate = is_time(step, every, total)
            save = evaluate or go or is_time(step, config.checkpoint_every_steps, total)
            if save:
                log.settle()
                self._save("latest", state)
            if go:
                raise self._stopped()
            if evaluate:
                evaluation = self._evaluate(state, step)
            if save:
                log.restart(step)
        self.seconds.now("profile")
        self.profile.stop()
        evaluation = evaluation or self._evaluate(state, total)  # nothing was left to train
        self.seconds.now("checkpoint")
        return evaluation

    def _profile(self, step: int, log: "StepLog") -> None:
        """Starts, ends or goes on with the profile; what that takes is in no step's rate."""
        due = self.profile.due(step)
        if due:
            log.settle()
            self.seconds.now("profile")
        self.profile.step(step)
        if due:
            log.restart(step - 1)

    def _log(self, first: int) -> "StepLog":
        batch = self.config.batch
        return StepLog(
            self,
            first,
            every=self.config.log_every_steps,
            frames=batch.identities * batch.clips_per_identity * self.config.frames_per_clip,
        )

    def _save(self, kind: str, state: TrainState) -> None:
        self.seconds.now("checkpoint")
        self.writer.keep()
        self.checkpoints.save(kind, state, self.progress.record())

    def _evaluate(self, state: TrainState, step: int) -> Evaluation:
        """Scores the state, tells it, and keeps the state if it is the best so far."""
        self.seconds.now("evaluation")
        try:
            with self.stopping.interruptible():
                evaluation = self.run.scorer.evaluate(state.variables, step)
        except Stopped as stopped:
            raise self._stopped() from stopped
        last = self.writer.last_evaluation
        if last is None or last["step"] != step:
            self.writer.evaluation(step, evaluation.rows, evaluation.description())
        self.writer.say(f"step {step}: {evaluation.summary()}")
        best = self.progress.best_mAP
        if parallel.decided_by_first(best is None or evaluation.headline_mAP > best):
            self.progress.best_mAP, self.progress.best_step = evaluation.headline_mAP, step
            self._save("best", state)
        return evaluation

    def _evaluation_is_missing(self, step: int) -> bool:
        """Whether a run that went away after it had saved this step, for which an evaluation was due, had not written
        the evaluation, or not saved the best state that it found.
        """
        last, best = self.writer.last_evaluation, self.progress.best_mAP
        return last is None or last["step"] != step or best is None or headline_mAP(last) > best

    def _stopped(self) -> Stopped:
        """What ends a run that was told to go, once all it has saved is written."""
        self.seconds.now("checkpoint")
        self.checkpoints.wait()
        return Stopped(
            f"told to go by {self.stopping.asked or 'another process'}: step {self.progress.step} of "
            f"{self.run.total_steps} is saved; give the same command again to go on from there"
        )


class StepLog:
    """The numbers of the steps, each looked at while the device is already busy with the next step."""

    def __init__(self, loop: Loop, first: int, *, every: int, frames: int):
        self._loop, self._every, self._frames = loop, every, frames
        self._total, self._per_epoch = loop.run.total_steps, loop.run.sampler.steps_per_epoch
        self._clock = Clock(first)
        self._waiting: tuple[int, Mapping[str, Any]] | None = None

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes the numbers of a step that has been given to the device, and settles the step before."""
        for value in metrics.values():
            value.copy_to_host_async()
        self.settle()
        self._waiting = step, metrics

    def settle(self) -> None:
        """Waits for the numbers of the last step added, checks them, and writes them where a record is due."""
        if self._waiting is None:
            return
        (step, metrics), self._waiting, loop = self._waiting, None, self._loop
        numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
        loop.seconds.now("logging")
        loop.check.look(step, numbers, loop.checkpoints.latest_step())
        loop.progress.step = step
        if is_time(step, self._every, self._total):
            rate = self._clock.steps_per_second(step)
            numbers["frames_per_second"] = rate * self._frames
            numbers["seconds_left"] = (self._total - step) / rate
            numbers["epoch"] = step / self._per_epoch
            if loop.config.on_nonfinite == "skip":
                numbers["skipped_steps"] = loop.progress.skipped_steps
            loop.writer.train(step, numbers)
        loop.seconds.now("step")

    def restart(self, step: int) -> None:
        """Leaves what was done since the last step out of the rate."""
        self._clock = Clock(step)
