"""Checks, timing and output of ``benchmarks.train_step``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import step_case
from benchmarks.machine import libraries, machine
from benchmarks.roofline import peak_of, seconds_at_least, training_flop, trunk_layers
from benchmarks.step_case import Sizes
from benchmarks.timing import Times, time_in_turn
from rgcn_jax import parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.training.step import make_train_step

FLOAT64_LOSS, FLOAT64_GRADIENT, FLOAT32_LOSS = 1e-9, 1e-6, 1e-4
"""Maximum relative differences between JAX and PyTorch."""

GIB = 2**30


def differences_float64(pose: str, sizes: Sizes) -> tuple[float, float]:
    """Compute differences between JAX and PyTorch in float64 on 4 clips of 2 frames of at most 64 x 32.

    Returns the largest relative difference of a loss term, and that of a gradient (relative to its largest absolute
    value).
    """
    import torch

    from benchmarks import torch_reference

    small = replace(
        sizes,
        clips=4,
        frames=2,
        height=min(64, sizes.height),
        width=min(32, sizes.width),
        dtype="float32",
        micro_batches=1,
    )
    batch = step_case.make_batch(small)
    variables = step_case.make_variables(pose, small)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        model = step_case.make_model(pose, small)
        appearance: Any = model.appearance
        model = model.clone(appearance=appearance.clone(trunk=appearance.trunk.clone(dtype=jnp.float64)))
        optimizer = optax.sgd(1.0)  # so that the change of parameters is the gradient
        step = make_train_step(model, optimizer, LossConfig(), parallel.make_mesh(1), jnp.float64)
        state = step_case.make_state(wide, optimizer)
        batch["keypoints"] = batch["keypoints"].astype(np.float64)
        batch["frames"] = np.random.default_rng(1).standard_normal(batch["frames"].shape)  # as they are normalised
        after, metrics = jax.device_get(step(state, batch))
        gradients = jax.tree.map(np.subtract, wide["params"], after.params)
    reference = torch_reference.build(small.fields(pose), wide["params"], torch.float64)
    terms, theirs = torch_reference.loss_and_gradients(reference, batch, torch.float64)
    ours = torch_reference.in_torch_layout(gradients, pose)
    if missing := ours.keys() ^ theirs.keys():
        raise ValueError(f"{pose}: gradients that only one of JAX and PyTorch has: {sorted(missing)}.")
    loss = max(abs(float(metrics[name]) - value) / max(abs(value), 1e-3) for name, value in terms.items())
    scale = max(np.abs(value).max() for value in theirs.values())
    # A gradient that is zero except for rounding (of a bias before a normalisation) has no scale.
    gradient = max(
        np.abs(ours[n].reshape(g.shape) - g).max() / max(np.abs(g).max(), 1e-6 * scale) for n, g in theirs.items()
    )
    return float(loss), float(gradient)


def first_losses(pose: str, sizes: Sizes, batch: Mapping[str, np.ndarray], variables: Any) -> tuple[float, float]:
    """Compute the loss of the batch's first clips in float32 without TF32, in JAX and PyTorch.

    The clips are those of two identities, to limit memory.
    """
    import torch

    from benchmarks import torch_reference

    few = {name: array[:8] for name, array in batch.items()}
    with jax.default_matmul_precision("highest"):
        state = step_case.make_state(variables)
        _, metrics = step_case.train_step(pose, replace(sizes, dtype="float32"))(state, few)
        ours = float(metrics["loss"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = torch_reference.build(sizes.fields(pose), variables["params"])
    with torch.no_grad():
        frames, keypoints, labels = torch_reference.on_device(few)
        theirs = float(torch_reference.objective(model(frames, keypoints), labels)["loss"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return ours, theirs


def _agree(pose: str, sizes: Sizes, batch: Mapping[str, np.ndarray], variables: Any) -> str:
    """Return a line about the agreement of JAX and PyTorch; exit if they do not agree."""
    if sizes.micro_batches > 1:
        return f"{pose}: not compared, since PyTorch has no micro-batches"
    loss, gradient = differences_float64(pose, sizes)
    ours, theirs = first_losses(pose, sizes, batch, variables)
    single = abs(ours - theirs) / abs(theirs)
    found = (
        f"{pose}: float64 losses differ by {loss:.0e}, gradients by {gradient:.0e}; float32 loss by {single:.0e} "
        f"({ours:.6f})"
    )
    if not (loss <= FLOAT64_LOSS and gradient <= FLOAT64_GRADIENT and single <= FLOAT32_LOSS):
        raise SystemExit(
            f"JAX and PyTorch do not agree, so nothing is timed. {found}; expected at most {FLOAT64_LOSS:.0e}, "
            f"{FLOAT64_GRADIENT:.0e} and {FLOAT32_LOSS:.0e}."
        )
    return found


def print_steps(
    poses: Mapping[str, str], sizes: Sizes, kinds: Sequence[str], repetitions: int, with_extraction: bool
) -> None:
    """Print the part "step" model by model, so that running out of memory affects only later ones.

    Exits if JAX and PyTorch do not run on the same kind of device, or do not agree.
    """
    device, flop = jax.devices()[0], training_flop(list(_layers(sizes)))
    print(
        f"Training step of configs/mars.py on noise: {sizes.clips} clips x {sizes.frames} frames of {sizes.height} x "
        f"{sizes.width}, last stride {sizes.model['last_stride']}, stages {tuple(sizes.model['stage_sizes'])}, "
        f"{sizes.dtype}, remat {sizes.model['remat']}, {sizes.micro_batches} micro-batch(es); "
        f"{flop / 1e9:.2f} GFLOP a frame; minimum (median) of {repetitions} steps\n"
        f"{libraries(len(kinds) > 1)}; {machine()}",
        flush=True,
    )
    batch = step_case.make_batch(sizes)
    for pose, title in poses.items():
        variables = step_case.make_variables(pose, sizes)
        print("\n" + (_agree(pose, sizes, batch, variables) if len(kinds) > 1 else title), flush=True)
        prepared = step_case.prepare(pose, sizes, batch, variables)
        tasks: dict[str, Callable[[], object]] = {"JAX": prepared.run}
        peaks = {"JAX, by XLA's count": prepared.memory}
        for kind in kinds[1:]:
            tasks[kind], peaks[kind] = torch_step(pose, sizes, kind, batch, variables)
        _print_steps(title, sizes, _time(tasks, repetitions), flop)
        tasks.clear()
        memory = ", ".join(f"{kind} {peak / GIB:.2f}" for kind, peak in peaks.items() if peak)
        print(
            f"{title:12}compile cold, s {prepared.cold:.1f}, warm {prepared.warm:.1f}; peak memory, GiB: {memory}",
            flush=True,
        )
        del prepared
        if with_extraction:
            extracting = {"JAX": step_case.extraction(pose, sizes, batch, variables)}
            extracting |= {kind: torch_extraction(pose, sizes, kind, batch, variables) for kind in kinds[1:]}
            _print_extraction(title, sizes, _time(extracting, repetitions), device.platform == "cpu")


def _print_extraction(title: str, sizes: Sizes, times: Mapping[str, Times], on_cpu: bool) -> None:
    """Print frames/s of each library; on the CPU also by processor time."""
    rates = [f"{kind} {sizes.images / t.best:.1f}" for kind, t in times.items()]
    by_cpu = ", ".join(f"{sizes.images / min(t.cpu):.1f}" for t in times.values())
    print(f"{title:12}extraction, frames/s: " + ", ".join(rates) + f"; by processor time {by_cpu}" * on_cpu, flush=True)


def _layers(sizes: Sizes) -> Any:
    m = sizes.model
    return trunk_layers(sizes.height, sizes.width, m["last_stride"], m["stage_sizes"], m["width"])


def _time(tasks: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, Times]:
    for task in tasks.values():
        task()  # warms up, or compiles
    return time_in_turn(tasks, repetitions)


def torch_step(
    pose: str, sizes: Sizes, kind: str, batch: Mapping[str, np.ndarray], variables: Any
) -> tuple[Callable[[], object], int]:
    """Prepare PyTorch's step, eager or by torch.compile; return it with its peak memory in bytes, 0 on the CPU."""
    import torch

    from benchmarks import torch_reference

    cuda = torch.cuda.is_available()
    before = torch.cuda.memory_allocated() if cuda else 0
    model = torch_reference.build(sizes.fields(pose), variables["params"])
    rates = step_case.LEARNING_RATE, step_case.WEIGHT_DECAY
    task = torch_reference.train_task(model, batch, *rates, sizes.dtype == "bfloat16", kind == "torch.compile")
    if not cuda:
        return task, 0
    task()  # compiles, and selects cuDNN algorithms
    torch.cuda.reset_peak_memory_stats()
    task()
    return task, torch.cuda.max_memory_allocated() - before


