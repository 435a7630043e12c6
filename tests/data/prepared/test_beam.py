"""Preparing by an Apache Beam pipeline of two processes: the same files, and the same errors, as without it."""

import os
import re
import subprocess
from importlib.util import find_spec

import pytest

from rgcn_jax.data import prepare
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.prepared import format as prepared_format
from tests.commands import fails
from tests.data.prepared import preparing

pytestmark = pytest.mark.slow
RUNNER = "--beam=runner=DirectRunner,direct_running_mode=multi_processing,direct_num_workers=2"


def run(root, *others):
    """The command; a pipeline starts two processes that load TensorFlow."""
    command = preparing.command(root, *others)
    environment = preparing.environment()
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)


def folder(out):
    return out / prepared_format.builder_name("mars") / prepared_format.VERSION


def test_a_pipeline_writes_the_files_of_one_process(tmp_path):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed: .ci/full has an environment with it")
    root = preparing.write(tmp_path / "MARS")
    size = ["--height=32", "--width=16", "--frames-per-shard=20"]
    assert preparing.run_here(root, f"--out={tmp_path / 'one'}", *size) == 0
    damaged = root / mars.load(root).train[0].frames[1]
    whole = damaged.read_bytes(), damaged.stat()
    damaged.write_bytes(b"")
    done = run(root, f"--out={tmp_path / 'many'}", *size, RUNNER)
    assert done.returncode == 2
    assert f"{damaged} is empty" in done.stderr
    wrote, shards = map(int, re.findall(r"wrote (\d+) of (\d+) shards", done.stdout)[0])
    assert wrote == shards - 1 > 1  # all but that of the damaged frame
    damaged.write_bytes(whole[0])
    os.utime(damaged, ns=(whole[1].st_atime_ns, whole[1].st_mtime_ns))
    done = run(root, f"--out={tmp_path / 'many'}", *size, RUNNER)
    assert done.returncode == 0, done.stderr
    assert "wrote 1 of 1 shards" in done.stdout
    contents = [preparing.contents(folder(tmp_path / name)) for name in ("one", "many")]
    assert len(contents[0]) > 5
    assert contents[0] == contents[1]


@pytest.mark.skipif(find_spec("apache_beam") is not None, reason="apache-beam is installed")
def test_the_extra_that_is_missing_is_named(tmp_path, capsys):
    arguments = preparing.command(preparing.write(tmp_path / "MARS"), f"--out={tmp_path / 'out'}", "--beam=runner=x")
    assert "rgcn_jax[beam]" in fails(prepare.main, arguments[3:], capsys)


def test_options_that_are_wrong_are_one_sentence(tmp_path):
    pytest.importorskip("apache_beam", reason="apache-beam is not installed: .ci/full has an environment with it")
    root = preparing.write(tmp_path / "MARS")
    done = run(root, f"--out={tmp_path / 'out'}", "--height=32", "--width=16", "--beam=runner=NoRunner")
    assert done.returncode == 2
    assert "--beam=runner=NoRunner" in done.stderr
    assert "Traceback" not in done.stderr
