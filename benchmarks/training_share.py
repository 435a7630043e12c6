"""Relative cost of the pose branch in a training step of ``configs/mars.py``, compared with appearance only (AP).

One run times the training step (forward, backward, Adam) without a pose branch and with each pose model, in
alternation. It also times the pose branch alone (pose input, model and dual attention, forward and backward) for the
same number of clips. Two ratios result:

  by step  (step with the branch - step without) / step without: includes its triplet loss and its part of the
           classifier and of Adam, but is the difference of two long times, which on a CPU vary more between steps
  alone    branch alone / step without: excludes these, but is free of the noise of the ResNet
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import jax
import numpy as np

from benchmarks.branch_case import branch_task
from benchmarks.machine import machine
from benchmarks.timing import Times, time_in_turn
from rgcn_jax import parallel
from rgcn_jax.config import Config
from rgcn_jax.config_io import packaged_config, typed
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.models.two_branch import TwoBranch
from rgcn_jax.training.optim import adam_coupled_l2, step_schedule
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import make_train_step
from rgcn_jax.types import Batch

IDENTITIES = 625
"""Number of MARS's training identities, the outputs of the classifier."""

PAPER_HOURS = {
    "none": 28.30,
    "RGCN": 32.14,
    "GCNRNN": 41.55,
    "LGCN": 38.82,
    "GCNLSTM": 47.60,
    "STGCN": 32.25,
    "EvolveGCN-O": 37.36,
    "EvolveGCN-H": 37.36,
}
"""The paper's training times on MARS in hours (table IV, two V100). The variant of EvolveGCN is not stated."""


@dataclass(frozen=True)
class StepSizes:
    """Sizes that override ``configs/mars.py``; ``stage_sizes`` None: ResNet-50's."""

    clips: int
    height: int
    width: int
    stage_sizes: Sequence[int] | None = None
    trunk_width: int = 64
    dtype: str = "float32"


def make_config(pose: str, sizes: StepSizes) -> Config:
    """``configs/mars.py`` with the pose model and the sizes."""
    config = typed(packaged_config("mars"))
    model = replace(config.model, pose=pose, width=sizes.trunk_width)
    if sizes.stage_sizes:
        model = replace(model, stage_sizes=tuple(sizes.stage_sizes))
    return replace(config, model=model, dtype=sizes.dtype, image_height=sizes.height, image_width=sizes.width)


def make_batch(config: Config, clips: int) -> Batch:
    """Noise in the shapes of a training batch, two clips per identity."""
    rng = np.random.default_rng(0)
    shape = (clips, config.frames_per_clip)
    return Batch(
        frames=rng.integers(0, 256, (*shape, config.image_height, config.image_width, 3), dtype=np.uint8),
        keypoints=rng.random((*shape, 14, 3), np.float32),
        frame_mask=np.ones(shape, bool),
        label=(np.arange(clips) // 2).astype(np.int32),
        index=np.arange(clips, dtype=np.int32),
    )


def make_model(config: Config) -> TwoBranch:
    """The model for this machine's devices."""
    platform = jax.default_backend()
    return build_model(asdict(config.model), IDENTITIES, config.dtype, axis_name=parallel.AXIS, platform=platform)


def step_task(config: Config, batch: Batch) -> Callable[[], None]:
    """Return a task that takes one training step on one device and blocks; the state is kept between calls."""
    mesh = parallel.make_mesh(1)
    o = config.optimizer
    optimizer = adam_coupled_l2(step_schedule(o.learning_rate, o.decay_factor, 0), o.weight_decay)
    model = make_model(config)
    variables = initialise(model, config.seed, config.frames_per_clip, config.image_height, config.image_width)
    state = parallel.replicate(create_state(variables, optimizer, config.seed), mesh)
    step = make_train_step(model, optimizer, config.loss, mesh, model.dtype)
    on_device = parallel.shard(batch, mesh)

    def task() -> None:
        nonlocal state
        state, metrics = step(state, on_device)
        jax.block_until_ready((state, metrics))

    return task


def print_share(names: Sequence[str], sizes: StepSizes, repetitions: int) -> None:
    """Time and print the part "step"."""
    appearance = make_config("none", sizes)
    batch = make_batch(appearance, sizes.clips)
    steps = {"none": step_task(appearance, batch)}
    branches = {}
    for name in names:
        config = make_config(name, sizes)
        steps[name] = step_task(config, batch)
        branches[name] = branch_task(make_model(config), batch, config.model.pose_input, config.aspect)
    for task in (*steps.values(), *branches.values()):
        task()  # compiles
    calls = 10
    step_times, branch_times = time_in_turn(steps, repetitions), time_in_turn(branches, repetitions, calls)
    model, frames = appearance.model, appearance.frames_per_clip
    print(
        f"Training step of configs/mars.py, {sizes.clips} clips x {frames} frames of {sizes.height} x {sizes.width}, "
        f"stages {tuple(model.stage_sizes)}, {appearance.dtype}: minimum (median) of {repetitions} steps and "
        f"{calls * repetitions} calls of the pose branch alone\n"
        f"JAX {jax.__version__} on {jax.default_backend()}; {machine()}"
    )
    print_table(names, step_times, branch_times, jax.default_backend() == "cpu")
    print(
        "share by step: (step with the branch - step without) / step without; alone: branch alone / step without.\n"
        "paper: hours on MARS with the branch and without, 32 clips, two V100 (table IV)."
    )


def print_table(names: Sequence[str], steps: Mapping[str, Times], branches: Mapping[str, Times], on_cpu: bool) -> None:
    """Print one row per pose model; on the CPU also the ratio by processor time, which other load hardly affects."""
    without = steps["none"]
    header = f"{'':12}{'step, s':>18}" + f"{'CPU, s':>9}" * on_cpu + f"{'branch alone, ms':>19}"
    print(header + f"{'share by step':>16}" + f"{'by CPU':>9}" * on_cpu + f"{'alone':>9}{'paper':>9}")
    for name, step in steps.items():
        row = f"{name:12}{f'{step.best:.3f} ({step.median:.3f})':>18}" + f"{min(step.cpu):>9.2f}" * on_cpu
        if name in names:
            branch = branches[name]
            row += f"{f'{1e3 * branch.best:.1f} ({1e3 * branch.median:.1f})':>19}{step.best / without.best - 1:>16.1%}"
            row += f"{min(step.cpu) / min(without.cpu) - 1:>9.1%}" * on_cpu
            row += f"{branch.best / without.best:>9.2%}{PAPER_HOURS[name] / PAPER_HOURS['none'] - 1:>9.0%}"
        print(row)
