"""Signals to a process of its own: what the first does at each moment, and that the second leaves at once."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from rgcn_jax.command import run_command
from rgcn_jax.runtime.preemption import Stopped, Stopping

BEGIN = """
import signal, sys, threading, time
from rgcn_jax.command import run_command
from rgcn_jax.runtime.preemption import Stopped, Stopping

def main(arguments):
    with Stopping() as stopping:
        print("ready", flush=True)
        {body}

run_command(main)
"""
WAIT = "time.sleep(30)"
STEPS = """stopping.first_step()
        while not stopping.received: time.sleep(0.001)
        raise Stopped(f"received {stopping.received}: saved")"""
EVALUATION = """stopping.first_step()
        with stopping.interruptible(): time.sleep(30)"""
# The main thread in C, deaf to signals as in a wait for a device that never answers; the lock of Python is free.
DEAF = """stopping.first_step()
        import hashlib; hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)"""
OVER = """stopping.first_step()
    time.sleep(30)"""


def process(body, *signals):
    """Status and stderr of a process that gets the signals once it is ready."""
    code = BEGIN.replace("{body}", body)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "ready\n"
        time.sleep(0.1)
        for number in signals:
            p.send_signal(number)
            time.sleep(0.1)
        try:
            _, reported = p.communicate(timeout=10)
        finally:
            p.kill()
    return p.returncode, reported


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_before_the_first_step_it_leaves_at_once(number):
    assert process(WAIT, number) == (
        75,
        f"received {number.name} before the first step: rerun the same command\n",
    )
    assert process(DEAF.replace("stopping.first_step()", "pass"), number)[0] == 75


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_in_a_step_the_loop_is_told_and_in_an_evaluation_it_ends(number):
    assert process(STEPS, number) == (75, f"received {number.name}: saved\n")
    assert process(EVALUATION, number) == (75, f"{number.name}\n")


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT")])
def test_a_second_signal_leaves_at_once_even_from_a_thread_that_hears_nothing(first, second):
    status, reported = process(DEAF, signal.Signals[first], signal.Signals[second])
    assert status == 128 + signal.Signals[second]
    assert reported == f"{second} after {first}: exiting at once; the last checkpoint is kept\n"


def test_a_terminal_that_is_closed_sends_two_and_the_second_changes_nothing():
    slow = STEPS.replace("raise Stopped", "time.sleep(0.5); raise Stopped")
    assert process(slow, signal.SIGHUP, signal.SIGHUP) == (75, "received SIGHUP: saved\n")
    assert process(slow, signal.SIGTERM, signal.SIGHUP) == (75, "received SIGTERM: saved\n")


def test_under_nohup_a_closed_terminal_is_ignored():
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code = BEGIN.replace("with Stopping()", f"{ignored}\n    with Stopping()").replace("{body}", "time.sleep(0.5)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGHUP)
        assert p.wait(10) == 0


def test_once_it_is_left_signals_are_as_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Stopping() as stopping:
        assert signal.getsignal(signal.SIGTERM) != before[0]
        assert not stopping.received
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert process(OVER, signal.SIGTERM) == (143, "received SIGTERM: ended before it was done.\n")


def test_outside_of_the_main_thread_it_does_nothing():
    seen = []

    def work():
        with Stopping() as stopping:
            seen.append(stopping.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [""]


def test_stopped_is_an_interrupt_with_a_status_of_its_own(capsys):
    def command(arguments):
        raise Stopped("saved")

    assert not issubclass(Stopped, Exception)  # nothing that catches errors may hold it up
    with pytest.raises(SystemExit) as end:
        run_command(command)
    assert end.value.code == 75
    assert capsys.readouterr().err == "saved\n"


TEMPORARY = """
import sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path
from rgcn_jax.command import run_command
from rgcn_jax.runtime.files import atomic_file

@contextmanager
def slowly_removed(path):
    path.touch()
    try:
        yield
    finally:
        print("removing", flush=True)
        time.sleep(0.5)
        path.unlink()

def main(arguments):
    folder = Path(arguments[0])
    with tempfile.TemporaryDirectory(dir=folder), atomic_file(folder / "page.html") as file:
        with slowly_removed(folder / "large"):
            file.write(b"half")
            print("ready", flush=True)
            time.sleep(30)

run_command(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_command_leaves_what_is_temporary(number, tmp_path):
    """Also one that says nothing about signals: report, calibrate, compare, evaluate, robustness, gallery serve."""
    command = [sys.executable, "-c", TEMPORARY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 3
        p.send_signal(number)
        assert p.stdout.readline() == "removing\n"
        if number != signal.SIGINT:  # one more must not cut off the clean-up
            p.send_signal(number)
        _, reported = p.communicate(timeout=10)
    assert p.returncode == 128 + number
    assert "Traceback" not in reported
    assert list(tmp_path.iterdir()) == []
