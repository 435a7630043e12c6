"""The benchmark of the pose models: PyTorch computes the same as the JAX models, and the script prints its tables."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import (
    convolution_forms,
    pose_branch,
    pose_models,
    roofline,
    step_case,
    step_report,
    train_step,
    training_share,
    whole_job,
)
from benchmarks.machine import libraries
from benchmarks.timing import Times, time_in_turn
from rgcn_jax.config import LossConfig
from rgcn_jax.config_io import packaged_config, typed
from rgcn_jax.models.build import POSE_ENCODERS
from rgcn_jax.runtime.time_accounting import PARTS
from tests import mars_folder, pytorch
from tests.encoder_checks import drawn, inputs

REPOSITORY = Path(__file__).parents[1]

TINY_STEP = ["--step-models", "RGCN", "--step-repetitions", "1", "--step-clips", "4", "--height", "16", "--width", "8"]
TINY_STEP += ["--stage-sizes", "1", "--trunk-width", "4"]
TINY_MODELS = ["--models", "RGCN", "--clips", "2", "--frames", "3", "--features", "8", "--repetitions", "2"]


@pytest.fixture
def torch():
    return pytorch.torch()


SMALL = {"features": 16}
"""More than the 14 keypoints, so that EvolveGCN-H has to pad."""


def case_of(name):
    """Two clips of three frames; ST-GCN with three blocks: without a residual, with a projected and a plain one."""
    module = POSE_ENCODERS[name](**SMALL, **({"widths": (8, 16)} if name.startswith("STGCN") else {}))
    rng = np.random.default_rng(0)
    x, dh = inputs(b=2, t=3), rng.standard_normal((2, 3, 14, 16)).astype(np.float32)
    return pose_models.Case(name, module, jax.device_get(drawn(module, x)), x, dh)


@pytest.mark.jit
@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("name", POSE_ENCODERS)
def test_pytorch_computes_the_same(name):
    """Embeddings and every gradient."""
    assert max(pose_models.differences_float64(case_of(name))) < 1e-12


@pytest.mark.jit
@pytest.mark.usefixtures("torch")
def test_what_is_not_the_same_is_seen():
    case = case_of("RGCN")
    other = replace(case, x=case.x[::-1].copy())
    found = pose_models.differences(case, pose_models.jax_task(case), pose_models.torch_task(other))
    assert min(found) > 1e-2


@pytest.mark.jit
@pytest.mark.usefixtures("torch")
def test_the_script_prints_the_models(capsys):
    pose_branch.main(["models", *TINY_MODELS])
    table = capsys.readouterr().out
    assert "2 clips x 3 frames x 14 keypoints, n = 8, float32: minimum (median) of 6 calls" in table
    assert "JAX/PyTorch" in table
    name, ours, _, theirs, _, ratio = table.splitlines()[3].split()[:6]
    assert name == "RGCN"
    assert float(ours) >= 0
    assert float(theirs) > 0
    assert float(ratio) > 0


@pytest.mark.jit
@pytest.mark.slow
def test_the_script_prints_the_share_of_a_step(capsys):
    """Without PyTorch too."""
    pose_branch.main(["step", *TINY_STEP])
    table = capsys.readouterr().out
    assert "4 clips x 10 frames of 16 x 8, stages (1,), float32" in table
    rows = {row.split()[0]: row.split() for row in table.splitlines()[3:]}
    assert float(rows["none"][1]) <= float(rows["none"][2].strip("()"))
    assert rows["RGCN"][-1] == "14%"
    assert "two V100" in table


@pytest.mark.jit
@pytest.mark.usefixtures("torch")
def test_what_does_not_agree_is_not_timed(monkeypatch, capsys):
    monkeypatch.setattr(pose_models, "FLOAT64_TOLERANCE", 0.0)
    with pytest.raises(SystemExit, match=r"RGCN: JAX and PyTorch do not agree.*H and gradient"):
        pose_branch.main(["models", *TINY_MODELS])
    assert capsys.readouterr().out == ""


def test_without_pytorch_the_script_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(pose_branch, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        pose_branch.main(["models"])
    assert "PyTorch is not installed: pip install -e '.[bench]'" in capsys.readouterr().err


def test_shares_by_hand(capsys):
    steps = {"none": Times([3.0, 2.0], [1.0, 1.5]), "LGCN": Times([2.1, 2.4], [1.3, 1.2])}
    training_share.print_table(["LGCN"], steps, {"LGCN": Times([0.01, 0.02], [1.0, 1.0])}, on_cpu=True)
    rows = [row.split() for row in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["none", "2.000", "(2.500)", "1.00"],
        ["LGCN", "2.100", "(2.250)", "1.20", "10.0", "(15.0)", "5.0%", "20.0%", "0.50%", "37%"],
    ]


def test_tasks_are_timed_in_turn():
    called = []
    times = time_in_turn({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, turns=2, calls=2)
    assert "".join(called) == "aabbaabb"
    assert {name: (len(t.wall), len(t.cpu)) for name, t in times.items()} == {"a": (4, 4), "b": (4, 4)}
    assert times["a"].best == min(times["a"].wall) <= times["a"].median


def test_the_command_is_found_as_its_header_says():
    command = [sys.executable, "-m", "benchmarks.pose_branch", "--help"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "--step-clips" in process.stdout


TINY_TRAINING = ["--clips", "4", "--frames", "2", "--height", "32", "--width", "16", "--stage-sizes", "1", "1"]
TINY_TRAINING += ["--trunk-width", "4", "--repetitions", "1", "--models", "LGCN"]


@pytest.fixture
def cache():
    """Back to the suite's folder of compiled programs."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.usefixtures("torch", "cache")
