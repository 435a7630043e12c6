"""What the pose branch costs: each pose model beside the same maths in PyTorch, and its share of a training step.

    python -m benchmarks.pose_branch

Two tables; with "models" or "step" after the command, one of them. Everything that a table compares is timed in turn,
in one process. On a GPU where there is one: each of JAX and PyTorch by what it sees itself.

"models" (needs PyTorch: ``pip install -e '.[bench]'``): forward and backward in float32, TF32 nowhere, JAX compiled and
PyTorch eager, with --compile also by torch.compile. Both get the same parameters and have to agree before anything is
timed: in float64 to 1e-9, H and all gradients, and H in float32 to 1e-4. Gradients in float32 are printed only: where
what enters a ReLU is zero but for rounding, the two may take different sides, and a whole term with it.

"step": the training step of configs/mars.py with and without the pose branch, see ``training_share``. On a GPU 32 clips
in bfloat16; on a CPU 4 in float32, for 32 would take 26 GiB.
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
    retain_freed_memory()  # as every command of ours does; for both sides
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of a GPU's memory too
    if a.part != "step":
        if find_spec("torch") is None:
            parser.error("PyTorch is not installed: pip install -e '.[bench]', or ask for the part \"step\" alone.")
        # PyTorch's threads would otherwise spin while they wait, through JAX's turn too; with other load on the machine
        # that makes PyTorch itself many times slower. Has to be set before PyTorch is imported.
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
