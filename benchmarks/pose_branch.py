"""Benchmark of the pose branch: each pose model compared with PyTorch, and its relative cost in a training step.

    python -m benchmarks.pose_branch

Prints two tables, or one of them if the command is followed by "models" or "step". All tasks of a table are timed in
alternation in one process. JAX and PyTorch each use a GPU if they find one.

"models" (needs PyTorch: ``pip install -e '.[bench]'``): forward and backward in float32 without TF32. JAX is compiled;
PyTorch is eager and, with --compile, also compiled by torch.compile. Both get the same parameters and must agree before
the timing: H and all gradients to 1e-9 in float64, and H to 1e-4 in float32. Gradients in float32 are only printed: if
an input of a ReLU is zero except for rounding, the two may take different sides, which changes a whole term.

"step": the training step of configs/mars.py with and without the pose branch, see ``training_share``. It uses 32 clips
in bfloat16 on a GPU, and 4 in float32 on a CPU, since 32 would need 26 GiB.
"""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec

import jax

from benchmarks.pose_models import print_models
from benchmarks.training_share import StepSizes, print_share
from rgcn_jax.models.build import POSE_ENCODERS
from rgcn_jax.runtime.malloc import retain_freed_memory


def main(argv: Sequence[str] | None = None) -> None:
    """Print one or both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pose_branch", description="Time of the pose models, and their share of a step."
    )
    parser.add_argument("part", nargs="?", choices=("both", "models", "step"), default="both")
    models = parser.add_argument_group("models")
    models.add_argument("--models", nargs="+", choices=POSE_ENCODERS, default=list(POSE_ENCODERS), metavar="MODEL")
    models.add_argument("--clips", type=int, default=32)
    models.add_argument("--frames", type=int, default=10)
    models.add_argument("--features", type=int, default=256, help="n")
    models.add_argument("--repetitions", type=int, default=10, help="turns of three calls each")
    models.add_argument("--seed", type=int, default=0)
    models.add_argument("--compile", action="store_true", help="also torch.compile, which takes minutes")
    step = parser.add_argument_group("step")
    step.add_argument("--step-models", nargs="+", choices=POSE_ENCODERS, default=["RGCN", "LGCN"], metavar="MODEL")
    step.add_argument("--step-clips", type=int, help="default: the paper's 32, on a CPU 4")
    step.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: bfloat16, on a CPU float32")
    step.add_argument("--step-repetitions", type=int, default=5)
    step.add_argument("--height", type=int, default=256)
    step.add_argument("--width", type=int, default=128)
    step.add_argument("--stage-sizes", type=int, nargs="+", help="of the trunk, instead of ResNet-50's 3 4 6 3")
    step.add_argument("--trunk-width", type=int, default=64)
    a = parser.parse_args(argv)
    retain_freed_memory()  # as in all commands, for both libraries
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs GPU memory too
    if a.part != "step":
        if find_spec("torch") is None:
            parser.error("PyTorch is not installed: pip install -e '.[bench]', or ask for the part \"step\" alone.")
        # PyTorch's threads would otherwise spin while they wait, even while JAX is timed. With other load on the
        # machine, PyTorch itself becomes many times slower. Must be set before PyTorch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        print_models(a.models, a.clips, a.frames, a.features, a.repetitions, a.seed, a.compile)
    if a.part != "models":
        on_cpu = jax.default_backend() == "cpu"
        clips, dtype = a.step_clips or (4 if on_cpu else 32), a.dtype or ("float32" if on_cpu else "bfloat16")
        print("\n" * (a.part == "both"), end="")
        sizes = StepSizes(clips, a.height, a.width, a.stage_sizes, a.trunk_width, dtype)
        print_share(a.step_models, sizes, a.step_repetitions)


if __name__ == "__main__":
    main()
