"""Training: the wiring, to be read from top to bottom; the loop is in ``loop.py``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from rgcn_jax import parallel
from rgcn_jax.config_io import CONFIG_FILE, check_numbers, check_same_run, save_config
from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.reader import ProcessReader
from rgcn_jax.data.clips.sampling import IdentitySampler
from rgcn_jax.data.datasets.overlap import pretrained_overlap
from rgcn_jax.data.load import open_data
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.scorer import scorer_from_config, write_results
from rgcn_jax.models.build import build_model, compute_dtype, initialise, with_pretrained_trunk
from rgcn_jax.runtime.compilation_cache import keep_compiled
from rgcn_jax.runtime.preemption import Stopping
from rgcn_jax.runtime.profiler import Profile, check_within, parse_steps
from rgcn_jax.runtime.provenance import fingerprint, note_changes, noted_changes, provenance
from rgcn_jax.runtime.time_accounting import Seconds
from rgcn_jax.runtime.workdir import WorkDir
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.loop import Loop, Run
from rgcn_jax.training.nonfinite import FiniteCheck, check_policy
from rgcn_jax.training.optim import adam_coupled_l2, step_schedule
from rgcn_jax.training.resume import resume
from rgcn_jax.training.state import Progress, count_parameters, create_state
from rgcn_jax.training.step import Objective, check_parts, make_train_step
from rgcn_jax.training.writer import SilentWriter, Writer
from rgcn_jax.types import Config


def train(
    config: Config, workdir: Path, *, stopping: Stopping | None = None, seconds: Seconds | None = None
) -> dict[str, Any]:
    """Trains to the end, from the latest checkpoint in ``workdir`` if there is one, evaluates and prints the three
    rows.

    Writes ``config.json``, ``metrics.jsonl``, ``results.json`` and ``checkpoints/`` into ``workdir``. Of several
    processes (``parallel.start_processes``) the first alone writes all but the checkpoints.

    Args:
      config: the whole config, locked or not.
      workdir: held by this run alone as long as it lasts; made where there is none.
      stopping: entered by the command, which is told to go by signals; None: an interrupt is Python's own.
      seconds: begun when the process began; None: begins now.

    Returns:
      What ``results.json`` holds; nothing where another process writes it.

    Raises:
      InputError: the config, the data, the weights, the checkpoint or the work directory are not as they must be, or
        numbers are not finite.
      Stopped: ``stopping`` was told to go; the state is saved.
    """
    stopping, seconds = stopping or Stopping(), seconds or Seconds()
    check_numbers(config)
    check_policy(config.on_nonfinite)
    parse_steps(config.profile_steps)
    first = parallel.is_first()
    with WorkDir(workdir, holds=first) as folder:
        changes = check_same_run(config, workdir / CONFIG_FILE, config.allow_config_change)
        if told := keep_compiled(workdir, config.compilation_cache):
            _say(told)
        run = prepare(config)
        check_within(config.profile_steps, run.total_steps)
        folder.hold()
        parallel.check_shared(workdir)
        with Checkpoints(workdir) as checkpoints:

            def all_changes(progress: Progress) -> dict[str, Any]:
                return changes | _another_number_of_devices(config, workdir, progress.devices, run.mesh.size)

            state, progress = resume(
                checkpoints, run.state, changed=lambda progress: bool(all_changes(progress)), say=_say
            )
            changes = all_changes(progress)
            if progress.step:
                left = max(run.total_steps - progress.step, 0)
                _say(f"resuming after step {progress.step} from {workdir}, {left} steps left")
                if 0 < parse_steps(config.profile_steps)[0] <= progress.step:
                    _say(f"profile_steps is {config.profile_steps}: of these, steps up to {progress.step} are taken")
            progress.devices = run.mesh.size
            for name, (before, now) in changes.items():
                _say(f"going on with another config: {name} {before!r} before, {now!r} now")
            if first:
                note_changes(workdir, progress.step, changes)
                save_config(config, workdir / CONFIG_FILE)
            with (
                Writer(workdir, run.total_steps, progress.step) if first else SilentWriter() as writer,
                Profile(config.profile_steps if first else "", workdir) as profile,
            ):
                if writer.dropped:
                    _say(f"thrown away: {writer.dropped} records of steps that are taken again")
                check = FiniteCheck(config.on_nonfinite, workdir, run.sampler.plan, progress, writes=first)
                loop = Loop(config, run, checkpoints, writer, progress, check, stopping, seconds, profile)
                evaluation = loop.steps(state)
        _say(evaluation.table())
        if progress.skipped_steps:
            _say(f"{progress.skipped_steps} steps were skipped, their numbers were not finite: {workdir / 'nonfinite'}")
        _say(f"this process took {seconds.summary()}")
        beside = {"skipped_steps": progress.skipped_steps, "config_changes": noted_changes(workdir)}
        beside |= provenance(run.data.split) | {"seconds": seconds.spent()}
        return write_results(workdir, evaluation, config, beside) if first else {}


def _another_number_of_devices(config: Config, workdir: Path, before: int, now: int) -> dict[str, tuple[int, int]]:
    """The number of devices as a change of config, where it changes what is trained (``parallel.batch_norm``).

    Raises:
      InputError: it does, and the config allows no change.
    """
    if config.parallel.batch_norm != "device" or before in (0, now):
        return {}
    if not config.allow_config_change:
        raise InputError(
            f"{workdir} holds a run on {before} device(s), and this one has {now}: with parallel.batch_norm=device, "
            "that trains something else. Resume on as many devices (parallel.num_devices), or choose another "
            "--workdir; --config.allow_config_change goes on all the same, and notes it."
        )
    return {"devices": (before, now)}


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
    check_parts(clips, mesh, config.batch.parts)
    size = {"height": config.image_height, "width": config.image_width}
    with_pose = config.model.pose.lower() != "none"
    _check_appearance(config)
    c = config.data
    data = open_data(
        c.name,
        root=c.root,
        keypoints_path=c.keypoints,
        features_path=c.features,
        split_number=c.split,
        walkers=c.walkers.to_dict(),
        with_pose=with_pose,
        **size,
    )
    parallel.check_same("the list of tracklets", fingerprint(data.split)["sha256"])
    data = replace(data, read=ProcessReader(data.read, jax.process_index(), jax.process_count()))
    sampler = IdentitySampler(
        data.split.train,
        frames_per_clip=config.frames_per_clip,
        augmentation=Augmentation(**config.augment),
        seed=config.seed,
        identities=config.batch.identities,
        clips_per_identity=config.batch.clips_per_identity,
        max_frame_stride=config.batch.max_frame_stride,
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
            batch_norm=config.parallel.batch_norm,
            parts=config.batch.parts,
            schedule=schedule,
            skip_nonfinite=config.on_nonfinite == "skip",
        ),
        scorer=scorer,
        state=parallel.replicate(state, mesh),
        total_steps=config.num_steps or config.num_epochs * per_epoch,
    )


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


def _say(text: str) -> None:
    print(text, flush=True)
