"""The benchmark of the pose models: PyTorch computes the same as the JAX models, and the script prints its tables."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import pose_branch, pose_models, training_share
from benchmarks.timing import Times, time_in_turn
from rgcn_jax.models.build import POSE_ENCODERS
from tests.encoder_checks import drawn, inputs

REPOSITORY = Path(__file__).parents[1]

TINY_STEP = ["--step-models", "RGCN", "--step-repetitions", "1", "--step-clips", "4", "--height", "16", "--width", "8"]
TINY_STEP += ["--stage-sizes", "1", "--trunk-width", "4"]
TINY_MODELS = ["--models", "RGCN", "--clips", "2", "--frames", "3", "--features", "8", "--repetitions", "2"]


@pytest.fixture
def torch():
    """On one thread: on a busy machine others would spin."""
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[bench]'")
    module.set_num_threads(1)
    return module


SMALL = {"features": 16}
"""More than the 14 keypoints, so that EvolveGCN-H has to fill up."""


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
    with pytest.raises(SystemExit, match=r"RGCN: JAX and PyTorch do not agree, so nothing is timed: H and gradient"):
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
