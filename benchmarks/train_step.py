"""Benchmark of the training step, compared with PyTorch: frames/s, arithmetic, memory and compile time.

    python -m benchmarks.train_step

Requires jax, flax, optax and NumPy, and PyTorch for the comparison. Frames are noise, so neither TensorFlow nor data
are needed. By default, it measures AP, AP + RGCN and AP + LGCN with ResNet-50 at 256 x 128. The batch is the paper's 32
clips x 10 frames in bfloat16 on a GPU, and 4 clips x 2 frames in float32 on a CPU (--clips 4 --frames 8 for 32 images,
...).

Parts:
  step        the training step (forward, backward, Adam) of JAX and PyTorch in alternation, and extraction
  memory      memory of a step by XLA's count for this backend, whole and in micro-batches, with and without
              rematerialisation, by default for the paper's batch; nothing is run, so the memory is not needed
  scaling     losses of some steps on 1, 2 and 4 fake CPU devices, which must be equal; no timing

Both libraries must agree before the timing. On a small batch in float64, all loss terms must agree to 1e-9 and every
gradient to 1e-6 of its largest value. The first loss in float32 of the first clips must agree to 1e-4 (without TF32).

Ratios are of minima. Medians are printed too, and on the CPU processor times, which other load hardly affects. Each
model is measured and printed separately. "Cold" is the compile time of the first model. On a GPU, later models may
reuse selected kernels; to avoid this, measure one model at a time (--models).

Roofline: see ``benchmarks.roofline``; omitted if the device's peak is not known (any CPU).
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec

from rgcn_jax.runtime.malloc import retain_freed_memory

POSES = {"none": "AP", "RGCN": "AP + RGCN", "LGCN": "AP + LGCN"}


def main(argv: Sequence[str] | None = None) -> None:
    """Print one part."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_step", description="Speed and memory of the training step."
    )
    parser.add_argument("part", nargs="?", choices=("step", "memory", "scaling"), default="step")
    parser.add_argument("--models", nargs="+", choices=POSES, default=list(POSES), metavar="MODEL")
    parser.add_argument("--clips", type=int, help="default: 32, on a CPU 4 (scaling: 8)")
    parser.add_argument("--frames", type=int, help="default: 10, on a CPU 2")
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--last-stride", type=int, choices=(1, 2), default=1)
    parser.add_argument("--stage-sizes", type=int, nargs="+", default=(3, 4, 6, 3), help="stages of the ResNet")
    parser.add_argument("--trunk-width", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: bfloat16, on a CPU float32")
    parser.add_argument("--remat", default="none", help="model.remat of rgcn_jax/config.py")
    parser.add_argument("--micro-batches", type=int, default=1, help="batch.micro_batches of rgcn_jax/config.py")
    parser.add_argument("--repetitions", type=int, help="rounds of one step each; default: 20, on a CPU 5")
    parser.add_argument("--compile", action="store_true", help="PyTorch also by torch.compile, which takes minutes")
    parser.add_argument("--no-torch", action="store_true", help="JAX alone")
    parser.add_argument("--no-extraction", action="store_true", help="the training step only")
    a = parser.parse_args(argv)
    with_torch = a.part == "step" and not a.no_torch
    if with_torch and find_spec("torch") is None:
        parser.error("PyTorch is not installed: pip install -e '.[bench]', or --no-torch.")
    # Before either library is loaded. PyTorch's threads would otherwise spin while JAX is timed, and JAX would
    # allocate three quarters of a GPU's memory.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    retain_freed_memory()  # as in all commands, for both libraries
    import jax

    if a.part == "scaling":
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", 4)
    from benchmarks.step_case import Sizes
    from benchmarks.step_report import print_memory, print_scaling, print_steps

    on_cpu = jax.default_backend() == "cpu"
    paper = not on_cpu or a.part == "memory"
    sizes = Sizes(
        clips=a.clips or (32 if paper else 8 if a.part == "scaling" else 4),
        frames=a.frames or (10 if paper else 2),
        height=a.height,
        width=a.width,
        dtype=a.dtype or ("float32" if on_cpu else "bfloat16"),
        micro_batches=a.micro_batches,
        model={
            "last_stride": a.last_stride,
            "stage_sizes": tuple(a.stage_sizes),
            "width": a.trunk_width,
            "remat": a.remat,
        },
    )
    if a.part == "memory":
        print_memory(a.models, sizes)
    elif a.part == "scaling":
        print_scaling(a.models, sizes)
    else:
        repetitions = a.repetitions or (5 if on_cpu else 20)
        with tempfile.TemporaryDirectory() as folder:
            jax.config.update("jax_compilation_cache_dir", folder)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            kinds = ["JAX"] + ["PyTorch"] * with_torch + ["torch.compile"] * (with_torch and a.compile)
            print_steps({p: POSES[p] for p in a.models}, sizes, kinds, repetitions, not a.no_extraction)


if __name__ == "__main__":
    main()
