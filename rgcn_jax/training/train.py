"""Training from a config to its results: checks, resuming, the training loop and ``results.json``."""

from pathlib import Path
from typing import Any

from rgcn_jax import parallel
from rgcn_jax.command import last_line
from rgcn_jax.config import Config
from rgcn_jax.config_io import CONFIG_FILE, changed_fields, save_config
from rgcn_jax.config_rules import profiled_steps
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.results import RESULTS_FILE, Evaluation, write_results
from rgcn_jax.runtime.compilation_cache import keep_compiled
from rgcn_jax.runtime.preemption import Stopping
from rgcn_jax.runtime.profiler import Profile
from rgcn_jax.runtime.provenance import note_changes, noted_changes, provenance
from rgcn_jax.runtime.time_accounting import Seconds
from rgcn_jax.runtime.workdir import WorkDir
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.inputs import (
    Inputs,
    changed_data,
    changed_versions,
    check_checkpoint,
    pretrained_hash,
    read_inputs,
    way,
    write_inputs,
)
from rgcn_jax.training.loop import Loop
from rgcn_jax.training.nonfinite import FiniteCheck
from rgcn_jax.training.resume import resume
from rgcn_jax.training.run import Run, prepare, say
from rgcn_jax.training.state import Progress, TrainState
from rgcn_jax.training.tracker import open_trackers
from rgcn_jax.training.weights import saved_steps
from rgcn_jax.training.writer import SilentWriter, Writer


def train(
    config: Config, workdir: Path, *, stopping: Stopping | None = None, seconds: Seconds | None = None
) -> dict[str, Any]:
    """Train to the end, from the latest checkpoint in ``workdir`` if there is one, evaluate and print the three rows.

    Writes ``config.json``, ``inputs.json``, ``metrics.jsonl``, ``results.json`` and ``checkpoints/`` into ``workdir``.
    With several processes (``parallel.start_processes``), only the first one writes files other than the checkpoints.

    Args:
      config: config of the run (``config_io.typed``).
      workdir: work directory, created if missing, and locked during the run.
      stopping: signal handling, which the command enters; None: an interrupt is Python's own.
      seconds: timer started at the start of the process; None: starts now.

    Returns:
      The contents of ``results.json``; empty if another process writes it.

    Raises:
      InputError: the data, the weights, the checkpoint or the work directory do not fit the config, or a metric is not
        finite.
      Stopped: a signal requested a stop; the state is saved.
    """
    stopping, seconds = stopping or Stopping(), seconds or Seconds()
    first = parallel.is_first()
    with WorkDir(workdir, holds=first) as folder:
        changes = changed_fields(config, workdir / CONFIG_FILE, config.allow_config_change)
        before = read_inputs(workdir)
        if note := keep_compiled(config.compilation_cache):
            say(note)
        restored = bool(saved_steps(workdir, "latest"))
        run = prepare(config, restored)
        _check_profile(config, run.total_steps)
        folder.hold()
        say(f"the run is kept in {workdir}")
        origin = provenance(run.data.split)
        given = Inputs(
            {"tracklets": origin["data"]["sha256"], **run.data.hashes},
            None if restored else pretrained_hash(config.model.pretrained),
            origin["versions"],
        )
        changes |= changed_data(workdir, before, given.data, config.allow_config_change)
        parallel.check_shared(workdir)
        with Checkpoints(workdir) as checkpoints:
            state, progress, changes = _resume(config, workdir, checkpoints, run, changes, before)
            changes |= changed_versions(before, given.versions)
            for name, (then, now) in changes.items():
                say(f"continuing with another config: {name} was {then!r} and is {now!r}")
            progress.devices, progress.way = run.mesh.size, way(config, given.data)
            given = given.then(before, progress.way)
            progress.init_from = progress.init_from or run.init_from
            if first:
                note_changes(workdir, progress.step, changes)
                write_inputs(workdir, given)
                save_config(config, workdir / CONFIG_FILE)
            with (
                Writer(workdir, run.total_steps, progress.step, open_trackers(config, workdir, progress.step))
                if first
                else SilentWriter() as writer,
                Profile(profiled_steps(config) if first else None, workdir) as profile,
            ):
                if writer.dropped:
                    say(f"discarded: {writer.dropped} records of steps that are taken again")
                check = FiniteCheck(config.on_nonfinite, workdir, run.sampler.plan, progress, writes=first)
                loop = Loop(config, run, checkpoints, writer, progress, check, stopping, seconds, profile)
                evaluation = loop.steps(state)
        origin |= {"inputs": {**given.data, "pretrained": given.pretrained}}
        return _finish(config, workdir, origin, progress, evaluation, seconds) if first else {}


