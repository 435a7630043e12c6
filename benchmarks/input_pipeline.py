"""Benchmark of the training input pipeline compared with bare decoding, and of prepared data compared with loose files.

    python benchmarks/input_pipeline.py                       # writes walkers in MARS's layout into a temporary folder
    python benchmarks/input_pipeline.py --root=MARS --keypoints=mars_keypoints.npz --scratch=DIR

Batches have 256 x 128 pixels, T = 10 frames, 8 persons x 4 clips, crop and flip with probability 0.5. Tasks alternate
in one process. It prints the best rates, by wall and CPU time of this process, and the medians of the ratios within a
round, so that other load on the machine has little effect.

A pipeline is measured in steady state, without its start (building the graph, 0.5 to 1 s) and end (stopping threads, up
to 0.5 s). As in the commands, the process retains freed memory, unless --give-back.
"""

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rgcn_jax.data.clips.augment import Augmentation, no_transform
from rgcn_jax.data.clips.pipeline import ClipReader, LooseFiles
from rgcn_jax.data.clips.sampling import BatchPlan, IdentitySampler
from rgcn_jax.data.clips.tensorflow_cpu import tf
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.prepared.format import find
from rgcn_jax.data.prepared.reader import Prepared, open_prepared
from rgcn_jax.runtime.cores import usable_cores
from rgcn_jax.runtime.malloc import retain_freed_memory
from rgcn_jax.types import Split, Tracklet

try:
    import simplejpeg
except ImportError:
    simplejpeg = None
HEIGHT, WIDTH, T, PEOPLE, CLIPS = 256, 128, 10, 8, 4
BATCH = PEOPLE * CLIPS * T
WARM_UP, AHEAD = 3, 5  # batches; more than a pipeline prefetches


class Clock:
    """Measures wall and CPU seconds between ``start`` and ``stop``; returns frames per second of each."""

    def start(self) -> None:
        """Start the measurement."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, frames: int) -> tuple[float, float]:
        """Stop the measurement and return the rates."""
        return frames / (time.perf_counter() - self._wall), frames / (time.process_time() - self._cpu)


def sampler(split: Split, erase: float) -> IdentitySampler:
    """The sampler of the paper's recipe."""
    return IdentitySampler(
        split.train,
        identities=PEOPLE,
        clips_per_identity=CLIPS,
        frames_per_clip=T,
        max_frame_stride=8,
        augmentation=Augmentation(erase_probability=erase),
        seed=0,
    )


def pipeline(reader: ClipReader, split: Split, steps: int, erase: float = 0.0) -> tuple[float, float]:
    """Rates of the whole pipeline, from plans to batches in memory, with equally many prefetched batches at start and
    end.
    """
    batches = reader(sampler(split, erase).plans(0, WARM_UP + steps + AHEAD))
    for _ in range(WARM_UP):
        next(batches)
    clock = Clock()
    clock.start()
    for _ in range(steps):
        next(batches)
    rates = clock.stop(steps * BATCH)
    for _ in batches:
        pass
    return rates


def bare_tensorflow(images: Sequence[bytes]) -> tuple[float, float]:
    """Rates of ``tf.io.decode_jpeg`` on files in memory, mapped in parallel."""
    data = tf.data.Dataset.from_tensor_slices(list(images)).map(
        lambda encoded: tf.io.decode_jpeg(encoded, channels=3), num_parallel_calls=tf.data.AUTOTUNE
    )
    iterator = iter(data.prefetch(2))
    for _ in range(WARM_UP):
        next(iterator)
    clock = Clock()
    clock.start()
    for _ in iterator:
        pass
    return clock.stop(len(images) - WARM_UP)


def bare_simplejpeg(images: Sequence[bytes]) -> tuple[float, float]:
    """Rates of simplejpeg (libjpeg-turbo) with one thread per core."""
    cores = usable_cores()
    parts = [images[i::cores] for i in range(cores)]

    def decode(part: Sequence[bytes]) -> None:
        for encoded in part:
            simplejpeg.decode_jpeg(encoded)  # pyright: ignore[reportOptionalMemberAccess]

    with ThreadPoolExecutor(cores) as pool:
        clock = Clock()
        clock.start()
        list(pool.map(decode, parts))
        return clock.stop(len(images))


def random_plans(tracklets: Sequence[Tracklet], frames: int) -> Iterator[BatchPlan]:
    """Plans of random frames, in batches of single frames."""
    rng = random.Random(0)
    box, flip, erase = no_transform(BATCH)
    for start in range(0, frames, BATCH):
        chosen = tuple(rng.choice(tracklets) for _ in range(min(BATCH, frames - start)))
        size = len(chosen)
        positions = np.array([[rng.randrange(len(t.frames))] for t in chosen], np.int32)
        yield BatchPlan(
            tracklets=chosen,
            frames=positions,
            frame_mask=np.ones((size, 1), bool),
            label=np.zeros(size, np.int32),
            index=np.zeros(size, np.int32),
            box=box[:size],
            flip=flip[:size],
            erase=erase[:size],
        )


def read_prepared(prepared: Prepared, plans: Sequence[BatchPlan]) -> tuple[float, float]:
    """Rates of reading records of random frames."""
    clock = Clock()
    clock.start()
    frames = sum(prepared.fetch(plan).size for plan in plans)
    return clock.stop(frames)


