"""How processes find each other and how they end: wrong environments, a lost process, an error in one of them."""

import signal
import socket

import pytest
from jax.errors import JaxRuntimeError

from rgcn_jax.errors import InputError
from rgcn_jax.runtime import processes
from tests.processes import code, job

ENVIRONMENT = {"JAX_COORDINATOR_ADDRESS": "node1:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


def caused(error, cause):
    error.__cause__ = cause
    return error


def test_the_environment_says_which_process_this_is():
    assert processes.place(ENVIRONMENT) == processes.Place("node1", 1234, 4, 3)
    assert processes.place({"PATH": "/bin", "JAX_NUM_PROCESSES": ""}) is None
    bracketed = processes.place(ENVIRONMENT | {"JAX_COORDINATOR_ADDRESS": "[::1]:80"})
    assert bracketed is not None
    assert bracketed.address == "[::1]:80"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": ""}, "JAX_COORDINATOR_ADDRESS is not set: set"),
        ({"JAX_PROCESS_ID": "", "JAX_COORDINATOR_ADDRESS": ""}, "ADDRESS is not set; JAX_PROCESS_ID is not set"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID is 4, expected a number from 0 to 3"),
        ({"JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID is '-1', expected a whole number of 0 or more"),
        ({"JAX_NUM_PROCESSES": "0"}, "JAX_NUM_PROCESSES is '0', expected a whole number of 1 or more"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two'"),
        ({"JAX_COORDINATOR_ADDRESS": "node1"}, "is 'node1', expected host:port of process 0"),
        ({"JAX_COORDINATOR_ADDRESS": "node1:99999"}, "is 'node1:99999', expected host:port"),
        ({"JAX_COORDINATOR_ADDRESS": ":80", "JAX_PROCESS_ID": "x"}, "is ':80', .*; JAX_PROCESS_ID is 'x'"),
    ],
)
def test_a_wrong_environment_is_one_sentence_with_all_that_is_wrong(changes, message):
    with pytest.raises(InputError, match=message):
        processes.place(ENVIRONMENT | changes)


def test_a_coordinator_that_is_not_there_and_a_port_that_is_taken_are_reported():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, but nobody listens
        with pytest.raises(InputError, match=f"process 1 of 2 .*localhost:{port} .*refused"):
            processes.find_coordinator(processes.Place("localhost", port, 2, 1), seconds=1)
        taken.listen()
        with pytest.raises(InputError, match=f"process 0 .*port {port} .*in use"):
            processes.find_coordinator(processes.Place("localhost", port, 2, 0), seconds=1)
        processes.find_coordinator(processes.Place("localhost", port, 2, 1), seconds=1)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (JaxRuntimeError("INTERNAL: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:5555"), True),
        (JaxRuntimeError("UNAVAILABLE: failed to connect to all addresses"), True),
        (caused(RuntimeError("saving failed"), JaxRuntimeError("DEADLINE_EXCEEDED: barrier timed out")), True),
        (JaxRuntimeError("NCCL operation ncclCommInitRank failed: invalid usage"), False),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1024 bytes"), False),
        (ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:5555"), True),
        (ValueError("the page is unavailable"), False),
        (OSError(11, "Resource temporarily unavailable"), False),
        (ConnectionResetError(104, "Connection reset by peer"), False),
    ],
)
def test_only_errors_of_jax_are_a_peer_exit(error, lost, monkeypatch):
    assert not processes.is_peer_exit(error)  # of a single process
    monkeypatch.setattr(processes, "joined", True)
    assert processes.is_peer_exit(error) == lost


def test_an_error_that_is_its_own_cause_is_looked_at_once(monkeypatch):
    monkeypatch.setattr(processes, "joined", True)
    error = RuntimeError("a")
    assert not processes.is_peer_exit(caused(error, error))


@pytest.mark.parametrize(("reported", "status"), [(False, 1), (True, 75)])
def test_after_a_signal_the_exit_of_a_peer_ends_with_75(reported, status):
    text = f"""
parallel.start_processes()
processes.signal_received = {reported}
raise jax.errors.JaxRuntimeError("UNAVAILABLE: Connection reset by peer")
"""
    assert [end.status for end in job([code(text)] * 2)] == [status] * 2


STEPS = """
parallel.start_processes()
reported, me = parallel.AnyProcess(parallel.make_mesh(0)), jax.process_index()
"""


def test_a_flag_of_one_process_is_known_to_all_at_the_same_step():
    text = STEPS + "say([reported(me == 1 and step in (2, 3)) for step in range(7)])\n"
    text += "say(parallel.decided_by_first(me == 0), parallel.decided_by_first(me == 1))\nprint('here')\n"
    text += "parallel.check_same('the config', 'a')\nparallel.check_same('the data', str(me))\n"
    ended = job([code(text)] * 2, devices=2)
    for end in ended:
        answers, decisions, error = end.err.splitlines()
        assert answers == "[False, False, False, True, True, False, False]"
        assert decisions == "True False"
        assert error.startswith(
            "error: the data is not the same in process 1 as in process 0: start all processes with"
        )
        assert end.status == 2
    assert "here" in ended[0].out
    assert "here" not in ended[1].out


def test_a_folder_that_each_has_of_its_own_is_reported(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    text = f"""
from pathlib import Path
parallel.start_processes()
parallel.check_shared(Path({str(tmp_path)!r}))
parallel.check_shared(Path({str(tmp_path)!r}) / str(jax.process_index()))
"""
    for process in job([code(text)] * 2):
        assert process.status == 2
        assert "of process 1 is not the folder of process 0: " in process.err
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["0", "1"]


def test_processes_with_unequal_numbers_of_devices_are_reported():
    for process in job([code("parallel.start_processes()\nsay('started')")] * 2, devices=(1, 2)):
        assert process.err.startswith("error: the processes have 1, 2 devices, in their order")
        assert process.status == 2


PEER_EXITED = "a peer process exited"
RERUN = "Rerun the same command in all processes"


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_process_is_killed_the_other_exits_at_once(victim):
    text = (
        "parallel.HEARTBEAT_SECONDS = 10**5\n"  # what ends it is the broken connection, not a heartbeat that stays away
        + STEPS
        + f"""
for step in range(10**6):
    reported(False)
    if step == 20 and me == {victim}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    ended = job([code(text)] * 2)
    killed, survivor = ended[victim], ended[1 - victim]
    assert killed.status == -signal.SIGKILL
    # Process 0 holds the connections of JAX's runtime, which may abort the other before Python hears of its exit.
    assert survivor.status in (1, -signal.SIGABRT)
    if survivor.status == 1:
        assert f"error: process {1 - victim} of 2 (they count from 0): {PEER_EXITED}" in survivor.err
        assert RERUN in survivor.err
    else:
        assert "another task died" in survivor.err or "Terminating process" in survivor.err  # of JAX itself
    assert "Traceback" not in survivor.err


@pytest.mark.slow
def test_a_process_that_waits_for_nothing_learns_of_a_loss_too():
    """No collective fails here: it ends because heartbeats stay away, for 30 s and in this test for 3."""
    text = (
        "parallel.HEARTBEAT_SECONDS = 3\n"
        + STEPS
        + """
reported(False)
if me == 1:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(100)
"""
    )
    survivor, killed = job([code(text)] * 2)
    assert killed.status == -signal.SIGKILL
    assert survivor.status == -signal.SIGABRT  # before the 100 seconds were over


def test_an_error_in_one_process_ends_it_at_once_and_the_other_too():
    text = (
        STEPS
        + """
for step in range(10**6):
    reported(False)
    if step == 20 and me == 1:
        raise InputError("this image cannot be read.")
"""
    )
    first, second = job([code(text)] * 2)
    assert second.err == "error: this image cannot be read.\n"
    assert second.status == 2
    assert first.status == 1
    assert f"process 0 of 2 (they count from 0): {PEER_EXITED}" in first.err