def _resume(
    config: Config, workdir: Path, checkpoints: Checkpoints, run: Run, changes: dict[str, Any], known: Inputs | None
) -> tuple[TrainState, Progress, dict[str, Any]]:
    """Return the state and progress to start from, and all changes since the run's earlier processes."""

    def all_changes(progress: Progress) -> dict[str, Any]:
        foreign = check_checkpoint(workdir, progress.step, progress.way, known, config.allow_config_change)
        return changes | foreign | _changed_devices(config, workdir, progress.devices, run.mesh.size)

    state, progress = resume(checkpoints, run.state, changed=lambda progress: bool(all_changes(progress)), say=say)
    if progress.step:
        say(f"resuming after step {progress.step} from {workdir}, {max(run.total_steps - progress.step, 0)} steps left")
        steps = profiled_steps(config)
        if steps and steps[0] <= progress.step:
            say(f"profile_steps is {config.profile_steps}: steps up to {progress.step} are already taken")
    _check_steps(workdir, progress.step, run.total_steps)
    changes = all_changes(progress)
    return state, progress, changes


def _finish(
    config: Config,
    workdir: Path,
    origin: dict[str, Any],
    progress: Progress,
    evaluation: Evaluation,
    seconds: Seconds,
) -> dict[str, Any]:
    """Print the rows and the next command, and write ``results.json``.

    ``origin`` is the ``provenance``, collected before the first step, so that nothing it needs can be missing at the
    end.
    """
    say(evaluation.table())
    if progress.skipped_steps:
        say(f"{progress.skipped_steps} steps had non-finite values and were skipped: {workdir / 'nonfinite'}")
    say(f"this process took {seconds.summary()}")
    beside = {"config": config.to_dict(), "skipped_steps": progress.skipped_steps}
    beside |= {"init_from": progress.init_from}
    beside |= {"config_changes": noted_changes(workdir)} | origin | {"seconds": seconds.spent()}
    results = write_results(workdir / RESULTS_FILE, evaluation, beside)
    evaluate = ("evaluate", f"--model={workdir}", "--checkpoint=best")
    say(last_line(f"results: {workdir / RESULTS_FILE}", "rgcn-jax", *evaluate))
    return results


def _check_steps(workdir: Path, reached: int, total: int) -> None:
    """Raise InputError if the run has taken more steps than the config requests, since results of a later step would be
    reported as those of an earlier one.
    """
    if reached > total:
        raise InputError(
            f"the run in {workdir} has taken {reached} steps, more than the {total} of this config (num_steps, or "
            f"num_epochs): train to step {reached} or beyond, choose another --workdir, or score it as it is with "
            f"rgcn-jax evaluate --model={workdir}."
        )


def _check_profile(config: Config, total_steps: int) -> None:
    """Raise InputError if the steps to profile begin after the last step, since nothing would be recorded."""
    steps = profiled_steps(config)
    if steps and steps[0] > total_steps:
        raise InputError(
            f"profile_steps is {config.profile_steps!r}, but the run ends with step {total_steps}: choose earlier ones."
        )


def _changed_devices(config: Config, workdir: Path, before: int, now: int) -> dict[str, tuple[int, int]]:
    """The number of devices as a change of config, if it affects training (``parallel.batch_norm``), which must be
    allowed.
    """
    if config.parallel.batch_norm != "device" or before in (0, now):
        return {}
    if not config.allow_config_change:
        raise InputError(
            f"{workdir} holds a run on {before} device(s), and this one has {now}: with parallel.batch_norm=device, "
            "that trains something else. Resume on as many devices (parallel.num_devices), or choose another "
            "--workdir; --config.allow_config_change resumes all the same, and records that."
        )
    return {"devices": (before, now)}
