"""Parts of ``benchmarks/gpu.sh``, one process each, which write results as soon as they are measured.

    python -m benchmarks.gpu.parts step-LGCN --out=FOLDER

JAX is measured first, then again in alternation with PyTorch once PyTorch is ready. Agreement of both in float64 is
checked elsewhere (``benchmarks.train_step``, ``benchmarks.pose_branch``); here the losses of the first batch are
written.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import (
    bare,  # noqa: F401  before rgcn_jax
    step_case,
)
from benchmarks.branch_case import branch_task
from benchmarks.gpu import profile
from benchmarks.gpu.record import Record
from benchmarks.gpu.sizes import FULL, TOY, Scale
from benchmarks.machine import libraries, machine
from benchmarks.pose_models import draw, jax_task, torch_task
from benchmarks.ranking import random_case
from benchmarks.step_report import torch_extraction, torch_step
from benchmarks.timing import Times, time_in_turn
from rgcn_jax import parallel
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.evaluation.protocol import PROTOCOLS
from rgcn_jax.evaluation.rank_protocols import rank_features


def in_turn(tasks: Mapping[str, Callable[[], object]], turns: int, calls: int = 1) -> dict[str, Times]:
    """Call each task once, which compiles it, and then time them in alternation."""
    for task in tasks.values():
        task()
    return time_in_turn(tasks, turns, calls)


def against_pytorch(
    record: Record, ours: Callable[[], object], theirs: Callable[[str], Callable[[], object]], scale: Scale
) -> None:
    """Time ``ours`` alone, then in alternation with PyTorch, then with torch.compile too; failures in PyTorch are
    recorded and affect only their own row.
    """
    turns, images = scale.steps, scale.step.images
    record.add_times("JAX alone", in_turn({"JAX": ours}, turns)["JAX"], images)
    tasks = {"JAX": ours}
    for kind in scale.kinds:
        start = time.perf_counter()
        try:
            tasks[kind] = theirs(kind)
            first = tasks[kind]()
        except Exception as error:
            record.add(f"{kind} failed", f"{type(error).__name__}: {error}"[:500])
            tasks.pop(kind, None)
            continue
        record.add(f"{kind}: seconds to start", round(time.perf_counter() - start, 1))
        if isinstance(first, dict):
            record.add(f"{kind}: loss", float(first["loss"].detach()))
        times = in_turn(tasks, turns)
        for name, of_task in times.items():
            record.add_times(name, of_task, images)
        record.add_ratios(times)


def compiled_step(pose: str, scale: Scale, record: Record, micro_batches: int = 1) -> tuple[Any, Callable[[], Any]]:
    """The compiled training step and a task that runs it; records compile time, memory by XLA's count and the first
    loss.
    """
    sizes = replace(scale.step, micro_batches=micro_batches)
    mesh = parallel.make_mesh(1)
    state = parallel.replicate(step_case.make_state(step_case.make_variables(pose, sizes)), mesh)
    on_device = parallel.shard(step_case.make_batch(sizes), mesh)
    start = time.perf_counter()
    compiled = step_case.train_step(pose, sizes).lower(state, on_device).compile()
    name = f"{pose}, {micro_batches} micro-batch(es)"
    record.add(f"{name}: seconds to trace and compile", round(time.perf_counter() - start, 1))
    record.add(f"{name}: GiB by XLA's count", gib(step_case.memory_of(compiled)))
    run = step_case.run_of(compiled, state, on_device)
    record.add(f"{name}: first loss", float(run()["loss"]))
    return compiled, run


def gib(count: int) -> float:
    """Convert bytes to GiB."""
    return round(count / 2**30, 3)


def peak_memory(statistics: Mapping[str, int] | None) -> float | None:
    """JAX's peak memory on the device since the process started, in GiB, from the device's ``memory_stats()``; None
    where the device does not report it (a CPU, some allocators).
    """
    peak = (statistics or {}).get("peak_bytes_in_use")
    return None if peak is None else gib(peak)


def step(pose: str, scale: Scale, record: Record) -> None:
    """Benchmark the training step against PyTorch, eager and compiled: frames/s and peak memory."""
    _, run = compiled_step(pose, scale, record)
    record.add("JAX: peak GiB", peak_memory(jax.local_devices()[0].memory_stats()))
    batch, variables = step_case.make_batch(scale.step), step_case.make_variables(pose, scale.step)

    def theirs(kind: str) -> Callable[[], object]:
        task, peak = torch_step(pose, scale.step, kind, batch, variables)
        record.add(f"{kind}: peak GiB", gib(peak))
        return task

    against_pytorch(record, run, theirs, scale)


def extraction(scale: Scale, record: Record) -> None:
    """Benchmark feature extraction of AP + LGCN for a batch on the device."""
    batch, variables = step_case.make_batch(scale.step), step_case.make_variables("LGCN", scale.step)
    ours = step_case.extraction("LGCN", scale.step, batch, variables)
    theirs = lambda kind: torch_extraction("LGCN", scale.step, kind, batch, variables)  # noqa: E731
    against_pytorch(record, ours, theirs, scale)
    record.add("JAX: peak GiB", peak_memory(jax.local_devices()[0].memory_stats()))


def trace(scale: Scale, record: Record) -> None:
    """Profile three steps of AP + LGCN."""
    compiled, run = compiled_step("LGCN", scale, record)
    run()
    try:
        program = compiled.as_text()
    except RuntimeError as error:  # read from the cache of compiled programs, where not every backend keeps the text
        record.add("lines of the model", f"not known: {error}"[:200])
        program = None
    for name, value in profile.of_calls(run, 3, program).items():
        record.add(name, value)


def pose_models(scale: Scale, record: Record) -> None:
    """Benchmark each pose model, forward and backward in float32, against eager PyTorch; the recurrent ones with the
    input product before and in the scan, as a loop and unrolled.
    """
    if scale.kinds:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    recurrent = ("LGCN", "RGCN", "GCNLSTM", "GCNRNN")
    with jax.default_matmul_precision("highest"):
        for name in (*recurrent, "STGCN", "EvolveGCN-O", "EvolveGCN-H"):
            case = draw(name, scale.clips, scale.frames, scale.features, 0)
            tasks: dict[str, Callable[[], object]] = {"JAX": jax_task(case)}
            if scale.kinds:
                tasks["PyTorch"] = torch_task(case)
            times = in_turn(tasks, scale.calls)
            for label, of_task in times.items():
                record.add_times(f"{name}: {label}", of_task)
        for name in recurrent:
            case = draw(name, scale.clips, scale.frames, scale.features, 0)
            tasks = {}
            for place in (False, True):
                for unroll in (1, scale.frames):
                    module = case.module.clone(project_in_scan=place, unroll=unroll)
                    label = f"product {'in' if place else 'before'} the scan, {'loop' if unroll == 1 else 'unrolled'}"
                    tasks[label] = jax_task(replace(case, module=module))
            for label, of_task in in_turn(tasks, scale.calls).items():
                record.add_times(f"{name}: {label}", of_task)


def share(scale: Scale, record: Record) -> None:
    """Benchmark the step without a pose branch and the branches alone."""
    batch = step_case.make_batch(scale.step)
    aspect = scale.step.width / scale.step.height
    _, without = compiled_step("none", scale, record)
    base = in_turn({"none": without}, scale.steps)["none"]
    record.add_times("step without a pose branch", base, scale.step.images)
    for pose in ("LGCN", "RGCN"):
        task = branch_task(step_case.make_model(pose, scale.step), batch, "crop", aspect)
        times = in_turn({pose: task}, scale.calls, 3)[pose]
        record.add_times(f"{pose} branch alone", times, of_the_step=round(times.best / base.best, 5))
        _, run = compiled_step(pose, scale, record)
        both = in_turn({"none": without, pose: run}, scale.steps)
        ratio = both[pose].best / both["none"].best - 1
        record.add_times(f"step with {pose}", both[pose], scale.step.images, more_than_without=round(ratio, 5))


def micro_batches(scale: Scale, record: Record) -> None:
    """Benchmark AP + LGCN with micro-batches."""
    for count in scale.micro_batches:
        _, run = compiled_step("LGCN", scale, record, count)
        record.add_times(f"{count} micro-batch(es)", in_turn({"": run}, scale.steps)[""], scale.step.images)


def ranking(scale: Scale, record: Record) -> None:
    """Benchmark from features to mAP on the host, for one protocol and increasing sizes."""
    for queries, entries, appearance, pose in scale.rankings:
        embeddings, roles = random_case(queries, entries, appearance, pose)
        features = fuse(embeddings, "fused", "normalized")
        start = time.perf_counter()
        metrics = rank_features(features, embeddings, roles, {"official": PROTOCOLS["official"]}, overwrite=True)
        seconds = time.perf_counter() - start
        found = {"seconds": round(seconds, 3), "ms_per_query": round(1e3 * seconds / queries, 3)}
        found["mAP"] = round(float(metrics["official"].mAP), 6)
        record.add(f"{queries} x {entries}, {appearance + pose} dimensions", found)


PARTS: Mapping[str, Callable[[Scale, Record], None]] = {
    "step-LGCN": partial(step, "LGCN"),
    "profile": trace,
    "extraction": extraction,
    "pose": pose_models,
    "step-AP": partial(step, "none"),
    "step-RGCN": partial(step, "RGCN"),
    "share": share,
    "micro-batches": micro_batches,
    "ranking": ranking,
}


def without_pytorch(platform: str) -> str:
    """Why there is nothing of PyTorch to compare with on ``platform``, that of JAX's devices; empty where there is."""
    try:
        import torch
    except Exception as error:  # not installed, or a library of its CUDA does not load beside JAX's
        return f"PyTorch cannot be imported ({type(error).__name__}: {error})"[:300]
    cuda = torch.cuda.is_available()
    if cuda != (platform == "gpu"):
        return f"PyTorch {torch.__version__} runs on {'a GPU' if cuda else 'the CPU'}, JAX on {platform}"
    return ""


def main() -> None:
    """Run one part in this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.parts")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--rehearse", action="store_true", help="toy sizes")
    a = parser.parse_args()
    platform = jax.default_backend()
    if platform == "cpu" and not a.rehearse:
        raise SystemExit("JAX sees no GPU, and the full sizes are not for a CPU: install jax[cuda13], or --rehearse.")
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(a.out / "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    record = Record(a.out / f"{a.part}.json")
    scale, missing = TOY if a.rehearse else FULL, without_pytorch(platform)
    record.add("on", f"{libraries(not missing)}; {machine()}")
    if missing:
        record.add("without PyTorch", missing)
        scale = replace(scale, kinds=())
    # Use the device before any clock starts.
    jax.block_until_ready(jnp.ones((256, 256)) @ jnp.asarray(np.ones((256, 256), np.float32)))
    PARTS[a.part](scale, record)
    record.add("complete", True)


if __name__ == "__main__":
    main()
    # All is written. The libraries' threads and the workers of torch.compile take seconds to end, of the other parts'.
    sys.stdout.flush()
    os._exit(0)
