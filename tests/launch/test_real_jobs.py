"""The launch scripts with the real program: after SLURM's signal the job is queued again and resumes elsewhere."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.faults.job import TINY
from tests.launch.programs import Programs

STEPS = 400


def wait_for_step(workdir, step, process):
    """Until the run has logged a step."""
    metrics = workdir / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_what_slurm_stops_is_queued_again_and_can_be_finished_on_one_machine(tmp_path):
    programs, workdir = Programs(tmp_path), tmp_path / "run"
    arguments = [*TINY, f"--workdir={workdir}", f"--config.num_steps={STEPS}", "--config.compilation_cache=False"]
    real = {
        "PYTHON": sys.executable,
        "JAX_NUM_CPU_DEVICES": "1",
        **{name: value for name, value in os.environ.items() if name.startswith("JAX_")},  # the suite's cache
    }
    slurm = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "1234567", "SLURM_NTASKS": "2"}
    job = programs.start("slurm.sh", *arguments, **real, **slurm)
    wait_for_step(workdir, 5, job)
    subprocess.run(["pkill", "-TERM", "-s", str(job.pid), "-f", "rgcn_jax.main --config"], check=True)
    _, error = job.communicate(timeout=100)
    assert job.returncode == 75, error
    assert (programs.records / "scontrol").read_text() == "requeue 1234567\n"

    changed = [f"--config.num_steps={(reported := steps(workdir)[-1]) + 3}"]
    status, out, error = programs.run("local.sh", "2", *arguments, *changed, seconds=200, **real)
    assert status == 0, error
    assert f"resuming after step {reported}" in out
    assert steps(workdir) == list(range(1, reported + 4))
    assert json.loads((workdir / "results.json").read_text())["step"] == reported + 3


def steps(workdir):
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [record["step"] for record in records if "loss" in record]
