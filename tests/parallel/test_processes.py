"""The commands in several processes: the same numbers as in one, each clip read by one of them, the first alone writes;
and after one was killed.
"""

import json
import signal

import jax
import numpy as np
import pytest

from rgcn_jax import evaluate, main
from rgcn_jax.checkpoint import Checkpoints
from rgcn_jax.command import load_config_json
from rgcn_jax.train import prepare
from tests import mars_folder, tiny
from tests.processes import REPOSITORY, job, module

STEPS = 20
SETTINGS = (
    *mars_folder.TINY,
    "--config.batch.identities=4",
    "--config.parallel.num_devices=0",
    f"--config.num_steps={STEPS}",
    "--config.eval_every_epochs=10",
    "--config.checkpoint_every_steps=5",
)
SPEC = {"train_identities": 4, "test_identities": 4, "group_size": 2, "cameras": 2, "min_frames": 3, "max_frames": 5}
WALKERS = ["--config=configs/walkers.py", *(f"--config.data.walkers.{k}={v}" for k, v in SPEC.items()), *SETTINGS]

ONE = "--config.parallel.num_devices=1"


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What one job has compiled the next need not."""
    return tmp_path_factory.mktemp("compiled")


def in_one_process(workdir, arguments):
    """A run of one process on one device, with its features."""
    with jax.disable_jit(False), pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        main.main([*arguments, ONE, f"--workdir={workdir}"])
        evaluate.main([f"--workdir={workdir}", f"--features={workdir}.npz"])
    return workdir


@pytest.fixture(scope="module")
def walkers(tmp_path_factory):
    return in_one_process(tmp_path_factory.mktemp("alone") / "walkers", WALKERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(root of a data set on disk, the run of one process on it)."""
    root = mars_folder.write(tmp_path_factory.mktemp("data") / "MARS")
    arguments = mars_folder.arguments(root, *SETTINGS)
    return arguments, in_one_process(tmp_path_factory.mktemp("alone") / "folder", arguments)


def records(workdir, kind):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [record for record in lines if kind in record]


def state_of(workdir):
    """The newest checkpoint, brought back on one device whatever it was saved on."""
    config = load_config_json(workdir / "config.json")
    with config.unlocked():
        config.parallel.num_devices = 1
    with Checkpoints(workdir) as checkpoints:
        return jax.device_get(checkpoints.restore("latest", prepare(config, restored=True).state).variables)


def agree(workdir, alone):
    """Losses, parameters and scores of two runs, and that each step stands there once, in order."""
    trained, expected = records(workdir, "loss"), records(alone, "loss")
    assert [r["step"] for r in trained] == list(range(1, STEPS + 1))
    for name in ("loss", "loss_id", "loss_appearance", "loss_pose", "lambda", "grad_norm"):
        np.testing.assert_allclose([r[name] for r in trained], [r[name] for r in expected], rtol=1e-4, err_msg=name)
    assert records(workdir, "fused") == records(alone, "fused")
    tiny.close_in_norm(state_of(workdir), state_of(alone), 1e-4)
    results = [json.loads((w / "results.json").read_text()) for w in (workdir, alone)]
    assert results[0]["protocols"] == results[1]["protocols"]


def features(file):
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def ended_well(ended):
    for process in ended:
        assert process.status == 0, process.err
    assert "protocol official" in ended[0].out
    for process in ended[1:]:  # but for what Gloo prints
        assert not [line for line in process.out.splitlines() if not line.startswith("[Gloo]")]
        assert process.err == ""


@pytest.mark.jit
@pytest.mark.slow
def test_two_processes_read_a_folder_and_give_the_numbers_of_one(folder, cache, tmp_path):
    """A run, and its features by two processes again."""
    arguments, alone = folder
    ended_well(job([module("rgcn_jax.main", *arguments, f"--workdir={tmp_path / 'run'}")] * 2, cache=cache))
    agree(tmp_path / "run", alone)
    file = tmp_path / "two.npz"
    ended_well(
        job([module("rgcn_jax.evaluate", f"--workdir={tmp_path / 'run'}", f"--features={file}")] * 2, cache=cache)
    )
    of_two, of_one = features(file), features(f"{alone}.npz")
    assert of_two.keys() == of_one.keys()
    tiny.close_in_norm(of_two, {k: v for k, v in of_one.items()}, 1e-5)


@pytest.mark.jit
@pytest.mark.slow
def test_four_processes_give_the_numbers_of_one(walkers, cache, tmp_path):
    ended_well(job([module("rgcn_jax.main", *WALKERS, f"--workdir={tmp_path}")] * 4, cache=cache))
    agree(tmp_path, walkers)


DIES = """
import os, signal, sys
from rgcn_jax import main
from rgcn_jax.command import run_command
from rgcn_jax.data.sampling import IdentitySampler
plan = IdentitySampler.plan
def fatal(self, step):
    if step == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return plan(self, step)
IdentitySampler.plan = fatal
run_command(main.main)
"""


@pytest.mark.jit
@pytest.mark.slow
def test_a_job_of_which_a_process_was_killed_goes_on_from_its_checkpoint(walkers, cache, tmp_path):
    """Two processes of two devices; the second is killed while it reads the batch of step 15. They are started again,
    and end as one process that was never interrupted."""
    arguments = [*WALKERS, f"--workdir={tmp_path}"]
    survivor, killed = job([module("rgcn_jax.main", *arguments), ["-c", DIES, *arguments]], devices=2, cache=cache)
    assert killed.status == -signal.SIGKILL
    assert survivor.status == 75, survivor.err
    assert "lost another one, which has ended or was killed" in survivor.err
    assert "start all processes again" in survivor.err
    assert not (tmp_path / "results.json").exists()
    again = job([module("rgcn_jax.main", *arguments)] * 2, devices=2, cache=cache)
    ended_well(again)
    assert "resuming after step 10" in again[0].out or "resuming after step 5" in again[0].out
    agree(tmp_path, walkers)


@pytest.mark.jit
def test_what_does_not_fit_is_one_sentence_in_every_process(cache, tmp_path):
    arguments = [
        *WALKERS,
        f"--workdir={tmp_path / 'run'}",
        "--config.batch.identities=3",
        "--config.batch.clips_per_identity=1",
    ]
    for process in job([module("rgcn_jax.main", *arguments)] * 2, cache=cache):
        assert process.status == 2
        assert "makes batches of 3 clips, which do not divide by 2 devices" in process.err
    with_seed = [module("rgcn_jax.main", *WALKERS, ONE, f"--workdir={tmp_path}", f"--config.seed={s}") for s in (0, 1)]
    for process in job(with_seed, cache=cache):
        assert process.status == 2
        assert process.err.startswith("error: the config of process 1 not the same as of process 0: ")