def test_the_training_step_is_pytorchs_and_its_table_is_printed(capsys):
    """Losses and every gradient in float64, the loss in float32; LGCN has all that RGCN and AP have."""
    train_step.main(TINY_TRAINING)
    table = capsys.readouterr().out
    assert (
        "4 clips x 2 frames of 32 x 16, last stride 1, stages (1, 1), float32, remat none, 1 micro-batch(es)" in table
    )
    found = re.search(r"LGCN: float64 losses differ by (\S+), gradients by (\S+); float32 loss by (\S+) ", table)
    assert found, table
    assert float(found[1]) < 1e-11
    assert float(found[2]) < 1e-10
    assert float(found[3]) < 1e-5
    ours = re.search(r"AP \+ LGCN +JAX +(\S+) \((\S+)\) +(\S+)", table)
    assert ours, table
    assert float(ours[3]) == pytest.approx(8 / float(ours[1]), rel=0.05)
    assert "speed of JAX / PyTorch: " in table
    assert re.search(r"AP \+ LGCN +compile cold, s \S+, warm \S+; peak memory, GiB: JAX, by XLA's count \S+", table)
    assert re.search(r"AP \+ LGCN +extraction, frames/s: JAX \S+, PyTorch \S+; by processor time", table)


TINY_TRUNK = {"stage_sizes": (1,), "width": 4, "last_stride": 1, "remat": "none"}


@pytest.mark.jit
@pytest.mark.usefixtures("torch")
def test_a_training_step_that_differs_is_not_timed(monkeypatch):
    monkeypatch.setattr(step_report, "differences_float64", lambda pose, sizes: (1e-3, 1e-9))
    monkeypatch.setattr(step_report, "first_losses", lambda *_: (1.0, 1.0))
    sizes = step_case.Sizes(4, 2, 16, 8, model=TINY_TRUNK)
    with pytest.raises(SystemExit, match=r"do not agree.* LGCN: float64 losses differ by 1e-03"):
        step_report.print_steps({"LGCN": "AP + LGCN"}, sizes, ["JAX", "PyTorch"], 1, False)


def test_different_devices_are_not_compared(torch, monkeypatch):
    assert f"PyTorch {torch.__version__} (1 thread(s))" in libraries(with_torch=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match=r"JAX runs on cpu, PyTorch \S+ on a GPU"):
        libraries(with_torch=True)
    assert "PyTorch" not in libraries(with_torch=False)


def test_the_recipe_is_the_configs():
    config = packaged_config("mars")
    others = ("pretrained", "init_from", "pose_pretrained", "remat", "dropout", "batch_norm_variance")
    ours = {k: v for k, v in config.model.to_dict().items() if k not in others}
    assert {k: v for k, v in step_case.RECIPE.items() if k != "remat"} == ours
    assert (
        config.optimizer.learning_rate,
        config.optimizer.weight_decay,
    ) == (step_case.LEARNING_RATE, step_case.WEIGHT_DECAY)
    assert typed(config).loss == LossConfig()
    assert (step_case.Sizes(32).frames, step_case.Sizes(32).height, step_case.Sizes(32).width) == (
        config.frames_per_clip,
        config.image_height,
        config.image_width,
    )


