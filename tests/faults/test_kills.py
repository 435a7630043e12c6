"""Killed and told to go, the run that comes out equals the one that was left alone; the driver's short form."""

import json
import re
import shutil

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
    """The same batches, and losses that differ by the order of sums alone: within 1e-4."""
    monkeypatch.chdir(REPOSITORY)
    alone, moved = tmp_path / "alone", tmp_path / "moved"
    settings = ("--config.num_steps=3", "--config.checkpoint_every_steps=2")
    main.main([*TINY, *settings, f"--workdir={alone}", "--config.parallel.num_devices=1"])
    shutil.copytree(alone, moved)
    shutil.rmtree(moved / "checkpoints" / "latest" / "3")
    main.main([*TINY, *settings, f"--workdir={moved}", "--config.parallel.num_devices=2"])
    before, after = (
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()][:3]
        for workdir in (alone, moved)
    )
    assert [r["step"] for r in after] == [1, 2, 3]
    assert after[:2] == before[:2]
    for name in ("loss", "loss_id", "loss_appearance", "loss_pose", "grad_norm"):
        assert after[2][name] == pytest.approx(before[2][name], rel=1e-4), name
