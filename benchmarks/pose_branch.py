"""What the pose branch costs: each pose model beside the same maths in PyTorch, and its share of a training step.

    python -m benchmarks.pose_branch            both parts; "models" or "step" after it: one of them

"models" (needs PyTorch: ``pip install -e '.[bench]'``): node embeddings H of random keypoints and the gradient of all
parameters for a given dL/dH, in JAX (compiled) and in PyTorch (``torch_pose``), on a GPU where each of the two sees
one. Both get the same parameters; what does not agree to 1e-4 is not timed. Everything is timed in turn, in one
process. float32 throughout, TF32 nowhere.

"step": see ``training_share``.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Times, machine, time_in_turn
from benchmarks.training_share import StepSizes, print_share
from rgcn_jax.models.build import POSE_ENCODERS

TOLERANCE = 1e-4
"""Largest difference between JAX and PyTorch over the largest value, of H and of the gradient of each parameter."""


def build(name: str, features: int) -> nn.Module:
    """The pose model at its defaults but for the width n; of float32."""
    return POSE_ENCODERS[name](features=features, dtype=jnp.float32)


def draw(module: nn.Module, x: np.ndarray, seed: int) -> dict[str, Any]:
    """Initial variables as NumPy arrays, with noise on what starts constant (biases, scales): a mistake would hide
    in zeros.
    """
    rng = np.random.default_rng(seed)

    def noisy(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        constant = leaf.min() == leaf.max()
        return leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32) if constant else leaf

    variables = dict(jax.jit(module.init)(jax.random.key(seed), x))
    return {**jax.device_get(variables), "params": jax.tree.map(noisy, variables["params"])}


def jax_task(module: nn.Module, variables: dict[str, Any], x: np.ndarray, dh: np.ndarray) -> Callable[[], Any]:
    """A call that computes (H, gradient of the parameters) for dL/dH = ``dh``, compiled, and waits for it."""

    @jax.jit
    def forward_backward(variables: dict[str, Any], x: Any, dh: Any) -> tuple[Any, Any]:
        def embed(params: Any) -> Any:
            return module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])

        h, pullback, _ = jax.vjp(embed, variables["params"], has_aux=True)
        return h, pullback(dh)[0]

    on_device = jax.device_put((variables, x, dh))
    return lambda: jax.block_until_ready(forward_backward(*on_device))


def torch_task(module: Any, x: np.ndarray, dh: np.ndarray, compiled: bool = False) -> Callable[[], Any]:
    """The same in PyTorch, on the GPU where it sees one; ``compiled``: by ``torch.compile``."""
    import torch

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    module = module.to(device)
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    forward = torch.compile(module) if compiled else module
    on_device = torch.tensor(x, device=device), torch.tensor(dh, device=device)

    def forward_backward() -> tuple[Any, dict[str, Any]]:
        module.zero_grad(set_to_none=True)
        h = forward(on_device[0])
        h.backward(on_device[1])
        if cuda:
            torch.cuda.synchronize()
        return h.detach(), {name: parameter.grad for name, parameter in trained.items()}

    return forward_backward


def differences(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Of H, and the largest of the gradients': largest absolute difference over the largest absolute value."""
    from benchmarks.torch_pose import in_torch_layout

    def relative(a: Any, b: Any) -> float:
        a, b = np.asarray(a), b.cpu().numpy()
        if a.shape != b.shape:
            raise ValueError(f"{name}: shape {a.shape} in JAX, {b.shape} in PyTorch.")
        return float(np.abs(a - b).max() / np.abs(b).max())

    (h, gradient), (h_torch, gradient_torch) = ours(), theirs()
    gradient = in_torch_layout(name, jax.device_get(gradient))
    if gradient.keys() != gradient_torch.keys():
        raise ValueError(f"{name}: gradients in only one of both: {sorted(gradient.keys() ^ gradient_torch.keys())}.")
    return relative(h, h_torch), max(relative(gradient[key], gradient_torch[key]) for key in gradient)


