"""Training: wiring and the loop, to be read from top to bottom."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from rgcn_jax import parallel
from rgcn_jax.checkpoint import Checkpoints
from rgcn_jax.command import CONFIG_FILE, check_numbers, check_same_run, save_config
from rgcn_jax.data.augment import Augmentation
from rgcn_jax.data.open import open_data
from rgcn_jax.data.overlap import pretrained_overlap
from rgcn_jax.data.reader import Data, ShareReader
from rgcn_jax.data.sampling import IdentitySampler
from rgcn_jax.models.build import build_model, compute_dtype, initialise, with_pretrained_trunk
from rgcn_jax.optim import adam_coupled_l2, step_schedule
from rgcn_jax.score import Evaluation, Scorer, scorer_from_config, write_results
from rgcn_jax.state import TrainState, count_parameters, create_state
from rgcn_jax.step import Objective, make_train_step
from rgcn_jax.types import Config, InputError, Split
from rgcn_jax.writer import SilentWriter, Writer


def is_time(step: int, every: int, total: int) -> bool:
    """Whether something periodic is due after ``step`` of ``total`` steps: every ``every`` steps (0: never), and
    after the last.
    """
    return step == total or (every > 0 and step % every == 0)


@dataclass(frozen=True)
class Run:
    """Everything that a training run consists of, made from the config before the first step."""

    data: Data
    sampler: IdentitySampler
    mesh: Mesh
    train_step: Callable
    scorer: Scorer
    schedule: Callable[[int], Any]
    state: TrainState
    total_steps: int


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """Trains to the end, from the latest checkpoint in ``workdir`` if there is one, evaluates and prints the three
    rows.

    Writes ``config.json``, ``metrics.jsonl``, ``results.json`` and ``checkpoints/`` into ``workdir``.

    Of several processes (``parallel.start_processes``) the first alone writes all but the checkpoints.

    Returns:
      What ``results.json`` holds; nothing where another process writes it.

    Raises:
      InputError: the config, the data, the weights or the checkpoint are not as they must be.
    """
    check_numbers(config)
    if (workdir / CONFIG_FILE).exists():
        check_same_run(config, workdir / CONFIG_FILE)
    run = prepare(config)
    _make_folder(workdir)
    parallel.check_shared(workdir)
    with Checkpoints(workdir) as checkpoints:
        state = run.state
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore("latest", state)
            left = run.total_steps - int(state.step)
            _say(f"resuming after step {int(state.step)} from {workdir}, {max(left, 0)} steps left")
        first = parallel.is_first()
        if first:
            save_config(config, workdir / CONFIG_FILE)
        with Writer(workdir, run.total_steps, int(state.step)) if first else SilentWriter() as writer:
            evaluation = _loop(config, run, state, checkpoints, writer)
    _say(evaluation.table())
    return write_results(workdir, evaluation, config) if first else {}


def prepare(config: Config, restored: bool = False) -> Run:
    """Opens the data, checks all that can be checked before any training, and builds model, optimiser and steps.

    ``restored``: a checkpoint is going to replace the parameters, so that ``model.pretrained`` is not needed any more.
    """
    check_numbers(config)
    parallel.check_same("the config", config.to_json_best_effort(sort_keys=True))
    mesh = parallel.make_mesh(config.parallel.num_devices)
    axis = parallel.normalisation_axis(config.parallel.batch_norm)
    clips = config.batch.identities * config.batch.clips_per_identity
    parallel.check_divides(clips, mesh, "batch.identities x batch.clips_per_identity")
    size = {"height": config.image_height, "width": config.image_width}
    with_pose = config.model.pose.lower() != "none"
    _check_appearance(config)
    data = open_data(**config.data.to_dict(), **size, with_pose=with_pose)
    parallel.check_same("the list of tracklets", _listing(data.split))
    data = replace(data, read=ShareReader(data.read, jax.process_index(), jax.process_count()))
    sampler = IdentitySampler(
        data.split.train,
        frames_per_clip=config.frames_per_clip,
        augmentation=Augmentation(**config.augment),
        seed=config.seed,
        **config.batch,
    )
    identities, per_epoch = len(sampler.person_ids), sampler.steps_per_epoch
    split = data.split
    _say(
        f"{split.name}: {len(split.train)} training tracklets of {identities} people; "
        f"{len(split.query)} queries, {len(split.gallery)} gallery tracklets"
    )
    scorer = scorer_from_config(config, data, identities, mesh)
    model = build_model(config.model.to_dict(), identities, config.dtype, axis, size["width"] / size["height"])
    variables = initialise(scorer.model, config.seed, config.frames_per_clip, *data.shape)
    trunk = config.model.pretrained or "random weights (model.pretrained is empty)"
    if restored:
        trunk = "the checkpoint"
    elif config.data.features:
        trunk = f"elsewhere ({config.data.features})"
    elif config.model.pretrained:
        if warning := pretrained_overlap(config.data.name, config.model.pretrained):
            _say(warning)
        variables = with_pretrained_trunk(variables, Path(config.model.pretrained))
    adam = config.optimizer
    schedule = step_schedule(
        adam.learning_rate, adam.decay_factor, adam.decay_every_epochs * per_epoch, adam.warmup_epochs * per_epoch
    )
    optimizer = adam_coupled_l2(schedule, adam.weight_decay)
    state = create_state(variables, optimizer, config.seed)
    _say(
        f"{config.model.appearance} + {config.model.pose}: {count_parameters(state.params):,} parameters, trunk from "
        f"{trunk}; {clips} clips x {config.frames_per_clip} frames a step on {mesh.size} "
        f"{mesh.devices.flat[0].platform} device(s)"
    )
    return Run(
        data=data,
        sampler=sampler,
        mesh=mesh,
        train_step=make_train_step(
            model,
            optimizer,
            Objective(**config.loss),
            mesh,
            compute_dtype(config.dtype),
            config.parallel.batch_norm,
        ),
        scorer=scorer,
        schedule=schedule,
        state=parallel.replicate(state, mesh),
        total_steps=config.num_steps or config.num_epochs * per_epoch,
    )


def _listing(split: Split) -> str:
    """What tells two versions of a data set apart, but for the pictures."""
    parts = (split.train, split.query, split.gallery, split.junk)
    return str([[(t.person_id, t.camera_id, len(t.frames), *t.frames[:1]) for t in part] for part in parts])


def _check_appearance(config: Config) -> None:
    """Raises ``InputError`` unless features are there exactly where the appearance model takes them."""
    given = config.model.appearance.lower() == "given"
    if given and not config.data.features:
        raise InputError(
            'model.appearance is "given", but data.features is empty: set it to an .npz file of appearance features '
            "(docs/data.md), or choose a model that looks at frames."
        )
    if given and config.model.pretrained:
        raise InputError(
            f'model.pretrained is {config.model.pretrained}, but model.appearance is "given" and has no trunk to load '
            "it into: leave model.pretrained empty."
        )
    if config.data.features and not given:
        raise InputError(
            f"data.features is {config.data.features}, but the appearance model {config.model.appearance} looks at "
            "frames: set --config.model.appearance=given to use the features, or leave data.features empty."
        )


def _make_folder(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--workdir={workdir} cannot be made a folder ({error.strerror}): choose another.") from error


def _loop(config: Config, run: Run, state: TrainState, checkpoints: Checkpoints, writer: Writer) -> Evaluation:
    """Steps until ``run.total_steps``; in each: batch, step, log, save, evaluate, in this order, so that a failing
    evaluation costs no training. Returns the last evaluation.
    """
    first, total, per_epoch = int(state.step), run.total_steps, run.sampler.steps_per_epoch
    evaluation, clock = None, Clock(first)
    for step, batch in enumerate(run.data.read(run.sampler.plans(first, total)), start=first + 1):
        batch = parallel.shard(batch, run.mesh)
        state, metrics = run.train_step(state, batch)
        evaluate = is_time(step, config.eval_every_epochs * per_epoch, total)
        save = evaluate or is_time(step, config.checkpoint_every_steps, total)
        log = is_time(step, config.log_every_steps, total)
        if log or save:
            numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
            _check_finite(numbers, step, checkpoints)
        if log:
            rate = clock.steps_per_second(step)
            numbers["frames_per_second"] = rate * batch["frame_mask"].size
            numbers["seconds_left"] = (total - step) / rate
            numbers["epoch"] = step / per_epoch
            numbers["learning_rate"] = float(run.schedule(step - 1))
            writer.train(step, numbers)
        if save:
            checkpoints.save("latest", state, {"step": step})
        if evaluate:
            evaluation = _evaluate(run, state, checkpoints, writer)
        if save:
            clock = Clock(step)
    return evaluation or _evaluate(run, state, checkpoints, writer)  # nothing was left to train


def _evaluate(run: Run, state: TrainState, checkpoints: Checkpoints, writer: Writer) -> Evaluation:
    """Scores the state, tells it, and keeps the state if it is the best so far."""
    step = int(state.step)
    evaluation = run.scorer.evaluate(state.variables, step)
    if writer.last_evaluation != step:
        writer.evaluation(step, evaluation.rows, evaluation.description())
    writer.say(f"step {step}: {evaluation.summary()}")
    if parallel.decided_by_first(evaluation.headline_mAP > checkpoints.record("best").get("mAP", -1.0)):
        checkpoints.save("best", state, {"mAP": evaluation.headline_mAP})
    return evaluation


def _check_finite(numbers: Mapping[str, float], step: int, checkpoints: Checkpoints) -> None:
    """Raises ``InputError`` where a loss or the gradient is not finite, before such a state can be saved."""
    bad = [f"{name} is {value}" for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        kept = checkpoints.latest_step()
        raise InputError(
            f"training diverged: at step {step} {', '.join(bad)}; lower optimizer.learning_rate and train in another "
            f"--workdir ({'no checkpoint was saved' if kept is None else f'the last checkpoint is of step {kept}'})."
        )


class Clock:
    """Steps per second since it was made, or since it was last asked; its first step (compilation) counts like any
    other.
    """

    def __init__(self, step: int):
        self._step, self._time = step, time.monotonic()

    def steps_per_second(self, step: int) -> float:
        """The rate since the last call."""
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        return rate


def _say(text: str) -> None:
    print(text, flush=True)
