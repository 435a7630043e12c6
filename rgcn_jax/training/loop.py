"""The training loop: steps, and the logging, saving and evaluation between them, without blocking the device."""

from contextlib import closing
from dataclasses import asdict, dataclass

import jax

from rgcn_jax import parallel
from rgcn_jax.config import Config
from rgcn_jax.evaluation.results import Evaluation, headline_mAP
from rgcn_jax.runtime.preemption import Stopped, Stopping
from rgcn_jax.runtime.profiler import Profile
from rgcn_jax.runtime.time_accounting import Seconds
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.nonfinite import FiniteCheck
from rgcn_jax.training.run import Run
from rgcn_jax.training.state import Progress, TrainState
from rgcn_jax.training.step_log import StepLog, is_time
from rgcn_jax.training.writer import Writer

COMPILING = (
    "compiling the training step: seconds for a small ResNet, one to two minutes for a ResNet-50; later starts use "
    "the compilation cache"
)


@dataclass
class Loop:
    """Runs the steps from ``progress.step`` to ``run.total_steps``.

    ``check`` validates the metrics of each step, ``stopping`` reports a received signal, ``seconds`` accounts for the
    time, ``profile`` records some steps.
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
        """Train and return the last evaluation.

        Order within a step: batch, step, log, save, stop if requested, evaluate. So a failed or interrupted evaluation
        loses no training. Implicit transfers from host to device raise an error.

        Raises:
          InputError: a value is not finite, or a file cannot be written.
          Stopped: a signal requested a stop; the state has been saved.
        """
        run, first, total = self.run, self.progress.step, self.run.total_steps
        evaluation = self._overdue_evaluation(state)
        log = StepLog(self.config, run, self.checkpoints, self.writer, self.progress, self.check, self.seconds)
        stop_anywhere = parallel.AnyProcess(run.mesh)
        jit = not jax.config.jax_disable_jit  # pyright: ignore[reportAttributeAccessIssue]
        guard = "disallow" if jit else "allow"
        self.stopping.first_step()
        with closing(run.data.read(run.sampler.plans(first, total))) as batches:
            if first < total:
                self.writer.say(COMPILING)
                self.seconds.now("compile")
                if jit:
                    run.compile_step(state)  # meanwhile the first batches are read
            for step in range(first + 1, total + 1):
                self._profile(step, log)
                self.seconds.now("input")
                batch = parallel.shard(next(batches), run.mesh)
                self.seconds.now("step")
                with jax.transfer_guard(guard):
                    state, metrics = run.train_step(state, batch)
                log.add(step, metrics)
                stop = stop_anywhere(bool(self.stopping.received))
                evaluation = self._between_steps(step, state, log, stop) or evaluation
        self.seconds.now("profile")
        self.profile.stop()
        evaluation = evaluation or self._evaluate(state, total)  # resumed after the last step
        self.seconds.now("checkpoint")
        return evaluation

    def _between_steps(self, step: int, state: TrainState, log: StepLog, stop: bool) -> Evaluation | None:
        """Save, stop and evaluate, as due after a step."""
        evaluate = is_time(step, self._evaluate_every, self.run.total_steps)
        save = evaluate or stop or is_time(step, self.config.checkpoint_every_steps, self.run.total_steps)
        if save:
            log.settle()
            self._save("latest", state)
        if stop:
            raise self._stopped()
        evaluation = self._evaluate(state, step) if evaluate else None
        if save:
            log.restart(step)
        return evaluation

    @property
    def _evaluate_every(self) -> int:
        return self.config.eval_every_epochs * self.run.sampler.steps_per_epoch

    def _profile(self, step: int, log: StepLog) -> None:
        """Start, end or continue the profile; its own time is excluded from the step rate."""
        due = self.profile.due(step)
        if due:
            log.settle()
            self.seconds.now("profile")
        self.profile.step(step)
        if due:
            log.restart(step - 1)

    def _save(self, kind: str, state: TrainState) -> None:
        self.seconds.now("checkpoint")
        self.writer.flush()
        self.checkpoints.save(kind, state, asdict(self.progress))

    def _evaluate(self, state: TrainState, step: int) -> Evaluation:
        """Score the state, log the result, and save the state if it is the best so far."""
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

    def _overdue_evaluation(self, state: TrainState) -> Evaluation | None:
        """Evaluate at the step resumed from, if an evaluation was due and the run stopped before it was recorded or its
        best state saved.
        """
        step, last, best = self.progress.step, self.writer.last_evaluation, self.progress.best_mAP
        if not (0 < step < self.run.total_steps and is_time(step, self._evaluate_every, self.run.total_steps)):
            return None
        missing = last is None or last["step"] != step or best is None or headline_mAP(last) > best
        return self._evaluate(state, step) if parallel.decided_by_first(missing) else None

    def _stopped(self) -> Stopped:
        """Wait for saves in progress and create the exception that ends the run."""
        self.seconds.now("checkpoint")
        self.checkpoints.wait()
        return Stopped(
            f"received {self.stopping.received or 'a signal in another process'}: checkpoint saved at step "
            f"{self.progress.step} of {self.run.total_steps}; rerun the same command to resume."
        )