def print_models(names: Sequence[str], arguments: argparse.Namespace) -> None:
    """Checks, times and prints the part "models"; exits with a message where something does not agree."""
    import torch

    from benchmarks.torch_pose import reference

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clips, frames, n = arguments.clips, arguments.frames, arguments.features
    rng = np.random.default_rng(arguments.seed)
    x = rng.random((clips, frames, 14, 2), np.float32)
    dh = rng.standard_normal((clips, frames, 14, n), np.float32)
    tasks, found = {}, {}
    with jax.default_matmul_precision("highest"):
        for name in names:
            module = build(name, n)
            variables = draw(module, x, arguments.seed)
            ours = jax_task(module, variables, x, dh)
            theirs = torch_task(reference(name, variables["params"]), x, dh)
            found[name] = differences(name, ours, theirs)
            if not max(found[name]) <= TOLERANCE:
                sys.exit(
                    f"{name}: JAX and PyTorch differ by {found[name][0]:.1e} of the largest embedding and "
                    f"{found[name][1]:.1e} of a largest gradient, more than {TOLERANCE:.0e}: not timed."
                )
            tasks |= {(name, "jax"): ours, (name, "torch"): theirs}
            if arguments.compile:
                compiled = torch_task(reference(name, variables["params"]), x, dh, compiled=True)
                found[name] = tuple(map(max, found[name], differences(name, ours, compiled)))
                tasks[name, "compiled"] = compiled
        times = time_in_turn(tasks, arguments.repetitions, calls=3)
    where = "cuda" if torch.cuda.is_available() else f"cpu ({torch.get_num_threads()} threads)"
    print(
        f"Forward and backward: {clips} clips x {frames} frames x 14 keypoints, n = {n}, float32; minimum (median) of "
        f"{3 * arguments.repetitions} calls in ms\n"
        f"JAX {jax.__version__} on {jax.default_backend()}, PyTorch {torch.__version__} on {where}; {machine()}"
    )
    print_table(names, times, found, on_cpu=jax.default_backend() == "cpu" and not torch.cuda.is_available())


def print_table(
    names: Sequence[str],
    times: Mapping[tuple[str, str], Times],
    found: Mapping[str, tuple[float, ...]],
    on_cpu: bool,
) -> None:
    """One row a model. ``on_cpu``: with a column of processor time, which other load on the machine leaves alone."""
    kinds = {"jax": "JAX", "torch": "PyTorch", "compiled": "torch.compile"}
    kinds = {kind: title for kind, title in kinds.items() if (names[0], kind) in times}
    columns = [*kinds.values(), *(f"JAX / {title}" for title in list(kinds.values())[1:])]
    print(f"{'':12}" + "".join(f"{title:>20}" for title in columns) + "   CPU: JAX  PyTorch  ratio" * on_cpu, end="")
    print("   difference of H, gradient")
    for name in names:
        row = {kind: times[name, kind] for kind in kinds}
        cells = [f"{1e3 * t.best:.1f} ({1e3 * t.median:.1f})" for t in row.values()]
        cells += [f"{row['jax'].best / t.best:.2f}" for kind, t in row.items() if kind != "jax"]
        print(f"{name:12}" + "".join(f"{cell:>20}" for cell in cells), end="")
        if on_cpu:
            ours, theirs = min(row["jax"].cpu), min(row["torch"].cpu)
            print(f"{1e3 * ours:11.1f}{1e3 * theirs:9.1f}{ours / theirs:7.2f}", end="")
        print("   " + ", ".join(f"{value:.0e}" for value in found[name]))


def main(argv: Sequence[str] | None = None) -> None:
    """Print one or both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pose_branch", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="?", choices=("both", "models", "step"), default="both")
    models = parser.add_argument_group("models")
    models.add_argument("--models", nargs="+", choices=POSE_ENCODERS, default=list(POSE_ENCODERS), metavar="MODEL")
    models.add_argument("--clips", type=int, default=32)
    models.add_argument("--frames", type=int, default=10)
    models.add_argument("--features", type=int, default=256, help="n")
    models.add_argument("--repetitions", type=int, default=10, help="turns of three calls")
    models.add_argument("--seed", type=int, default=0)
    models.add_argument("--compile", action="store_true", help="also PyTorch through torch.compile (takes minutes)")
    step = parser.add_argument_group("step")
    step.add_argument("--step-models", nargs="+", choices=POSE_ENCODERS, default=["RGCN", "LGCN"], metavar="MODEL")
    step.add_argument("--step-clips", type=int, help="default: 32, as the paper; 4 on a CPU")
    step.add_argument("--step-repetitions", type=int, default=5)
    step.add_argument("--height", type=int, default=256)
    step.add_argument("--width", type=int, default=128)
    step.add_argument("--stage-sizes", type=int, nargs="+", help="of the trunk, in place of ResNet-50's 3 4 6 3")
    step.add_argument("--trunk-width", type=int, default=64)
    arguments = parser.parse_args(argv)
    if arguments.part != "step":
        if find_spec("torch") is None:
            parser.error("PyTorch is not installed: pip install -e '.[bench]', or choose the part \"step\".")
        print_models(arguments.models, arguments)
    if arguments.part == "both":
        print()
    if arguments.part != "models":
        clips = arguments.step_clips or (4 if jax.default_backend() == "cpu" else 32)
        sizes = StepSizes(clips, arguments.height, arguments.width, arguments.stage_sizes, arguments.trunk_width)
        print_share(arguments.step_models, sizes, arguments.step_repetitions)


if __name__ == "__main__":
    main()