def torch_extraction(
    pose: str, sizes: Sizes, kind: str, batch: Mapping[str, np.ndarray], variables: Any
) -> Callable[[], object]:
    """Return a task that extracts the batch's features in PyTorch, eager or by torch.compile, and blocks."""
    from benchmarks import torch_reference

    model = torch_reference.build(sizes.fields(pose), variables["params"])
    return torch_reference.extraction_task(model, batch, sizes.dtype == "bfloat16", kind == "torch.compile")


def _print_steps(title: str, sizes: Sizes, times: Mapping[str, Times], flop: int) -> None:
    """Print one row per library."""
    device = jax.devices()[0]
    peak, on_cpu = peak_of(device.device_kind), device.platform == "cpu"
    header = f"{'':28}{'step, s':>20}{'frames/s':>10}{'TFLOP/s':>9}" + f"{'roofline':>10}" * (peak is not None)
    print(header + f"{'CPU, s':>9}{'frames/CPU s':>14}" * on_cpu)
    ours = times["JAX"]
    for kind, t in times.items():
        rate = sizes.images / t.best
        row = f"{title:12}{kind:16}{f'{t.best:.4f} ({t.median:.4f})':>20}{rate:>10.1f}{rate * flop / 1e12:>9.3f}"
        if peak is not None:
            row += f"{rate * seconds_at_least(list(_layers(sizes)), peak, sizes.dtype):>10.1%}"
        if on_cpu:
            row += f"{min(t.cpu):>9.2f}{sizes.images / min(t.cpu):>14.1f}"
        if kind != "JAX":
            row += f"   speed of JAX / {kind}: {t.best / ours.best:.2f}"
            row += f", by processor time {min(t.cpu) / min(ours.cpu):.2f}" * on_cpu
        print(row, flush=True)


