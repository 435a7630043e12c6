"""A run records the steps that it was asked for, and nothing else."""

import contextlib
import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from rgcn_jax.runtime.profiler import FOLDER, Profile


def test_without_steps_nothing_is_written(tmp_path):
    with Profile(None, tmp_path) as profile:
        for number in range(1, 4):
            profile.step(number)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.jit
def test_the_steps_asked_for_are_recorded_and_no_other(tmp_path):
    double, written = jax.jit(lambda x: 2 * x), None
    with Profile((2, 3), tmp_path) as profile:
        for number in range(1, 6):
            assert profile.due(number) == (number in (2, 4))
            profile.step(number)
            double(jnp.ones(3)).block_until_ready()
            if number == 1:
                assert not (tmp_path / FOLDER).exists()
            if number == 4:
                written = sorted(tmp_path.rglob("*"))
    assert sorted(tmp_path.rglob("*")) == written
    (trace,) = tmp_path.rglob("*.trace.json.gz")
    (perfetto,) = tmp_path.rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert {e["args"]["step_num"] for e in events if e.get("name") == "step"} == {"2", "3"}
    assert json.loads(gzip.decompress(perfetto.read_bytes()))


@pytest.mark.jit
def test_a_loop_that_ends_early_leaves_a_profile(tmp_path):
    with contextlib.suppress(RuntimeError), Profile((1, 9), tmp_path) as profile:
        profile.step(1)
        raise RuntimeError("lost")
    assert list(tmp_path.rglob("*.xplane.pb"))
    jax.profiler.start_trace(tmp_path / "free again")
    jax.profiler.stop_trace()


@pytest.mark.jit
def test_a_profile_that_cannot_be_written_ends_nothing(tmp_path, capsys):
    (tmp_path / FOLDER).write_text("in the way")
    with Profile((1, 2), tmp_path) as profile:
        for number in range(1, 4):
            profile.step(number)
    assert capsys.readouterr().out.count("no profile was written to") == 1
    assert not profile.due(1)
    jax._src.profiler._profile_state.reset()  # JAX keeps a session that could not be written  # pyright: ignore[reportAttributeAccessIssue]


def test_nor_does_a_profiler_that_does_not_start(tmp_path, monkeypatch, capsys):
    def busy(*_, **__):
        raise RuntimeError("Only one profile may be run at a time.")

    monkeypatch.setattr(jax.profiler, "start_trace", busy)
    with Profile((1, 2), tmp_path) as profile:
        for number in range(1, 4):
            profile.step(number)
    assert capsys.readouterr().out == (
        f"no profile was written to {tmp_path / FOLDER} (Only one profile may be run at a time.)\n"
    )