def read_loose(root: Path, plans: Sequence[BatchPlan]) -> tuple[float, float]:
    """Rates of reading files of random frames."""
    clock, frames = Clock(), 0
    clock.start()
    for plan in plans:
        for tracklet, (position,) in zip(plan.tracklets, plan.frames, strict=True):
            with open(root / tracklet.frames[position], "rb") as file:
                file.read()
            frames += 1
    return clock.stop(frames)


def forget(paths: Sequence[Path]) -> None:
    """Drop files from the page cache, within the rights of an ordinary user."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def ready(arguments: argparse.Namespace, scratch: Path) -> tuple[Path, Path, Path]:
    """Root, keypoints and prepared folder, which are created if not given."""
    root = arguments.root or scratch / "walkers"
    if not root.exists():
        size = ["--train-identities=24", "--test-identities=12", "--min-frames=40", "--max-frames=80"]
        run("rgcn_jax.walkers", f"--out={root}", "--layout=mars", *size)
    keypoints, out = arguments.keypoints or root / "openpose", scratch / "prepared"
    begin = time.perf_counter()
    run("rgcn_jax.data.prepare", "--dataset=mars", f"--root={root}", f"--keypoints={keypoints}", f"--out={out}")
    print(f"prepared in {time.perf_counter() - begin:.1f} s")
    return root, keypoints, out


def run(module: str, *arguments: str) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.DEVNULL)


def measure(tasks: dict[str, Callable[[], tuple[float, float]]], repetitions: int) -> dict[str, np.ndarray]:
    """Rates of each task [repetitions, 2], in alternation."""
    rates = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, task in tasks.items():
            rates[name].append(task())
    return {name: np.array(found) for name, found in rates.items()}


def table(title: str, rates: dict[str, np.ndarray], base: str) -> None:
    """Print the best rates, and the medians of the ratios within a repetition."""
    print(f"\n{title}\n{'':44}{'frames/s':>10}{'ratio':>8}{'per CPU s':>12}{'ratio':>8}")
    for name, found in rates.items():
        (wall, cpu), (by_wall, by_cpu) = found.max(axis=0), np.median(found / rates[base], axis=0)
        print(f"{name:44}{wall:10,.0f}{by_wall:8.2f}{cpu:12,.0f}{by_cpu:8.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The training pipeline compared with bare decoding.")
    parser.add_argument("--root", type=Path, help="a data set in MARS's layout; default: walkers")
    parser.add_argument("--keypoints", type=Path, help="its keypoints; default: ROOT/openpose")
    parser.add_argument(
        "--scratch", type=Path, help="folder for written files, which are kept; default: a temporary one"
    )
    parser.add_argument("--steps", type=int, default=40, help=f"batches of {BATCH} frames per repetition")
    parser.add_argument("--frames", type=int, default=50_000, help="random frames to read per repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--give-back", action="store_true", help="do not retain freed memory")
    arguments = parser.parse_args()
    kept = not arguments.give_back and retain_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        root, keypoints, out = ready(arguments, scratch)
        split = mars.load(root)
        loose_table = keypoint_table.load(keypoints, split)
        folder = find(out, "mars")
        assert folder is not None
        prepared = open_prepared(folder)
        loose = ClipReader(LooseFiles(root), loose_table, HEIGHT, WIDTH)
        records = ClipReader(prepared, prepared, prepared.marker.height, prepared.marker.width)
        paths = [root / frame for t in prepared.tracklets for frame in t.frames]
        images = [p.read_bytes() for p in random.Random(0).choices(paths, k=arguments.steps * BATCH)]
        print(
            f"{platform.machine()}, {usable_cores()} core(s); TensorFlow {tf.__version__}; {len(paths):,} images of "
            f"{HEIGHT} x {WIDTH}, {np.mean([len(i) for i in images]) / 1e3:.1f} kB each; "
            f"{arguments.repetitions} repetitions; freed memory is {'retained' if kept else 'not retained'}"
        )
        steps = arguments.steps
        tasks = {
            "tf.io.decode_jpeg, files in memory": lambda: bare_tensorflow(images),
            "simplejpeg, files in memory": lambda: bare_simplejpeg(images),
            "whole pipeline, loose files": lambda: pipeline(loose, split, steps),
            "whole pipeline, prepared": lambda: pipeline(records, prepared.splits[1], steps),
            "whole pipeline, prepared, erasing 0.5": lambda: pipeline(records, prepared.splits[1], steps, 0.5),
        }
        if simplejpeg is None:
            del tasks["simplejpeg, files in memory"]
            print("simplejpeg is not installed: pip install 'rgcn_jax[bench]'")
        table("Decoding", measure(tasks, arguments.repetitions), "tf.io.decode_jpeg, files in memory")
        plans = list(random_plans(prepared.tracklets, arguments.frames))
        shards = [folder / shard.file for shard in prepared.marker.shards]

        def cold(files: Sequence[Path], task: Callable[[], tuple[float, float]]) -> tuple[float, float]:
            forget(files)
            return task()

        def from_files() -> tuple[float, float]:
            return read_loose(root, plans)

        def from_records() -> tuple[float, float]:
            return read_prepared(prepared, plans)

        reading = {
            "loose files, in the page cache": from_files,
            "prepared, in the page cache": from_records,
            "loose files, dropped from it": lambda: cold(paths, from_files),
            "prepared, dropped from it": lambda: cold(shards, from_records),
        }
        title = f"Reading {arguments.frames:,} random frames, encoded, one thread"
        table(title, measure(reading, arguments.repetitions), "loose files, in the page cache")


if __name__ == "__main__":
    main()
