"""Metric writers: JSON lines; a bar on a terminal, lines elsewhere; a tracker that fails."""

import fcntl
import json
import os
import struct
import sys
import termios
from contextlib import contextmanager

import pytest

from rgcn_jax.training.tensorboard import Board
from rgcn_jax.training.writer import METRICS_FILE, Writer

METRICS = {"loss": 1.5, "lambda": 0.25, "frames_per_second": 321.4, "seconds_left": 90.0}
ROWS = {"appearance": {"mAP": 10.0, "rank1": 20.0}, "fused": {"mAP": 30.0, "rank1": 40.0}}


def test_records_are_json_lines_and_a_resumed_run_appends(tmp_path):
    workdir = tmp_path / "new" / "run"
    with Writer(workdir, 4, 0) as writer:
        writer.train(1, METRICS)
        # Readable while the run goes on.
        assert json.loads((workdir / METRICS_FILE).read_text()) == {"step": 1, **METRICS}
        writer.evaluation(2, ROWS, {"protocol": "official"})
    with Writer(workdir, 4, 2) as writer:
        writer.train(3, METRICS)
    records = [json.loads(line) for line in (workdir / METRICS_FILE).read_text().splitlines()]
    assert records == [{"step": 1, **METRICS}, {"step": 2, **ROWS, "protocol": "official"}, {"step": 3, **METRICS}]


def test_in_a_log_file_each_record_is_a_line(tmp_path, capsys):
    with Writer(tmp_path, 200, 0) as writer:
        writer.train(20, METRICS)
        writer.say("step 20: something")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "step 20/200  loss 1.500  lambda 0.250  321 frames/s  1.5 min left",
        "step 20: something",
    ]


@contextmanager
def terminal(columns, monkeypatch):
    """A pseudo-terminal of this width in the place of stderr; a function that returns what was written to it."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as shown:
        monkeypatch.setattr(sys, "stderr", stream)
        yield lambda: (stream.flush(), (shown.read() or b"").decode())[1]
        monkeypatch.undo()


def test_on_a_terminal_there_is_one_bar(tmp_path, monkeypatch):
    with terminal(120, monkeypatch) as shown_text, Writer(tmp_path, 200, 100) as writer:
        writer.train(150, METRICS)
        writer.say("step 150: something")
        writer.train(200, METRICS)
        writer.close()
        shown = shown_text()
    assert "150/200" in shown or "200/200" in shown
    assert "lambda=0.250" in shown
    assert "321" in shown
    assert "step 150: something\r\n" in shown
    assert "step 150/200" not in shown  # no line of a log file
    assert shown.count("\n") == 1  # the bar itself is taken away


def test_a_terminal_without_a_size_gets_lines(tmp_path, monkeypatch):
    with terminal(0, monkeypatch) as shown_text, Writer(tmp_path, 200, 100) as writer:
        writer.train(150, METRICS)
        shown = shown_text()
    assert "step 150/200" in shown
    assert "lambda 0.250" in shown


@pytest.fixture
def board(tmp_path):
    pytest.importorskip("tensorboardX")
    return Board(tmp_path, 0)


def test_a_tensorboard_file_that_cannot_be_written_is_said_once_and_ends_nothing(tmp_path, board, capsys):
    (tmp_path / "tensorboard").write_text("in the way")
    with Writer(tmp_path, 4, 0, [board]) as writer:
        writer.train(1, METRICS)
        writer.train(2, METRICS)
    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 2
    assert capsys.readouterr().err.count("TensorBoard is disabled after an error (File exists)") == 1


def test_a_disk_that_fills_up_under_tensorboard_ends_nothing(tmp_path, board, capsys):
    with Writer(tmp_path, 4, 0, [board]) as writer:
        writer.train(1, METRICS)
        board.close()
        board._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        writer.train(2, METRICS)
        writer.train(3, METRICS)
    board.close()
    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 3
    assert capsys.readouterr().err.count("TensorBoard is disabled after an error (No space left on device)") == 1


@pytest.mark.parametrize("tail", [b'{"step": 3, "lo', b'{"step": 3}', b"\xff\n", b"[3]\n", b'{"step": null}\n'])
def test_a_torn_or_foreign_last_line_is_dropped(tmp_path, tail):
    with Writer(tmp_path, 4, 0) as writer:
        writer.train(1, METRICS)
    file = tmp_path / METRICS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    with Writer(tmp_path, 4, 3) as writer:
        assert writer.dropped == 1
    assert file.read_bytes() == whole
