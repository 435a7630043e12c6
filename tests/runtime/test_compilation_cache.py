"""Compiled programs are kept in the user's cache, and nothing else changes; a run compiles each step once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rgcn_jax.runtime.compilation_cache import cache_folder, keep_compiled
from tests import mars_folder

REPOSITORY = Path(__file__).parents[2]


def folder():
    """The one that JAX uses."""
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]  # defined as JAX runs


@pytest.fixture
def no_folder(monkeypatch, tmp_path):
    """As in a fresh process; the suite has a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = folder()
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.usefixtures("no_folder")
def test_the_folder_is_the_users_own(tmp_path):
    assert keep_compiled() == ""
    assert folder() == str(tmp_path / "cache" / "rgcn_jax" / "compiled")
    assert Path(folder()).stat().st_mode & 0o777 == 0o700
    assert list(Path(folder()).iterdir()) == []


@pytest.mark.usefixtures("no_folder")
def test_the_switch(tmp_path):
    assert keep_compiled(enabled=False) == ""
    assert folder() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_folder")
def test_the_users_choice_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert keep_compiled() == ""
    assert folder() is None  # JAX read the variable when it was imported
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
    assert keep_compiled() == ""
    assert folder() == str(tmp_path / "chosen")


@pytest.mark.usefixtures("no_folder")
def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    assert keep_compiled().startswith("compiled programs are not cached: their folder cannot be written (")
    assert folder() is None


@pytest.mark.usefixtures("no_folder")
def test_a_folder_that_others_can_write_is_not_used():
    cache_folder().mkdir(parents=True)
    cache_folder().chmod(0o777)  # whoever writes there chooses what this process runs
    assert "other users can write" in keep_compiled()
    assert folder() is None


COUNTING = """
import collections, json, sys
import jax
from rgcn_jax import main
from rgcn_jax.command import run_command
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name.rpartition("/")[2]]))
run_command(main.main)
print(json.dumps({name: events[name] for name in ("cache_hits", "cache_misses")}))
"""


@pytest.mark.slow
def test_the_second_start_compiles_nothing_again(tmp_path):
    """Nor does another run. Kept is here what compiles faster than a second, too: the model is a small one."""
    spec = {"train_identities": 4, "test_identities": 4, "group_size": 2, "cameras": 2, "max_frames": 4}
    arguments = ["--config=configs/walkers.py", *mars_folder.TINY, "--config.num_steps=1"]
    arguments += [f"--config.data.walkers.{name}={value}" for name, value in (spec | {"min_frames": 3}).items()]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def started(run):
        command = [sys.executable, "-c", COUNTING, *arguments, f"--workdir={tmp_path / run}"]
        process = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    first, second = started("one"), started("two")
    assert first["cache_misses"] > 2  # at least the training step and the extraction
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "one", "two"}  # nothing beside the runs
    assert second == {"cache_hits": first["cache_hits"] + first["cache_misses"], "cache_misses": 0}
