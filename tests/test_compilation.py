"""Compiled programs are kept beside the work directory, and nothing else changes; a run compiles each step once."""

import jax
import pytest

from rgcn_jax.compilation import FOLDER, keep_compiled


@pytest.fixture
def no_folder(monkeypatch):
    """As in a fresh process; the suite has a folder of its own."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.usefixtures("no_folder")
def test_the_folder_is_beside_the_work_directory(tmp_path):
    assert keep_compiled(tmp_path / "runs" / "one") == ""
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "runs" / FOLDER)
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / FOLDER]
    assert list((tmp_path / "runs" / FOLDER).iterdir()) == []


@pytest.mark.usefixtures("no_folder")
def test_the_switch(tmp_path):
    assert keep_compiled(tmp_path / "one", enabled=False) == ""
    assert jax.config.jax_compilation_cache_dir is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_folder")
def test_the_users_own_folder_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert keep_compiled(tmp_path / "one") == ""
    assert jax.config.jax_compilation_cache_dir is None  # JAX read the variable when it was imported
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
    assert keep_compiled(tmp_path / "one") == ""
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "chosen")


@pytest.mark.usefixtures("no_folder")
def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / FOLDER).write_text("in the way")
    told = keep_compiled(tmp_path / "one")
    assert told.startswith(f"compiled programs are not kept: {tmp_path / FOLDER} cannot be written (")
    assert jax.config.jax_compilation_cache_dir is None
