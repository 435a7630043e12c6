"""Frames/s of the real loop with the real pipeline beside the bare step, and where the difference goes.

    python -m benchmarks.whole_job
    python -m benchmarks.whole_job --config=configs/mars.py --config.data.root=/data/MARS --config.data.keypoints=... \
        --config.num_steps=200

Without a config: walkers of 60 people, written as JPEG in MARS's layout into a temporary folder and read from there by
tf.data at 256 x 128, T = 10, with a trunk so small (three blocks of 8 channels) that reading, not computing, is what
could hold it up; 60 steps, saved every 20, evaluated at the end. A config is trained in a temporary work directory.

The bare step is the same compiled step on one batch that is on the device already, after the job, in the same process.
Two rates of the job are set beside it: of the loop alone (input, with the start of the pipeline, step, logging), and of
all but starting, compiling and profiling (with checkpoints and evaluation). Where a step is waited for, and where a
batch is, says what to make faster; for more, --config.profile_steps (docs/performance.md).
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from benchmarks.machine import machine
from rgcn_jax import parallel
from rgcn_jax.command import run_command
from rgcn_jax.config import Config
from rgcn_jax.config_io import load_config_file, override, typed
from rgcn_jax.runtime.time_accounting import PARTS, Seconds
from rgcn_jax.training.run import prepare
from rgcn_jax.training.train import train
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.write import write

BARE_STEPS = 20


def main(arguments: Sequence[str]) -> None:
    """Trains, times the bare step, and prints the two tables.

    Raises:
      InputError: there is no such config, or it or its data are not as they must be.
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
        bare = bare_step(config)
    frames = config.batch.clips * config.frames_per_clip
    report(spent, steps, frames, bare)


def bare_step(config: Config) -> list[float]:
    """Seconds of ``BARE_STEPS`` steps on one batch that is on the device, each waited for; one before them is not
    counted.
    """
    run = prepare(config)
    batch = parallel.shard(next(iter(run.data.read(run.sampler.plans(0, 1)))), run.mesh)
    state, times = run.state, []
    for _ in range(BARE_STEPS + 1):
        start = time.perf_counter()
        state, metrics = run.train_step(state, batch)
        jax.block_until_ready((state, metrics))
        times.append(time.perf_counter() - start)
    return times[1:]


def report(spent: Mapping[str, float], steps: int, frames: int, bare: Sequence[float]) -> None:
    """Prints the rates, and the seconds of each part of the job (``Seconds.spent``) of so many steps, each of so many
    frames; ``bare``: seconds of the bare steps.

    The device takes the first step while the host is at the second already: it is in ``step``, as all others.
    """
    step = sorted(bare)[len(bare) // 2]
    loop = spent["input"] + spent["step"] + spent["logging"]
    whole = loop + spent["checkpoint"] + spent["evaluation"]
    print(f"\n{machine()}; {jax.devices()[0].device_kind}; {steps} steps of {frames} frames\n")
    print("| | frames/s | of the bare step |\n|---|---|---|")
    for name, rate in (
        ("bare step (median)", frames / step),
        ("the loop: input, step, logging", steps * frames / loop),
        ("with checkpoints and evaluation", steps * frames / whole),
    ):
        print(f"| {name} | {rate:.0f} | {100 * rate * step / frames:.0f} % |")
    print("\n| part | seconds | a step, ms |\n|---|---|---|")
    for part in PARTS:
        each = "" if part in ("start", "compile", "evaluation", "profile") else f"{1e3 * spent[part] / steps:.1f}"
        print(f"| {part} | {spent[part]:.2f} | {each} |")


def _small(root: Path) -> list[str]:
    """Changes to ``configs/mars_mini.py`` for the job that needs nothing."""
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
