"""The commands in several processes: the numbers of a single one, also after one was killed."""

import json
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from rgcn_jax.config_io import load_config_json, override, typed
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.run import prepare
from tests import mars_folder, tiny
from tests.processes import job, module

pytestmark = pytest.mark.slow

STEPS = 20
SPEC = {"train_identities": 4, "test_identities": 4, "group_size": 2, "cameras": 2, "min_frames": 3, "max_frames": 5}
ARGUMENTS = (
    "--config=configs/walkers.py",
    *(f"--config.data.walkers.{name}={value}" for name, value in SPEC.items()),
    *mars_folder.TINY,
    "--config.batch.identities=4",
    "--config.parallel.num_devices=0",
    # The paper's. At a higher one Adam makes more of the last bits, in which sums over more devices differ.
    "--config.optimizer.learning_rate=3e-4",
    f"--config.num_steps={STEPS}",
    "--config.eval_every_epochs=10",
    "--config.checkpoint_every_steps=5",
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process on one device, and its features."""
    folder = tmp_path_factory.mktemp("alone")
    workdir = folder / "run"
    ended_well(job([module("rgcn_jax.main", *ARGUMENTS, f"--workdir={workdir}")]))
    ended_well(job([module("rgcn_jax.evaluate", f"--workdir={workdir}", f"--features={workdir}.npz")]))
    return SimpleNamespace(workdir=workdir, features=folder / "run.npz")


def records(workdir, kind):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [record for record in lines if kind in record]


def variables_of(*workdirs):
    """Of the newest checkpoint of each run, brought back on one device whatever it was saved on."""
    config = override(load_config_json(workdirs[0] / "config.json"), ["--config.parallel.num_devices=1"])
    target = prepare(typed(config), restored=True).state
    for workdir in workdirs:
        with Checkpoints(workdir) as checkpoints:
            found = checkpoints.newest_intact("latest", target)
            assert found is not None
            yield jax.device_get(found[0].variables)


def agree(workdir, alone):
    """Losses, parameters and scores of two runs; and each step stands there once, in order."""
    trained, expected = records(workdir, "loss"), records(alone, "loss")
    assert [r["step"] for r in trained] == list(range(1, STEPS + 1))
    for name in ("loss", "loss_id", "loss_appearance", "loss_pose", "lambda", "grad_norm"):
        np.testing.assert_allclose([r[name] for r in trained], [r[name] for r in expected], rtol=1e-4, err_msg=name)
    assert [r["step"] for r in records(workdir, "fused")] == [10, 20]
    ours, theirs = variables_of(workdir, alone)
    tiny.close_in_norm(ours, theirs, 1e-4)
    scores = [json.loads((w / "results.json").read_text())["protocols"] for w in (workdir, alone)]
    assert scores[0] == scores[1]


def same_features(processes, devices, workdir, alone):
    """Of the test tracklets, extracted by so many processes from a run that has the numbers of ``alone``."""
    file = workdir.with_suffix(".npz")
    embed = module("rgcn_jax.embed", f"--model={workdir}", f"--out={file}")
    ended_well(job([embed] * processes, devices=devices), says="features of")
    with np.load(file, allow_pickle=False) as found, np.load(alone.features, allow_pickle=False) as expected:
        assert set(found) == set(expected)
        for name in set(expected) - {"header"}:
            if name in ("appearance", "pose"):
                tiny.close_in_norm(found[name], expected[name], 1e-5)
            elif name.startswith(("mean", "std")):  # of two trainings
                tiny.close_in_norm(found[name], expected[name], 1e-3)
            else:
                np.testing.assert_array_equal(found[name], expected[name])


def ended_well(ended, says="protocol official"):
    for process in ended:
        assert process.status == 0, process.err
    # Gloo prints to the same stream, from several threads without a lock: its lines come torn.
    reported = {line for line in ended[0].out.splitlines() if len(line.split()) > 1 and "peer" not in line}
    assert any(says in line for line in reported)
    for process in ended[1:]:  # the first process alone speaks
        assert reported.isdisjoint(process.out.splitlines())
        assert process.err == ""


@pytest.mark.jit
def test_four_processes_give_the_numbers_of_one(alone, tmp_path):
    run = tmp_path / "run"
    ended_well(job([module("rgcn_jax.main", *ARGUMENTS, f"--workdir={run}")] * 4))
    agree(run, alone.workdir)


@pytest.mark.jit
def test_statistics_of_each_device_do_not_depend_on_whose_process_it_is(alone, tmp_path):
    arguments = [*ARGUMENTS, "--config.parallel.batch_norm=device", "--config.num_steps=5"]
    for name, processes, devices in (("one", 1, 2), ("two", 2, 1)):
        commands = [module("rgcn_jax.main", *arguments, f"--workdir={tmp_path / name}")] * processes
        ended_well(job(commands, devices=devices))
    one, two = (records(tmp_path / name, "loss") for name in ("one", "two"))
    np.testing.assert_allclose([r["loss"] for r in two], [r["loss"] for r in one], rtol=1e-5)
    assert abs(one[0]["loss"] / records(alone.workdir, "loss")[0]["loss"] - 1) > 1e-3  # not the whole batch's
    ours, theirs = variables_of(tmp_path / "two", tmp_path / "one")
    tiny.close_in_norm(ours, theirs, 1e-5)


DIES = """
import os, signal
from rgcn_jax import main
from rgcn_jax.command import run_command
from rgcn_jax.data.clips.sampling import IdentitySampler
plan = IdentitySampler.plan
def fatal(self, step):
    if step == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return plan(self, step)
IdentitySampler.plan = fatal
run_command(main.main)
"""


@pytest.mark.jit
def test_a_job_of_which_a_process_was_killed_goes_on_from_its_checkpoint(alone, tmp_path):
    """Two processes of two devices; the second is killed while it reads the batch of step 15. Started again, they end
    with the numbers of a single process that nobody interrupted, and so do their features.
    """
    arguments = [*ARGUMENTS, f"--workdir={tmp_path / 'run'}"]
    survivor, killed = job([module("rgcn_jax.main", *arguments), ["-c", DIES, *arguments]], devices=2)
    assert killed.status == -signal.SIGKILL
    assert survivor.status in (1, -signal.SIGABRT), survivor.err  # JAX's runtime may be the first to notice
    if survivor.status == 1:
        assert "a peer process exited" in survivor.err
    assert not (tmp_path / "run" / "results.json").exists()
    again = job([module("rgcn_jax.main", *arguments)] * 2, devices=2)
    ended_well(again)
    assert "resuming after step" in again[0].out
    agree(tmp_path / "run", alone.workdir)
    same_features(2, 2, tmp_path / "run", alone)


def test_processes_with_different_configs_are_told_and_stop(tmp_path):
    arguments = [*ARGUMENTS, f"--workdir={tmp_path / 'run'}"]
    for process in job([module("rgcn_jax.main", *arguments, f"--config.seed={seed}") for seed in (0, 1)]):
        assert process.status == 2
        assert process.err.startswith("error: the config is not the same in process 1 as in process 0: ")
    assert not (tmp_path / "run").exists()
