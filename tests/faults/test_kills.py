"""Killed and told to go, the run that comes out equals the one that was left alone; the driver's short form."""

import re

import pytest

from tests.faults import driver


@pytest.mark.slow
def test_a_killed_run_comes_out_bit_for_bit(tmp_path):
    """In full: ``python -m tests.faults.driver --kills=30 --terms=10``."""
    said = []
    lives = driver.drive(tmp_path, kills=2, terms=1, steps=60, say=said.append)
    assert len(lives) == 4
    assert "survived 3 of 3 (2 SIGKILL, 1 SIGTERM)" in said
    assert re.search(r"goodput \d+\.\d %", said[-1])
