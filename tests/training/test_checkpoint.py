"""What is saved comes back bit for bit; a checkpoint of another model is refused by name."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.state import TrainState
from tests import tiny


def advanced(steps, **changes):
    state, step, mesh = tiny.start(1, **changes)
    for seed in range(steps):
        state, _ = step(state, parallel.shard(tiny.batch(seed), mesh))
    return state


def equal_states(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.jit
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_the_whole_state_comes_back_and_trains_on_alike(tmp_path, platform):
    """Bit for bit, in either form of the model."""
    state = advanced(2, platform=platform)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", state, {"mAP": 1.5})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 2
        assert checkpoints.latest_step("best") is None
        empty, step, mesh = tiny.start(1, platform=platform)
        found = checkpoints.newest_intact("latest", empty)
        assert found is not None
        restored, record, reported = found
        assert (record, reported) == ({"mAP": 1.5}, [])
        assert checkpoints.newest_intact("best", empty) is None
    equal_states(restored, state)
    batch = parallel.shard(tiny.batch(2), mesh)
    equal_states(step(restored, batch)[0], step(state, batch)[0])


@pytest.mark.jit
def test_two_latest_and_one_best_are_kept(tmp_path):
    state, step, mesh = tiny.start(1)
    with Checkpoints(tmp_path) as checkpoints:
        for seed in range(4):
            state, _ = step(state, parallel.shard(tiny.batch(seed), mesh))
            checkpoints.save("latest", state, {})
            checkpoints.save("best", state, {})
    kept = {kind: sorted(p.name for p in (tmp_path / "checkpoints" / kind).iterdir()) for kind in ("latest", "best")}
    assert kept == {"latest": ["3", "4"], "best": ["4"]}


@pytest.mark.slow
@pytest.mark.jit
def test_another_model_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", advanced(1), {})
    with Checkpoints(tmp_path) as checkpoints:
        reported = r"is of another model \(batch_stats/appearance/trunk/bn1/mean is float32\[4\], .* float32\[8\]"
        with pytest.raises(InputError, match=reported):
            checkpoints.newest_intact("latest", tiny.start(1, width=8)[0])
        with pytest.raises(InputError, match=r"statistics_pose.*another --workdir"):
            checkpoints.newest_intact("latest", tiny.start(1, pose="none")[0])


def small(step):
    """A state of few numbers, quickly read."""
    rng = np.random.default_rng(step)
    state = TrainState(
        step=jax.numpy.asarray(step, jax.numpy.int32),
        params={"w": rng.normal(size=(40, 40)).astype(np.float32), "b": rng.normal(size=3).astype(np.float32)},
        batch_stats={"mean": rng.normal(size=3).astype(np.float32)},
        opt_state=({"mu": rng.normal(size=(40, 40)).astype(np.float32)},),
        key=jax.random.key(0),
    )
    return jax.device_put(state)


def damaged(file, how, rng):
    """The bytes of the file after an accident; None where it is removed."""
    data = bytearray(file.read_bytes())
    if how == "gone":
        return None
    if how == "flipped bit" and data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        return bytes(data)
    return bytes(data[: len(data) // 2]) if how == "cut off" else bytes(len(data))


@pytest.mark.jit
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # coroutines that Orbax gives up
def test_whatever_happens_to_a_file_a_checkpoint_is_what_was_saved_or_is_quarantined(tmp_path, capfd):
    """Each file of the newest checkpoint in turn is cut off, zeroed, lost, or has a bit flipped."""
    saved, whole = {}, tmp_path / "whole"
    with Checkpoints(whole) as checkpoints:
        for step in (1, 2):
            saved[step] = host_leaves(small(step))
            checkpoints.save("latest", small(step), {"step": step})
    newest, rng = whole / "checkpoints" / "latest" / "2", np.random.default_rng(0)
    files = sorted(p.relative_to(newest) for p in newest.rglob("*") if p.is_file())
    quarantined = 0
    for number, (file, how) in enumerate((f, h) for f in files for h in ("flipped bit", "zeroed", "gone", "cut off")):
        workdir = Path(shutil.copytree(whole, tmp_path / str(number)))
        there = workdir / "checkpoints" / "latest" / "2" / file
        content = damaged(there, how, rng)
        there.unlink()
        if content is not None:
            there.write_bytes(content)
        with Checkpoints(workdir) as checkpoints:
            newest = checkpoints.newest_intact("latest", small(0))
        assert newest is not None
        found, record, reported = newest
        leaves = host_leaves(found)
        assert record == {"step": int(leaves["step"])}
        for name, leaf in saved[record["step"]].items():
            np.testing.assert_array_equal(leaves[name], leaf, err_msg=f"{file} {how} {name}")
        aside = workdir / "checkpoints" / "quarantine" / "latest-2-1"
        if record["step"] == 1:
            assert aside.is_dir()
            assert "latest/2 is damaged: " in reported[0]
            assert str(aside) in reported[0]
            quarantined += 1
        else:
            assert not reported
            assert not aside.exists()
        shutil.rmtree(workdir)
    assert quarantined >= 8
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.jit
def test_where_every_checkpoint_is_damaged_nothing_is_moved_and_it_is_reported(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", small(1), {})
    file = tmp_path / "checkpoints" / "latest" / "1" / "record" / "metadata"
    file.write_text(file.read_text().replace('"state": "', '"state": "0'))
    for _ in range(2):
        reported = pytest.raises(InputError, match="all checkpoints .*latest/1 .*checksum")
        with Checkpoints(tmp_path) as checkpoints, reported:
            checkpoints.newest_intact("latest", small(0))
    assert file.exists()


@pytest.mark.jit
def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    state = small(1)
    bad = state.replace(batch_stats=jax.tree.map(lambda leaf: leaf * np.nan, state.batch_stats))
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(InputError, match="step 1 batch_stats/.*NaN"):
            checkpoints.save("latest", bad, {})
        assert checkpoints.latest_step() is None


@pytest.mark.jit
def test_what_unfinished_saves_leave_is_removed_and_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", small(1), {})
        left = tmp_path / "checkpoints" / "latest" / "2.orbax-checkpoint-tmp" / "state"
        left.mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.remove_unfinished() == ["checkpoints/latest/2.orbax-checkpoint-tmp"]
        assert checkpoints.latest_step() == 1
    assert not left.parent.exists()