def test_arithmetic_of_a_step():
    """24.32 GFLOP a frame of 256 x 128 at last stride 1; torchvision's 4.09 G multiplications at 224."""
    layers = list(roofline.trunk_layers(256, 128, last_stride=1))
    assert len(layers) == 53
    assert round(roofline.training_flop(layers) / 1e9, 2) == 24.32
    assert round(roofline.training_flop(list(roofline.trunk_layers(224, 224, 2))) / 6e9, 2) == 4.09


def test_the_roofline_by_hand():
    """One layer, 2 x 2 x 3 numbers to 2 x 2 x 5: bound by arithmetic, then by traffic."""
    layer = [roofline.Layer(1, 1, 2, 2, 3, 5, shortcut=True)]
    slow, thin = (roofline.Peak({"bfloat16": f}, b) for f, b in ((1.0, 1e30), (1e30, 1.0)))
    assert roofline.seconds_at_least(layer, slow, "bfloat16") == pytest.approx(3 * 2 * 20 * 3)
    assert roofline.seconds_at_least(layer, thin, "bfloat16") == pytest.approx(2 * (3 * (12 + 20) + 10 * 20))
    assert roofline.peak_of("NVIDIA H100 80GB HBM3") is roofline.PEAKS["H100"]
    assert roofline.peak_of("NVIDIA H100 PCIe") is roofline.PEAKS["H100 PCIe"]
    assert roofline.peak_of("cpu") is None


def test_the_training_benchmark_needs_little():
    """jax, flax, optax, NumPy and PyTorch, and what these need."""
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in ("jaxtyping", "beartype", "ml_collections", "tensorflow", "cv2", "tqdm"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
from importlib.util import find_spec
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "jaxtyping" else real(name, *a)
import benchmarks.train_step, benchmarks.step_report
for name in ("ml_collections", "tensorflow", "cv2", "tqdm", "rgcn_jax.data", "rgcn_jax.training.checkpoint"):
    assert name not in sys.modules, name
from benchmarks import step_case
assert step_case.make_batch(step_case.Sizes(2, 1, 8, 8))["frames"].shape == (2, 1, 8, 8, 3)
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_the_rates_of_a_job_by_hand(capsys):
    """Four steps of 10 frames; of the device 2 s each where a bare step takes 1 s."""
    spent = dict.fromkeys(PARTS, 0.0) | {"start": 9.0, "input": 1.0, "step": 8.0, "logging": 1.0, "evaluation": 10.0}
    whole_job.report(spent, 4, 10, Times([1.0, 5.0, 0.5], [3.0, 1.5, 6.0]), Times([1.25, 9.0, 1.0], [4.0, 2.0, 9.0]))
    table = capsys.readouterr().out
    assert "4 steps of 10 frames" in table
    assert "| bare step | 10 | 100 % |  |" in table
    assert "| step with its input | 8 | 80 % | 75 % |" in table
    assert "| the loop: input, step, logging | 4 | 40 % |  |" in table
    assert "| with checkpoints and evaluation | 2 | 20 % |  |" in table
    assert "| step | 8.00 | 2000.0 |" in table
    assert "| evaluation | 10.00 |  |" in table


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_job_of_a_config_whose_length_is_in_epochs_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(whole_job, "TURNS", 1)
    spec = {"train_identities": 4, "test_identities": 4, "group_size": 2, "cameras": 2, "max_frames": 4}
    arguments = [f"--config.data.walkers.{name}={value}" for name, value in (spec | {"min_frames": 3}).items()]
    arguments += [*mars_folder.TINY, "--config.num_steps=0", "--config.num_epochs=3"]
    whole_job.main(["--config=configs/walkers.py", *arguments])
    table = capsys.readouterr().out
    assert "; 6 steps of 12 frames" in table  # three epochs of four people, two a batch
    share = re.search(r"\| the loop: input, step, logging \| (\d+) \|", table)
    assert share, table
    assert int(share[1]) > 0


def test_a_missing_config_of_a_job_is_reported():
    command = [sys.executable, "-m", "benchmarks.whole_job", "--config=configs/mers.py"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("error: --config=configs/mers.py: expected a file")


@pytest.mark.jit
def test_the_forms_of_the_layers_are_printed(capsys):
    convolution_forms.main(["--images", "1", "--height", "16", "--width", "8", "--stage-sizes", "1", "--kernels", "3"])
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].startswith("3x3 /1 4x2 64->64")
    assert rows[1].endswith("chosen: patches, patches")
