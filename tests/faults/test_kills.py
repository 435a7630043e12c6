"""Killed and told to go, the run that comes out equals the one that was left alone; the driver's short form."""

import json
import re

import pytest

from rgcn_jax import main
from tests.faults import driver
from tests.faults.job import REPOSITORY, TINY


@pytest.mark.slow
def test_a_killed_run_comes_out_bit_for_bit(tmp_path):
    """In full: ``python -m tests.faults.driver --kills=30 --terms=10``."""
    said = []
    lives = driver.drive(tmp_path, kills=2, terms=1, steps=60, say=said.append)
    assert len(lives) == 4
    assert "survived 3 of 3 (2 SIGKILL, 1 SIGTERM)" in said
    assert re.search(r"goodput \d+\.\d %", said[-1])


@pytest.mark.jit
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, monkeypatch):
    """The same batches, and losses that differ by the order of sums alone: within 1e-4 over these steps."""
    monkeypatch.chdir(REPOSITORY)

    def losses(workdir, *devices):
        for steps, number in enumerate(devices, start=1):
            settings = (f"--config.num_steps={2 * steps}", f"--config.parallel.num_devices={number}")
            main.main([*TINY, f"--workdir={workdir}", *settings])
        records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        return {r["step"]: r["loss"] for r in records if "loss" in r}

    alone, moved = losses(tmp_path / "alone", 1, 1), losses(tmp_path / "moved", 1, 4)
    assert list(moved) == [1, 2, 3, 4]
    assert moved == pytest.approx(alone, rel=1e-4)
    assert [moved[1], moved[2]] == [alone[1], alone[2]]
