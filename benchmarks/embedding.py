"""Benchmark of embedding compared with the bare extraction step, and of loading compared with the start of training.

    python -m benchmarks.embedding
    python -m benchmarks.embedding --tracklets=1000 --stage-sizes=3,4,6,3 --width=64 --height=256 --image-width=128

Extraction: the baseline is the compiled step on batches that are already on the device. ``Extractor.tracklets`` also
reads, batches and averages. An ``Embedder`` takes arrays and returns an ``Embedding`` per tracklet. Tracklets are
random pixels in memory, of one to three clips.

Loading: a run of the ResNet-50 of configs/mars.py with random weights is saved once. ``rgcn_jax.load`` and the start of
its training (on a few walkers) run in separate processes. Memory is the peak above that of a process that has imported
JAX and used a device.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks.machine import libraries, machine
from benchmarks.timing import time_in_turn
from rgcn_jax import parallel
from rgcn_jax.command import run_command
from rgcn_jax.config import Config, DataConfig, EvaluationConfig, ModelConfig
from rgcn_jax.config_io import save_config
from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
from rgcn_jax.embedder import Embedder
from rgcn_jax.evaluation.embed import Cutting, Readers
from rgcn_jax.models.build import initialise
from rgcn_jax.saved_model import SavedModel
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.run import prepare
from rgcn_jax.types import Tracklet
from rgcn_jax.walkers.spec import WalkersSpec

FEW = WalkersSpec(train_identities=8, test_identities=4, group_size=2, cameras=2, min_frames=10, max_frames=12)

CHILD = """
import re, sys, time
import jax
jax.block_until_ready(jax.numpy.zeros(8) + 1)
def peak():  # of this program: getrusage counts that of the process which started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 2**10
before, start = peak(), time.perf_counter()
what, run = sys.argv[1:]
if what == "load":
    import rgcn_jax
    kept = rgcn_jax.load(run)
else:
    from rgcn_jax.config_io import load_config_json, typed
    from rgcn_jax.training.run import prepare
    kept = prepare(typed(load_config_json(__import__("pathlib").Path(run, "config.json"))))
jax.block_until_ready(jax.tree.leaves(kept.variables if what == "load" else kept.state))
print(f"{time.perf_counter() - start:.2f} {peak() - before:.0f} {before:.0f}")
"""


def main(arguments: Sequence[str]) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description="Embedding and loading.")
    parser.add_argument("--tracklets", type=int, default=1000)
    parser.add_argument("--stage-sizes", default="1,1,1")
    parser.add_argument("--width", type=int, default=16, help="channels of the trunk's first stage")
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--image-width", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--no-loading", action="store_true")
    parser.add_argument("--no-extraction", action="store_true")
    options = parser.parse_args(arguments)
    print(f"{machine()}; {libraries(with_torch=False)}")
    if not options.no_extraction:
        extraction(options)
    if not options.no_loading:
        loading()


def extraction(options: argparse.Namespace) -> None:
    """Print the table of speeds."""
    config = Config(
        image_height=options.height,
        image_width=options.image_width,
        data=DataConfig(name="walkers"),
        model=ModelConfig(stage_sizes=tuple(map(int, options.stage_sizes.split(","))), width=options.width),
        evaluation=EvaluationConfig(clips="dense"),
    )
    embedder = _embedder(config)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 3 * config.frames_per_clip + 1, options.tracklets)
    pool = rng.integers(0, 256, (64, *config.frame_size, 3), dtype=np.uint8)
    frames = [np.resize(pool, (n, *config.frame_size, 3)) for n in lengths]
    keypoints = [rng.uniform(0.1, 0.9, (n, 14, 3)).astype(np.float32) for n in lengths]
    tracklets = [Tracklet(tuple(f"{i}/{t}" for t in range(n)), 1, 1) for i, n in enumerate(lengths)]
    place = {tracklet: i for i, tracklet in enumerate(tracklets)}
    source = CachedSource(lambda t: frames[place[t]], lambda t: keypoints[place[t]])
    read = MemoryReader(partial(read_batch, source=source))
    cutting = Cutting("dense", config.frames_per_clip, config.evaluation.clips_per_batch)
    # Cycle through a few batches: all of them would not fit on the device, and a single one would stay in the cache.
    plans = list(cutting.plans(tracklets))
    ready = [parallel.shard(batch, embedder.mesh) for batch in read(plans[:8])]
    step = embedder.extractor.step

    def bare() -> None:
        results = [step(embedder.variables, ready[i % len(ready)]) for i in range(len(plans))]
        jax.block_until_ready(results)

    tasks = {
        "bare step": bare,
        "Extractor.tracklets": lambda: list(
            embedder.extractor.tracklets(embedder.variables, Readers(read), tracklets, cutting)
        ),
        "Embedder": lambda: embedder(frames, keypoints),
    }
    for task in tasks.values():
        task()
    times = time_in_turn(tasks, options.turns)
    print(f"\n{options.tracklets} tracklets, {len(plans)} batches of {cutting.clips_per_batch} clips")
    print("| | tracklets/s, best | median | of the bare step, by medians |\n|---|---|---|---|")
    for name, of_task in times.items():
        best, median = (options.tracklets / seconds for seconds in (of_task.best, of_task.median))
        print(f"| {name} | {best:.0f} | {median:.0f} | {times['bare step'].median / of_task.median:.2f} |")


def _embedder(config: Config) -> Embedder:
    """An embedder with random weights."""
    mesh = parallel.make_mesh(0)
    empty = SavedModel(Path("random"), config, 0, {}, "")
    model = empty.model(mesh)
    variables = jax.device_get(initialise(model, 0, config.frames_per_clip, *config.frame_size))
    return Embedder(empty._replace(variables=variables))


def loading() -> None:
    """Print the table of seconds and memory."""
    config = Config(data=DataConfig(name="walkers", walkers=FEW), model=ModelConfig(pose_features=512))
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch, "run")
        with Checkpoints(run) as checkpoints:
            checkpoints.save("latest", prepare(config).state, {})
        save_config(config, run / "config.json")
        print("\n| | seconds | memory, MiB, above JAX alone |\n|---|---|---|")
        for what in ("load", "start of training"):
            command = [sys.executable, "-c", CHILD, what, str(run)]
            process = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, memory, _ = process.stdout.splitlines()[-1].split()
            print(f"| {what} | {seconds} | {memory} |")


if __name__ == "__main__":
    run_command(main)
