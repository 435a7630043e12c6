"""Each pose model compared with the same model in PyTorch (``torch_pose``), which is imported only if it is used.

Tasks compute (H, gradient of all parameters) for given keypoints and a given dL/dH: forward and backward.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import libraries, machine
from benchmarks.timing import Times, time_in_turn
from rgcn_jax.models.build import build_encoder

CALLS = 3
"""Number of calls of a task per turn."""

FLOAT64_TOLERANCE, FLOAT32_TOLERANCE = 1e-9, 1e-4
"""Maximum relative differences: of H and every gradient in float64, and of H in float32; see ``differences``."""

Task = Callable[[], tuple[Any, Any]]
"""A function that computes (H, gradients by name) and blocks."""


@dataclass(frozen=True)
class Case:
    """A pose model with the input of both libraries: variables (NumPy), X [B, T, 14, C], dL/dH [B, T, 14, n]."""

    name: str
    module: nn.Module
    variables: dict[str, Any]
    x: np.ndarray
    dh: np.ndarray


def draw(name: str, clips: int, frames: int, features: int, seed: int) -> Case:
    """Create the model of width n = ``features``, otherwise with its defaults, and random input.

    Parameters have their initial values, with noise on those that start constant (biases, scales), since a mistake
    could be hidden there. Keypoints are uniform and dL/dH is normal.
    """
    rng = np.random.default_rng(seed)
    x = rng.random((clips, frames, 14, 2), np.float32)
    dh = rng.standard_normal((clips, frames, 14, features), np.float32)

    def noisy(leaf: np.ndarray) -> np.ndarray:
        return leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32) if leaf.min() == leaf.max() else leaf

    module = build_encoder(name, jax.default_backend(), features=features, dtype=jnp.float32)
    variables = dict(jax.device_get(jax.jit(module.init)(jax.random.key(seed), x)))
    return Case(name, module, {**variables, "params": jax.tree.map(noisy, variables["params"])}, x, dh)


def jax_task(case: Case) -> Task:
    """Return the task in JAX, compiled, on its default device."""

    @jax.jit
    def forward_backward(variables: dict[str, Any], x: Any, dh: Any) -> tuple[Any, Any]:
        def embed(params: Any) -> Any:
            return case.module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])

        h, pullback, _ = jax.vjp(embed, variables["params"], has_aux=True)
        return h, pullback(dh)[0]

    on_device = jax.device_put((case.variables, case.x, case.dh))
    return lambda: jax.block_until_ready(forward_backward(*on_device))


def torch_task(case: Case, compiled: bool = False) -> Task:
    """Return the task in PyTorch, in the precision of X, on a GPU if PyTorch finds one. ``compiled``: use
    ``torch.compile``.
    """
    import torch

    from benchmarks.torch_pose import reference

    cuda = torch.cuda.is_available()
    x, dh = (torch.tensor(array, device="cuda" if cuda else "cpu") for array in (case.x, case.dh))
    module = reference(case.name, case.variables["params"]).to(x.device, x.dtype)
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    forward = torch.compile(module) if compiled else module

    def forward_backward() -> tuple[Any, dict[str, Any]]:
        module.zero_grad(set_to_none=True)
        h = forward(x)
        h.backward(dh)
        if cuda:
            torch.cuda.synchronize()
        return h.detach(), {name: parameter.grad for name, parameter in trained.items()}

    return forward_backward


def differences(case: Case, ours: Task, theirs: Task) -> tuple[float, float]:
    """Compute the differences between JAX and PyTorch, of H and of the parameter gradient with the largest difference.

    A difference is the largest absolute difference over the largest absolute value.

    Raises:
      ValueError: shapes differ, or only one of them has a gradient.
    """
    from benchmarks.torch_pose import in_torch_layout

    def relative(a: Any, b: Any) -> float:
        a, b = np.asarray(a), b.cpu().numpy()
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(f"{case.name}: {a.shape} {a.dtype} in JAX, {b.shape} {b.dtype} in PyTorch.")
        return float(np.abs(a - b).max() / np.abs(b).max())

    (h, gradient), (h_torch, gradient_torch) = ours(), theirs()
    gradient = in_torch_layout(case.name, jax.device_get(gradient))
    if gradient.keys() != gradient_torch.keys():
        raise ValueError(f"{case.name}: gradients in one of both: {sorted(gradient.keys() ^ gradient_torch.keys())}.")
    return relative(h, h_torch), max(relative(gradient[key], gradient_torch[key]) for key in gradient)


def differences_float64(case: Case) -> tuple[float, float]:
    """Compute ``differences`` in float64, so that they are not due to rounding."""
    with jax.enable_x64(True):
        variables, x, dh = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (case.variables, case.x, case.dh))
        case = Case(case.name, case.module, variables, x, dh)
        return differences(case, jax_task(case), torch_task(case))


def print_models(
    names: Sequence[str], clips: int, frames: int, features: int, repetitions: int, seed: int, compiled: bool
) -> None:
    """Check, time and print; exit with a message if the results do not agree."""
    import torch

    described = libraries(with_torch=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    kinds = ["JAX", "PyTorch"] + ["torch.compile"] * compiled
    tasks: dict[tuple[str, str], Task] = {}
    found = {}
    with jax.default_matmul_precision("highest"):
        for name in names:
            case = draw(name, clips, frames, features, seed)
            double = differences_float64(case)
            ours = jax_task(case)
            others = [torch_task(case, compiled=kind != "PyTorch") for kind in kinds[1:]]
            pairs = [differences(case, ours, theirs) for theirs in others]
            single = tuple(max(values) for values in zip(*pairs, strict=True))
            if not (max(double) <= FLOAT64_TOLERANCE and single[0] <= FLOAT32_TOLERANCE):
                sys.exit(
                    f"{name}: JAX and PyTorch do not agree, so nothing is timed: H and gradient differ by "
                    f"{double[0]:.0e} and {double[1]:.0e} in float64 (at most {FLOAT64_TOLERANCE:.0e}), H by "
                    f"{single[0]:.0e} in float32 (at most {FLOAT32_TOLERANCE:.0e})."
                )
            found[name] = (*double, *single)
            tasks |= {(name, kind): task for kind, task in zip(kinds, (ours, *others), strict=True)}
        times = time_in_turn(tasks, repetitions, CALLS)
    print(
        f"Forward and backward of {clips} clips x {frames} frames x 14 keypoints, n = {features}, float32: minimum "
        f"(median) of {CALLS * repetitions} calls, ms\n"
        f"{described}; {machine()}"
    )
    _print_table(names, kinds, times, found, jax.default_backend() == "cpu")


def _print_table(
    names: Sequence[str],
    kinds: Sequence[str],
    times: Mapping[tuple[str, str], Times],
    found: Mapping[str, tuple[float, ...]],
    on_cpu: bool,
) -> None:
    """Print one row per model; on the CPU also minima of processor time, which other load hardly affects."""
    header = [f"{'':12}", *(f"{kind:>17}" for kind in kinds), *(f"{f'JAX/{kind}':>18}" for kind in kinds[1:])]
    header += ["   CPU: " + "".join(f"{kind:>14}" for kind in kinds) + "  JAX/PyTorch"] * on_cpu
    print("".join(header), "  differences: float64 H, gradient; float32 H, gradient")
    for name in names:
        ours, *others = (times[name, kind] for kind in kinds)
        row = [f"{name:12}"]
        row += [f"{f'{1e3 * t.best:.1f} ({1e3 * t.median:.1f})':>17}" for t in (ours, *others)]
        row += [f"{ours.best / t.best:>18.2f}" for t in others]
        if on_cpu:
            row += [" " * 8, *(f"{1e3 * min(t.cpu):>14.1f}" for t in (ours, *others))]
            row += [f"{min(ours.cpu) / min(others[0].cpu):>13.2f}"]
        print("".join(row), "  " + ", ".join(f"{value:.0e}" for value in found[name]))
