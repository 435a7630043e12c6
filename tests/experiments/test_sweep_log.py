"""The log of a sweep's run: what cannot be written there ends no run, and it is no link to elsewhere."""

import json
import sys

from rgcn_jax.config import Config
from rgcn_jax.experiments.cells import Cell
from rgcn_jax.experiments.sweep import LOG_FILE, SECONDS_FILE, Sweep, total_seconds
from rgcn_jax.runtime.json_lines import append_json_line
from rgcn_jax.runtime.preemption import Stopping
from tests.faults.test_disk import full_after


def chatty(cell, stopping):
    """A run that prints much more than fits, on both streams."""
    for number in range(200):
        print("step", number, flush=number % 2 == 0)
        print("warning", number, "\x1b[31m \ud800", file=sys.stderr)
    return "mAP 50.0"


def swept(folder, work=chatty):
    said = []
    sweep = Sweep(Stopping(), said.append)
    cell = Cell("AP", "walkers", Config(), folder)
    return sweep._guarded(cell, work), said, sweep.failed


def test_a_full_disk_loses_lines_and_no_run(tmp_path):
    with full_after(1000):
        state, said, failed = swept(tmp_path / "run")
    assert (state, failed) == ("finished", [])
    assert "mAP 50.0" in said[0]
    assert (tmp_path / "run" / LOG_FILE).stat().st_size == 1000
    assert sys.stdout is not None
    state, _, _ = swept(tmp_path / "run")
    text = (tmp_path / "run" / LOG_FILE).read_text()
    assert state == "finished"
    assert "step 199" in text
    assert "\x1b" not in text


def test_the_log_is_no_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").write_text("precious")
    for name in (LOG_FILE, SECONDS_FILE):
        (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
        state, said, _ = swept(tmp_path / "run")
        assert state == "failed"
        assert f"{name} is a symbolic link" in said[0]
        (tmp_path / "run" / name).unlink()
    assert (tmp_path / "precious").read_text() == "precious"


def test_an_error_is_in_the_log_with_its_traceback(tmp_path):
    def breaks(cell, stopping):
        raise KeyError("absent")

    state, said, failed = swept(tmp_path / "run", breaks)
    assert (state, failed) == ("failed", ["walkers, AP, seed 0"])
    assert "KeyError" in said[0]
    assert "Traceback" in (tmp_path / "run" / LOG_FILE).read_text()


def test_a_torn_note_of_the_seconds_hides_no_other(tmp_path):
    file = tmp_path / SECONDS_FILE
    file.write_text('{"seconds": 1.5}\n{"seco')
    append_json_line(file, {"seconds": 2.5})
    assert total_seconds(tmp_path) == 4.0
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"seconds": 1.5}, {"seconds": 2.5}]
