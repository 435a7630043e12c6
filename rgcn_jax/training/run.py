"""Setup of a training run: builds data, model, optimiser and compiled steps from the config, and checks them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding

from rgcn_jax import parallel
from rgcn_jax.config import Config
from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.keypoint_augment import KeypointAugmentation
from rgcn_jax.data.clips.reader import Data, ProcessReader
from rgcn_jax.data.clips.sampling import IdentitySampler
from rgcn_jax.data.datasets.overlap import pretrained_overlap
from rgcn_jax.data.load import ALL_SUBSETS, open_data
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.scorer import Scorer, model_from_config, scorer_from_config
from rgcn_jax.models.build import initialise, with_pretrained
from rgcn_jax.models.two_branch import TwoBranch
from rgcn_jax.runtime.provenance import fingerprint
from rgcn_jax.training.init_from import init_from_run
from rgcn_jax.training.optim import adam_coupled_l2, make_schedule, with_pose_factor
from rgcn_jax.training.pose_pretrained import init_pose_branch
from rgcn_jax.training.state import TrainState, count_parameters, create_state
from rgcn_jax.training.step import batch_shapes, check_micro_batches, make_train_step


@dataclass(frozen=True)
class Run:
    """Data, model, optimiser and compiled steps of a run, and its state before the first step."""

    data: Data
    sampler: IdentitySampler
    mesh: Mesh
    train_step: Callable
    compile_step: Callable[[TrainState], object]
    """Compiles ``train_step`` for a state, before a batch exists."""
    scorer: Scorer
    state: TrainState
    total_steps: int
    init_from: dict[str, Any] | None = None
    """Origin of the weights under ``model.init_from`` or ``pose_pretrained``: checkpoint, step, sha256."""


def prepare(config: Config, restored: bool = False) -> Run:
    """Open the data, check everything that can be checked before training, and build model, optimiser and steps.

    If ``restored``, a checkpoint will replace the parameters: the state then holds shapes only, and
    ``model.pretrained``, ``init_from`` and ``pose_pretrained`` are not read.

    Raises:
      InputError: data, weights, devices or processes do not fit the config, or each other.
    """
    parallel.check_same("the config", json.dumps(config.to_dict(), sort_keys=True))
    if config.evaluation.distance == "calibrated":
        raise InputError(
            "evaluation.distance is calibrated, which is learned after training (rgcn-jax calibrate --fusion): train "
            "with standardized, and evaluate with calibrated afterwards."
        )
    mesh = parallel.make_mesh(config.parallel.num_devices)
    parallel.check_divides(config.batch.clips, mesh, "batch.identities x batch.clips_per_identity")
    check_micro_batches(config.batch.clips, mesh, config.batch.micro_batches)
    data = open_process_data(config)
    of_keypoints = {"keypoints": KeypointAugmentation(**asdict(config.augment.keypoints))}
    augmentation: dict[str, Any] = asdict(config.augment) | of_keypoints
    sampler = IdentitySampler(
        data.split.train,
        frames_per_clip=config.frames_per_clip,
        augmentation=Augmentation(**augmentation),
        seed=config.seed,
        crop_aspect=config.aspect,
        identities=config.batch.identities,
        clips_per_identity=config.batch.clips_per_identity,
        max_frame_stride=config.batch.max_frame_stride,
    )
    identities, per_epoch = len(sampler.person_ids), sampler.steps_per_epoch
    model = model_from_config(config, identities, mesh)
    variables, weights, origin = _variables(config, model, data, restored, mesh.devices.flat[0].platform)
    total_steps = config.num_steps or config.num_epochs * per_epoch
    schedule = make_schedule(config.optimizer, per_epoch, total_steps)
    optimizer = adam_coupled_l2(schedule, config.optimizer.weight_decay)
    optimizer = with_pose_factor(optimizer, config.optimizer.pose_factor)
    state = _abstract_state(variables, optimizer, mesh) if restored else None
    state = state or parallel.replicate(create_state(variables, optimizer, config.seed), mesh)
    split = data.split
    say(
        f"{split.name}: {len(split.train)} training tracklets of {identities} identities; {len(split.query)} queries, "
        f"{len(split.gallery)} gallery tracklets"
    )
    say(
        f"{config.model.appearance} + {config.model.pose}: {count_parameters(state.params):,} parameters, {weights}; "
        f"{config.batch.clips} clips x {config.frames_per_clip} frames a step on {mesh.size} "
        f"{mesh.devices.flat[0].platform} device(s)"
    )
    train_step = make_train_step(
        model,
        optimizer,
        config.loss,
        mesh,
        model.dtype,
        micro_batches=config.batch.micro_batches,
        schedule=schedule,
        skip_nonfinite=config.on_nonfinite == "skip",
        unbiased_variance=config.model.batch_norm_variance == "unbiased",
    )
    batch = batch_shapes(config.batch.clips, config.frames_per_clip, data.shape, mesh)
    return Run(
        data=data,
        sampler=sampler,
        mesh=mesh,
        train_step=train_step,
        compile_step=lambda state: train_step.lower(state, batch).compile(),  # pyright: ignore
        scorer=scorer_from_config(config, model, data, mesh),
        state=state,
        total_steps=total_steps,
        init_from=origin,
    )


def open_process_data(config: Config, required: Sequence[str] = ALL_SUBSETS) -> Data:
    """Open the data set of a config; each of several processes reads its own clips of a batch.

    Raises InputError if the data set cannot be read, lacks a required subset, or differs between processes.
    """
    data = open_data(config.data, config.frame_size, config.with_pose, required, config.with_appearance)
    parallel.check_same("the list of tracklets", fingerprint(data.split)["sha256"])
    process = jax.process_index(), jax.process_count()
    keypoints = None if data.read_keypoints is None else ProcessReader(data.read_keypoints, *process)
    return replace(data, read=ProcessReader(data.read, *process), read_keypoints=keypoints)


def _variables(
    config: Config, model: TwoBranch, data: Data, restored: bool, platform: str
) -> tuple[dict[str, Any], str, dict[str, Any] | None]:
    """Initial parameters and statistics, a description of their origin, and the origin for ``results.json``."""
    if restored:
        shapes = jax.eval_shape(lambda: initialise(model, config.seed, config.frames_per_clip, *data.shape))
        return shapes, "weights from the checkpoint", None
    variables = initialise(model, config.seed, config.frames_per_clip, *data.shape, platform=platform)
    if config.model.init_from:
        variables, origin = init_from_run(variables, Path(config.model.init_from).expanduser(), say)
        return variables, f"weights from {config.model.init_from}", origin
    variables, words = _with_trunk(config, variables)
    if not config.model.pose_pretrained:
        return variables, words, None
    variables, origin = init_pose_branch(variables, config.model.pose_pretrained, config.model, say)
    return variables, f"{words}, pose branch from {config.model.pose_pretrained}", origin


def _with_trunk(config: Config, variables: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Load the ResNet of ``model.pretrained``; return the variables and a description of their origin."""
    if not config.with_appearance:
        return variables, "no ResNet (there is no appearance branch)"
    if config.data.features:
        return variables, f"appearance features from {config.data.features}"
    if not config.model.pretrained:
        return variables, "ResNet randomly initialised (model.pretrained is empty)"
    if warning := pretrained_overlap(config.data.name, config.model.pretrained):
        say(warning)
    path = Path(config.model.pretrained).expanduser()
    return with_pretrained(variables, path, say), f"ResNet from {path}"


def _abstract_state(shapes: Any, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Shapes, types and devices of the state, as the target of a restore."""
    state = jax.eval_shape(lambda variables: create_state(variables, optimizer, 0), shapes)
    sharding = NamedSharding(mesh, parallel.REPLICATED)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state)


def say(text: str) -> None:
    """Print a line and flush."""
    print(text, flush=True)