def print_memory(poses: Sequence[str], sizes: Sizes) -> None:
    """Print the part "memory": one row per way to save memory."""
    print(
        f"Memory of a training step of configs/mars.py by XLA's count for {jax.default_backend()}, GiB: {sizes.clips} "
        f"clips x {sizes.frames} frames of {sizes.height} x {sizes.width}, last stride {sizes.model['last_stride']}, "
        f"{sizes.dtype}; JAX {jax.__version__}"
    )
    print(f"{'remat':12}{'micro-batches':>14}" + "".join(f"{pose:>10}" for pose in poses))
    for remat, micro_batches in (("none", 1), ("blocks", 1), ("none", 4), ("blocks", 4)):
        case = replace(sizes, micro_batches=micro_batches, model={**sizes.model, "remat": remat})
        row = "".join(f"{step_case.memory_on_paper(pose, case) / GIB:>10.2f}" for pose in poses)
        print(f"{remat:12}{micro_batches:>14}{row}", flush=True)


def print_scaling(poses: Sequence[str], sizes: Sizes, steps: int = 3) -> None:
    """Print the part "scaling"."""
    print(f"Losses of {steps} steps of {sizes.clips} clips x {sizes.frames} frames on fake CPU devices")
    for pose in poses:
        one: list[float] = []
        for devices in (1, 2, 4):
            found = step_case.losses_on_devices(pose, sizes, devices, steps)
            one = one or found
            apart = max(abs(a - b) / abs(b) for a, b in zip(found, one, strict=True))
            print(f"{pose:8}{devices} device(s): " + " ".join(f"{v:.6f}" for v in found) + f"  differ by {apart:.0e}")
