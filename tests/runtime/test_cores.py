"""The number of usable cores follows affinity and cgroup."""

import os
import subprocess
import sys

import pytest

from rgcn_jax.runtime.cores import limit_threads, usable_cores


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    """By the affinity."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16), ("6400000 100000", 16)],
)
def test_the_quota_of_a_cgroup(tmp_path, limit, cores):
    write(tmp_path / "membership", "0::/job/step\n")
    write(tmp_path / "job/step/cpu.max", limit)
    assert usable_cores(tmp_path / "membership", tmp_path) == cores


def test_the_smallest_quota_on_the_way_up_holds(tmp_path):
    write(tmp_path / "membership", "0::/job/step\n")
    write(tmp_path / "job/step/cpu.max", "max 100000")
    write(tmp_path / "job/cpu.max", "300000 100000")
    assert usable_cores(tmp_path / "membership", tmp_path) == 3


def test_in_a_container_the_files_lie_at_the_root(tmp_path):
    write(tmp_path / "membership", "0::/docker/0123\n")
    write(tmp_path / "cpu.max", "400000 100000")
    assert usable_cores(tmp_path / "membership", tmp_path) == 4


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 16)])
def test_cgroups_of_the_first_version(tmp_path, quota, cores):
    write(tmp_path / "membership", "4:memory:/job\n3:cpu,cpuacct:/job\n")
    write(tmp_path / "cpu/job/cpu.cfs_quota_us", quota)
    write(tmp_path / "cpu/job/cpu.cfs_period_us", "100000")
    assert usable_cores(tmp_path / "membership", tmp_path) == cores


def test_a_quota_below_the_affinity_limits_the_threads_of_xla_and_tensorflow(tmp_path):
    write(tmp_path / "membership", "0::/\n")
    write(tmp_path / "cpu.max", "200000 100000")
    environment = {"NPROC": "1"}
    limit_threads(environment, tmp_path / "membership", tmp_path)
    assert environment == {"NPROC": "1", "TF_NUM_INTRAOP_THREADS": "2"}
    write(tmp_path / "cpu.max", "max 100000")
    unlimited = {}
    limit_threads(unlimited, tmp_path / "membership", tmp_path)
    assert unlimited == {}


@pytest.mark.slow
def test_xla_has_as_many_threads_as_the_variable_says():
    code = "import jax, pathlib; jax.devices()\n"
    code += "print(sum('XLAEigen' in (p / 'comm').read_text() for p in pathlib.Path('/proc/self/task').iterdir()))"
    environment = os.environ | {"NPROC": "3", "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)  # the suite's many devices have threads each
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert int(printed) == 3


def test_without_cgroups_the_affinity_counts(tmp_path):
    assert usable_cores(tmp_path / "none", tmp_path) == 16


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_on_one_core_counts_one():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from rgcn_jax.runtime.cores import usable_cores; print(usable_cores())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_on_one_core_prepare_and_detect_start_one_process_of_one_thread():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from rgcn_jax.data import prepare\n"
    code += "from rgcn_jax.pose_detection import __main__ as detect\n"
    code += "of_prepare = prepare._parse(['--dataset=mars', '--root=a', '--out=b'], 'prepare').workers\n"
    code += "flags = ['--dataset=mars', '--root=a', '--out=b.npz', '--backend=movenet', '--model=c']\n"
    code += "print(of_prepare, detect._parse(flags, 'detect').workers)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["1", "1"]
