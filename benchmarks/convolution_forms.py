"""Benchmark of ResNet-50's layers in each implementation of ``rgcn_jax.models.cpu``, in GFLOP/s.

    python -m benchmarks.convolution_forms --images 8 --height 256 --width 128

For every layer shape, it times the forward pass, the gradient of the input and the gradient of the kernel. Each is
computed by XLA's convolution, and by gathered patches and one product. The gradient of a 1x1 kernel is also computed by
``pointwise_kernel_gradient``, which is the form in use. Each line ends with the choices of ``convolution_form`` and
``input_gradient_form``. Results are by processor time (of all threads), which is hardly affected by other load on the
machine. The first line has a plain matrix product for comparison.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine
from benchmarks.roofline import Layer, trunk_layers
from benchmarks.timing import time_in_turn
from rgcn_jax.models.cpu.convolution import (
    convolution_form,
    input_gradient_form,
    patches_convolution,
    pointwise_kernel_gradient,
    xla_convolution,
)

FORMS = {"convolution": xla_convolution, "patches": patches_convolution}


def tasks_of(layer: Layer, images: int) -> dict[str, Callable[[], object]]:
    """Implementations of forward pass and gradients, by name."""
    k, stride, padding = layer.kernel, layer.stride, layer.kernel // 2
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    x, kernel = draw(images, layer.height, layer.width, layer.channels), draw(k, k, layer.channels, layer.features)
    dy = jax.jit(xla_convolution, static_argnums=(2, 3))(x, kernel, stride, padding)

    def task(function: Callable, *arguments: Any) -> Callable[[], object]:
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(*arguments))
        return lambda: jax.block_until_ready(compiled(*arguments))

    def of_input(form: Callable) -> Callable:
        return lambda dy, kernel: jax.linear_transpose(lambda x: form(x, kernel, stride, padding), x)(dy)

    def of_kernel(form: Callable) -> Callable:
        return lambda dy, x: jax.linear_transpose(lambda kernel: form(x, kernel, stride, padding), kernel)(dy)

    found = {}
    for name, form in FORMS.items():
        found[f"forward {name}"] = task(lambda x, kernel, f=form: f(x, kernel, stride, padding), x, kernel)
        found[f"input {name}"] = task(of_input(form), dy, kernel)
        found[f"kernel {name}"] = task(of_kernel(form), dy, x)
    if k == 1:
        found["kernel product"] = task(lambda dy, x: pointwise_kernel_gradient(x, dy, stride, padding), dy, x)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line per layer shape."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convolution_forms")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--last-stride", type=int, choices=(1, 2), default=1)
    parser.add_argument("--kernels", type=int, nargs="+", default=(1, 3, 7), choices=(1, 3, 7))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--stage-sizes", type=int, nargs="+", default=(3, 4, 6, 3))
    a = parser.parse_args(argv)
    size = jnp.ones((1024, 1024))
    product = jax.jit(jnp.matmul)
    times = time_in_turn({"": lambda: jax.block_until_ready(product(size, size))}, 5)[""]
    print(
        f"GFLOP/s by processor time, {a.images} images; JAX {jax.__version__} on {jax.default_backend()}; {machine()}; "
        f"a product of 1024 x 1024 matrices {2 * 1024**3 / min(times.cpu) / 1e9:.0f}"
    )
    layers = dict.fromkeys(
        layer._replace(shortcut=False) for layer in trunk_layers(a.height, a.width, a.last_stride, a.stage_sizes)
    )
    for layer in layers:
        if layer.kernel not in a.kernels:
            continue
        times = time_in_turn(tasks_of(layer, a.images), a.repetitions)
        rates = {name: a.images * layer.flop / min(t.cpu) / 1e9 for name, t in times.items()}
        row = f"{layer.kernel}x{layer.kernel} /{layer.stride} {layer.height}x{layer.width} "
        row = f"{row + f'{layer.channels}->{layer.features}':30}"
        for part in ("forward", "input", "kernel"):
            row += (
                f"{part}: " + " ".join(f"{n.split()[1]} {r:.0f}" for n, r in rates.items() if n.startswith(part)) + "; "
            )
        positions = -(-layer.height // layer.stride) * -(-layer.width // layer.stride)
        size = (layer.kernel, layer.kernel)
        chosen = (
            convolution_form(size, positions),
            input_gradient_form(size, positions, layer.channels),
        )
        print(f"{row}chosen: {', '.join(chosen)}", flush=True)


if __name__ == "__main__":
    main()
