"""The launch scripts: which processes they start, with what environment, what they do with signals and statuses."""

import functools
import http.server
import json
import signal
import subprocess
import threading

import pytest

from rgcn_jax.runtime import processes
from tests.launch.programs import LAUNCH, Programs

SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.sh"))
ARGUMENTS = ["--config=configs/mars.py", "--config.data.root=/my data/it's $HOME"]
SLURM = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "1234567", "SLURM_NTASKS": "2", "PYTHON": "python"}


@pytest.fixture
def programs(tmp_path):
    return Programs(tmp_path)


def ids(records):
    """(number, of how many, address) of each process."""
    names = ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES", "JAX_COORDINATOR_ADDRESS")
    return [tuple(record["environment"][name] for name in names) for record in records]


def start(script, programs, count, *arguments, **environment):
    """Any of the scripts that start several processes, with so many of them."""
    if script == "local.sh":
        return programs.start(script, str(count), *arguments, **environment)
    hosts = " ".join(f"me@vm-{i}" for i in range(count))
    return programs.start(
        script, *arguments, HOSTS=hosts, FOLDER=str(programs.folder), PYTHON="python", SSH="ssh", **environment
    )


def test_there_is_a_script_for_each_place():
    assert SCRIPTS == ["hosts.sh", "local.sh", "slurm.sh", "slurm_gallery.sh", "slurm_sweep.sh", "tpu_vm.sh"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_sets_no_hyperparameter(script):
    lines = [line for line in (LAUNCH / script).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert "--config" not in "\n".join(lines).replace("--config=FILE [...]", "")


@pytest.mark.parametrize("own", [{}, {"GLIBC_TUNABLES": ""}, {"GLIBC_TUNABLES": "glibc.malloc.check=1"}])
def test_huge_pages_are_asked_for_unless_the_user_has_settings(programs, own):
    assert programs.run("local.sh", "1", *ARGUMENTS, **own)[0] == 0
    expected = own.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert programs.reported(1)[0]["environment"]["GLIBC_TUNABLES"] == expected


@pytest.mark.parametrize("script", ["local.sh", "hosts.sh"])
def test_every_process_knows_its_number_and_gets_the_arguments_as_they_are(script, programs):
    process = start(script, programs, 3, *ARGUMENTS)
    out, _ = process.communicate(timeout=60)
    records = programs.reported(3)
    address = ids(records)[0][2]
    assert ids(records) == [(str(i), "3", address) for i in range(3)]
    assert address.rpartition(":")[0] == ("127.0.0.1" if script == "local.sh" else "vm-0")
    assert all(record["argv"] == ["-m", "rgcn_jax.main", *ARGUMENTS] for record in records)
    assert process.returncode == 0
    assert "out of 0" in out


def test_gpus_are_shared_out_equally(programs):
    programs.run("local.sh", "2", CUDA_VISIBLE_DEVICES="0,2,5,7")
    assert [r["environment"]["CUDA_VISIBLE_DEVICES"] for r in programs.reported(2)] == ["0,2", "5,7"]


def test_gpus_are_those_of_the_machine_where_none_are_named(programs):
    programs.add("nvidia-smi", "#!/bin/sh\nprintf '0\\n1\\n'")
    programs.run("local.sh", "2")
    assert [r["environment"]["CUDA_VISIBLE_DEVICES"] for r in programs.reported(2)] == ["0", "1"]


def test_gpus_that_cannot_be_shared_and_a_missing_number_are_reported(programs):
    status, _, error = programs.run("local.sh", "3", CUDA_VISIBLE_DEVICES="0,1")
    assert (status, "2 GPUs cannot be shared equally by 3 processes" in error) == (2, True)
    status, _, error = programs.run("local.sh", "--config=configs/mars.py")
    assert (status, "PROCESSES a number of 1 or more, found '--config=configs/mars.py'" in error) == (2, True)
    assert not list(programs.records.iterdir())


@pytest.mark.parametrize("script", ["local.sh", "hosts.sh"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_process_once(script, number, programs):
    process = start(script, programs, 2, "--do=0:wait", "--do=1:wait")
    programs.reported(2)
    status, _, _ = programs.signal_and_wait(process, number)
    assert [record["reported"] for record in programs.reported(2)] == [1, 1]
    assert status == 75


@pytest.mark.parametrize("script", ["local.sh", "hosts.sh"])
@pytest.mark.parametrize(("statuses", "expected"), [((0, 2), 2), ((75, 1), 1), ((1, 75), 1), ((0, 75), 75)])
def test_a_failure_outranks_a_saved_run_outranks_success(script, statuses, expected, programs):
    process = start(script, programs, 2, *(f"--do={i}:{status}" for i, status in enumerate(statuses)))
    process.communicate(timeout=60)
    assert process.returncode == expected


@pytest.mark.parametrize("script", ["local.sh", "hosts.sh"])
def test_processes_killed_at_once_are_all_heard_of(script, programs):
    process = start(script, programs, 8, *(f"--do={i}:die" for i in range(8)))
    out, error = process.communicate(timeout=60)
    assert process.returncode == 137
    assert (out + error).count("ended with status 137") == 8


@pytest.mark.parametrize("script", ["local.sh", "hosts.sh"])
@pytest.mark.parametrize(("status", "expected"), [("3", 3), ("75", 137), ("die", 137)])
def test_a_process_that_hangs_after_another_has_not_ended_well_is_killed(script, status, expected, programs):
    programs.add("sleep", "#!/bin/sh\n[ $1 = 60 ] && exec /bin/sleep 1")  # the minute, shortened
    process = start(script, programs, 2, "--do=0:hang", f"--do=1:{status}")
    _, error = process.communicate(timeout=30)
    assert process.returncode == expected
    name = {"local.sh": "process 0 of 2", "hosts.sh": "the process on me@vm-0"}[script]
    assert f"{name} ended with status 137" in error


@pytest.mark.parametrize(("first", "status", "requeued"), [("wait", 75, True), ("2", 2, False), ("0", 0, False)])
def test_slurm_queues_a_job_again_that_has_saved(first, status, requeued, programs):
    todo = [f"--do={i}:{first}" for i in range(2)]
    process = programs.start("slurm.sh", *ARGUMENTS, *todo, **SLURM)
    records = programs.reported(2)
    if first == "wait":  # SLURM signals the tasks, not the script
        subprocess.run(["pkill", "-TERM", "-s", str(process.pid), "-f", "rgcn_jax.main --config"], check=True)
    process.communicate(timeout=60)
    assert process.returncode == status
    assert ids(records) == [(str(i), "2", "localhost:24567") for i in range(2)]
    assert records[1]["argv"] == ["-m", "rgcn_jax.main", *ARGUMENTS, *todo]
    called = programs.records / "scontrol"
    assert (called.read_text() if called.exists() else "") == ("requeue 1234567\n" if requeued else "")


@pytest.mark.parametrize(
    ("statuses", "restarts", "status", "requeued"),
    [
        ((2, processes.PEER_EXITED), 0, 2, False),
        ((1, processes.PEER_EXITED), 0, 1, False),
        (("die", processes.PEER_EXITED), 0, 137, False),
        ((75, 75), 99, 75, True),
        ((75, 75), 100, 75, False),
    ],
)
def test_slurm_queues_no_job_again_that_has_failed_nor_one_that_never_comes_on(
    statuses, restarts, status, requeued, programs
):
    todo = (f"--do={i}:{what}" for i, what in enumerate(statuses))
    ended, _, error = programs.run("slurm.sh", *todo, **SLURM, SLURM_RESTART_COUNT=str(restarts))
    assert ended == status, error
    assert (programs.records / "scontrol").exists() == requeued


@pytest.mark.parametrize(("cores", "expected"), [("16", "--cpus-per-task=16 "), ("", "")])
def test_slurm_hands_the_cores_of_a_task_on(cores, expected, programs):
    """srun does not inherit them, and would bind the run to one core."""
    programs.run("slurm.sh", *ARGUMENTS, **SLURM, **({"SLURM_CPUS_PER_TASK": cores} if cores else {}))
    assert (programs.records / "srun").read_text().startswith(expected + "--kill-on-bad-exit=0")


def test_slurm_says_that_it_is_started_by_sbatch(programs):
    status, _, error = programs.run("slurm.sh", *ARGUMENTS)
    assert status == 1
    assert "SLURM_JOB_NODELIST: is not set: start this by sbatch" in error


@pytest.mark.parametrize(("status", "requeued"), [(75, True), (1, False), (0, False)])
def test_a_job_of_a_sweep_is_queued_again_where_it_has_saved(status, requeued, programs):
    job = {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_JOB_ID": "1234567",
        "SLURM_NTASKS": "1",
        "JAX_PROCESS_ID": "0",
        "PYTHON": "python",
    }
    ended, _, error = programs.run("slurm_sweep.sh", "table3", f"--do=0:{status}", **job)
    assert ended == status, error
    (record,) = programs.reported(1)
    assert record["argv"] == ["-m", "rgcn_jax.sweep", "table3", f"--do=0:{status}", "--no-table"]
    assert (programs.records / "scontrol").exists() == requeued
    ended, _, error = programs.run("slurm_sweep.sh", "table3")
    assert ended == 1
    assert "start this by sbatch" in error


@pytest.mark.parametrize(("status", "requeued"), [(143, True), (1, False), (0, False)])
def test_a_job_that_fills_a_gallery_is_queued_again_where_it_was_terminated(status, requeued, programs):
    job = {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "1",
        "JAX_PROCESS_ID": "0",
        "PYTHON": "python",
    }
    ended, _, error = programs.run("slurm_gallery.sh", "--gallery=g", f"--do=0:{status}", **job)
    assert ended == status, error
    (record,) = programs.reported(1)
    assert record["argv"] == ["-m", "rgcn_jax", "gallery", "add", "--gallery=g", f"--do=0:{status}", "--shared"]
    assert (programs.records / "scontrol").exists() == requeued


class Metadata(http.server.BaseHTTPRequestHandler):
    """Of a TPU worker; the two forms in which the workers are listed."""

    def __init__(self, *arguments, workers):
        self.answers = {"agent-worker-number": "1", "worker-network-endpoints": workers}
        super().__init__(*arguments)

    def do_GET(self):
        assert self.headers["Metadata-Flavor"] == "Google"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answers[self.path.removeprefix("/computeMetadata/v1/instance/attributes/")].encode())

    def log_message(self, format, *args):
        pass


@pytest.mark.parametrize("workers", ["10.0.0.2,10.0.0.3", "unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3"])
def test_a_tpu_worker_finds_itself_in_its_metadata(workers, programs):
    handler = functools.partial(Metadata, workers=workers)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, _, error = programs.run(
            "tpu_vm.sh", *ARGUMENTS, PYTHON="python", GCE_METADATA_IP=f"127.0.0.1:{server.server_port}", no_proxy="*"
        )
        server.shutdown()
    assert (status, error) == (0, "")
    record = json.loads((programs.records / "1.json").read_text())
    assert ids([record]) == [("1", "2", "10.0.0.2:8476")]
