"""Benchmark of the whole training loop with its input pipeline, compared with the bare step.

    python -m benchmarks.whole_job
    python -m benchmarks.whole_job --config=configs/mars.py --config.data.root=/data/MARS --config.data.keypoints=... \
        --config.num_steps=200

Without a config, it trains on walkers of 60 identities, written as JPEG in MARS's layout into a temporary folder.
tf.data reads them at 256 x 128, T = 10. The ResNet is so small (three blocks of 8 channels) that reading, not
computing, is the possible bottleneck. It takes 60 steps, saves every 20 and evaluates at the end. A given config is
trained in a temporary work directory.

Two tasks are then timed in the same process in alternation, so that other load on the machine affects both equally. The
bare step is the same compiled step on one batch that is already on the device. The step with its input takes a new
batch from the reader each time. The start of the reader is excluded from both. Ratios are of medians, by wall time and
by the processor time of the process.

Two rates of the job are compared with that of the bare step: of the loop alone (input, step, logging), and of
everything but start, compilation and profiling (with checkpoints and evaluation). The times spent waiting for steps and
for batches show the bottleneck; for details, see --config.profile_steps (docs/performance.md).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Any

import jax

from benchmarks.machine import machine
from benchmarks.timing import Times
from rgcn_jax import parallel
from rgcn_jax.command import run_command
from rgcn_jax.config import Config
from rgcn_jax.config_io import load_config_file, override, typed
from rgcn_jax.runtime.time_accounting import PARTS, Seconds
from rgcn_jax.training.run import Run, prepare
from rgcn_jax.training.state import TrainState
from rgcn_jax.training.train import train
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.write import write

TURNS, STEPS, WARM_UP = 3, 8, 4


def main(arguments: Sequence[str]) -> None:
    """Train, time steps in alternation, and print the two tables.

    Raises:
      InputError: the config does not exist, or it or its data are invalid.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_job", description="The job and the bare step.")
    parser.add_argument("--config", metavar="FILE", help="of configs/; default: walkers written as JPEG")
    given, overrides = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if given.config is None:
            write(generate(WalkersSpec(train_identities=30, test_identities=30)), Path(scratch, "data"), "mars")
            overrides = [*_small(Path(scratch, "data")), *overrides]
        config = typed(override(load_config_file(given.config or "configs/mars_mini.py"), overrides))
        seconds = Seconds()
        steps = train(config, Path(scratch, "runs", "job"), seconds=seconds)["step"]
        spent = seconds.spent()
        bare, fed = steps_in_turn(config)
    report(spent, steps, config.batch.clips * config.frames_per_clip, bare, fed)


def steps_in_turn(config: Config) -> tuple[Times, Times]:
    """Measure the mean seconds of a step in each of ``TURNS`` turns of ``STEPS`` steps: bare, and with its input."""
    run, bare, fed = prepare(config), Times(), Times()
    with closing(run.data.read(run.sampler.plans(0, 1))) as batches:
        batch = next(batches)
    here = parallel.shard(batch, run.mesh)
    state = _timed(run, run.state, repeat(here), Times())  # compiles
    for turn in range(TURNS):
        state = _timed(run, state, repeat(here), bare)
        first = turn * (WARM_UP + STEPS)
        with closing(run.data.read(run.sampler.plans(first, first + 2 * (WARM_UP + STEPS)))) as batches:
            state = _timed(run, state, (parallel.shard(batch, run.mesh) for batch in batches), fed)
    return bare, fed


def _timed(run: Run, state: TrainState, batches: Iterator[Any], times: Times) -> TrainState:
    """Take ``STEPS`` steps, after ``WARM_UP`` steps that consume the prefetched batches. Metrics are fetched one step
    late, as in the training loop.
    """
    metrics, wall, cpu = None, 0.0, 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            jax.block_until_ready(state)
            wall, cpu = time.perf_counter(), time.process_time()
        before, (state, metrics) = metrics, run.train_step(state, next(batches))
        jax.device_get(before)
    jax.block_until_ready(state)
    times.wall.append((time.perf_counter() - wall) / STEPS)
    times.cpu.append((time.process_time() - cpu) / STEPS)
    return state


def report(spent: Mapping[str, float], steps: int, frames: int, bare: Times, fed: Times) -> None:
    """Print the rates, and the seconds of each part of the job (``Seconds.spent``).

    The host reaches the second step while the device computes the first one, whose time is thus included in ``step``.

    Args:
      spent: seconds by part.
      steps: number of steps of the job.
      frames: number of frames per step.
      bare: times of the bare step.
      fed: times of the step with its input.
    """
    loop = spent["input"] + spent["step"] + spent["logging"]
    whole = loop + spent["checkpoint"] + spent["evaluation"]
    print(f"\n{machine()}; {jax.devices()[0].device_kind}; {steps} steps of {frames} frames\n")
    print("| | frames/s | of the bare step | by processor time |\n|---|---|---|---|")
    for name, seconds, share in (
        ("bare step", bare.median, ""),
        ("step with its input", fed.median, f"{100 * statistics.median(bare.cpu) / statistics.median(fed.cpu):.0f} %"),
        ("the loop: input, step, logging", loop / steps, ""),
        ("with checkpoints and evaluation", whole / steps, ""),
    ):
        print(f"| {name} | {frames / seconds:.0f} | {100 * bare.median / seconds:.0f} % | {share} |")
    print("\n| part | seconds | a step, ms |\n|---|---|---|")
    for part in PARTS:
        each = "" if part in ("start", "compile", "evaluation", "profile") else f"{1e3 * spent[part] / steps:.1f}"
        print(f"| {part} | {spent[part]:.2f} | {each} |")


def _small(root: Path) -> list[str]:
    """Changes to ``configs/mars_mini.py`` for the default job."""
    return [
        f"--config.data.root={root}",
        f"--config.data.keypoints={root}/openpose",
        "--config.image_height=256",
        "--config.image_width=128",
        "--config.frames_per_clip=10",
        "--config.model.stage_sizes=(1, 1, 1)",
        "--config.model.width=8",
        "--config.num_steps=60",
        "--config.checkpoint_every_steps=20",
        "--config.evaluation.clips=even",
    ]


if __name__ == "__main__":
    run_command(main)
