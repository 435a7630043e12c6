"""The loop on its own: a model that only counts, numbers from a script, and all that must hold whatever the model."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.preemption import Stopped, Stopping
from rgcn_jax.runtime.time_accounting import PARTS
from rgcn_jax.training.nonfinite import MAX_CONSECUTIVE
from rgcn_jax.training.step_log import is_time
from tests.training.scripted_job import Job


@pytest.mark.parametrize(("step", "every", "due"), [(4, 4, True), (5, 4, False), (9, 0, True), (5, 0, False)])
def test_what_is_due_when(step, every, due):
    assert is_time(step, every, 9) == due


def test_each_step_stands_once_in_order_and_the_seconds_add_up(tmp_path):
    job = Job(tmp_path)
    job.run()
    expected: list[tuple[int, float | str]] = [(step, 1.0) for step in range(1, 9)]
    expected.insert(4, (4, "evaluation"))
    assert job.records() == [*expected, (8, "evaluation")]
    assert job.kept() == [4, 8]
    assert job.kept("best") == [4]
    spent = job.seconds.spent()
    assert spent.keys() == {*PARTS, "total"}
    assert sum(spent[part] for part in PARTS) == pytest.approx(spent["total"])
    assert all(spent[part] > 0 for part in ("start", "compile", "input", "step", "checkpoint", "evaluation"))


class HeldClock:
    """In the place of the module ``time``: each look at it takes a millisecond."""

    now = 0.0

    def monotonic(self):
        self.now += 0.001
        return self.now


@pytest.mark.parametrize("steps", [(3, 4), (8, 9)])
def test_recording_a_profile_is_a_part_of_its_own_and_in_no_steps_rate(steps, tmp_path, monkeypatch):
    """Starting and writing it take 1,000 seconds each here; the last case is written after the last step."""
    clock = HeldClock()
    for module in ("runtime.time_accounting", "training.step_log"):
        monkeypatch.setattr(f"rgcn_jax.{module}.time", clock)
    job = Job(tmp_path)
    for name in ("start_trace", "stop_trace"):
        monkeypatch.setattr(jax.profiler, name, lambda *_, **__: setattr(clock, "now", clock.now + 1000))
    job.run(profile=steps)
    assert 2000 <= job.seconds.spent()["profile"] < 2001
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    rates = [record["frames_per_second"] / 8 for record in lines if "loss" in record]
    assert len(rates) == 8
    assert min(rates) > 1  # steps a second


def test_a_steps_numbers_are_asked_for_when_the_device_has_the_next_step(tmp_path, monkeypatch):
    """Else the device would stand still while the host writes."""
    job = Job(tmp_path, total=3, save=0, evaluate=0)
    get = jax.device_get

    def device_get(tree):
        if isinstance(tree, dict) and "loss" in tree:
            job.reported.append("numbers")
        return get(tree)

    monkeypatch.setattr(jax, "device_get", device_get)
    job.run()
    assert job.reported[:6] == ["step 1", "step 2", "numbers", "step 3", "numbers", "numbers"]


def test_nothing_moves_between_host_and_device_unasked(tmp_path):
    job = Job(tmp_path)
    step = jax.jit(
        lambda state, batch: (state.replace(step=state.step + 1), {"loss": state.params, "lambda": state.params})
    )
    job.run_.__dict__["train_step"] = step
    with jax.disable_jit(False), jax.transfer_guard("disallow"):
        job.run()
    assert job.kept() == [4, 8]


@pytest.mark.parametrize("bad", [2, 4, 7])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_stops_at_once_and_its_batch_is_listed(tmp_path, bad, value):
    job = Job(tmp_path, losses={bad: value})
    kept = "no checkpoint was saved" if bad <= 4 else "the last checkpoint is of step 4"
    with pytest.raises(InputError, match=f"step {bad} loss is {value}.*{kept}"):
        job.run()
    assert job.reported.count(f"step {bad + 2}") == 0  # it may have begun the next one, never two
    assert job.kept() == ([4] if bad > 4 else [])
    assert [s for s, _ in job.records()][-1] == (bad - 1 if bad != 5 else 4)
    listed = json.loads((tmp_path / "nonfinite" / f"step-{bad}.json").read_text())
    plan = job.plan(bad - 1)
    assert listed["step"] == bad
    assert listed["loss"] == str(value)
    assert listed["lambda"] == 0.5
    assert [(c["person_id"], c["camera_id"], c["first_frame"]) for c in listed["clips"]] == [
        (t.person_id, t.camera_id, t.frames[0]) for t in plan.tracklets
    ]
    assert [c["frames"] for c in listed["clips"]] == plan.frames.tolist()


def test_skipped_steps_are_counted_through_a_resume(tmp_path):
    job = Job(tmp_path, losses={3: math.nan, 4: math.nan, 6: math.inf}, policy="skip")
    job.run_.__dict__["total_steps"] = 4
    job.run()
    job.run_.__dict__["total_steps"] = 8
    job.run()
    assert job.progress.skipped_steps == 3
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["skipped_steps"] for r in records if "loss" in r] == [0, 0, 1, 2, 2, 3, 3, 3]
    assert [r["loss"] for r in records if "loss" in r][2:4] == [None, None]
    assert sorted(p.name for p in (tmp_path / "nonfinite").iterdir()) == ["step-3.json", "step-4.json", "step-6.json"]


def test_a_batch_that_cannot_be_listed_ends_no_run_that_skips(tmp_path, capsys):
    (tmp_path / "nonfinite").write_text("in the way")
    job = Job(tmp_path, losses={3: math.nan}, policy="skip")
    job.run()
    assert job.kept() == [4, 8]
    assert "step 3: its batch cannot be listed in" in capsys.readouterr().out


def test_too_many_skipped_in_a_row_stop_too(tmp_path):
    losses = {step: math.nan for step in range(2, 30) if step != 7}
    job = Job(tmp_path, total=30, save=0, evaluate=0, losses=losses, policy="skip")
    with pytest.raises(InputError, match=f"{MAX_CONSECUTIVE} consecutive steps .*step {7 + MAX_CONSECUTIVE}"):
        job.run()


def test_after_a_signal_it_finishes_the_step_saves_closes_its_reader_and_resumes_from_there(tmp_path):
    job = Job(tmp_path, total=9, save=4, evaluate=0)
    step, read, closed = job.run_.train_step, job.run_.data.read, []

    def noted(plans):
        try:
            yield from read(plans)
        finally:
            closed.append(True)

    job.run_.data.__dict__["read"] = noted

    def interrupted(state, batch):
        if int(state.step) == 5:
            job.stopping.received = "SIGTERM"
        return step(state, batch)

    job.run_.__dict__["train_step"] = interrupted
    with pytest.raises(Stopped, match=r"SIGTERM.*step 6 of 9") as stopped:
        job.run()
    assert stopped.tb  # which still holds the loop's variables
    assert closed == [True]
    assert job.kept() == [4, 6]
    job.run_.__dict__["train_step"], job.stopping = step, Stopping()
    job.run()
    assert job.reported[0] == "step 7"
    assert job.records() == [*((s, 1.0) for s in range(1, 10)), (9, "evaluation")]


def test_an_evaluation_that_was_cut_off_is_made_up_for(tmp_path):
    whole, cut = (Job(tmp_path / name, scores={4: 9.0, 8: 5.0}) for name in ("whole", "cut"))
    whole.run()

    def interrupt(step):
        cut.stopping.received = "SIGINT"
        raise Stopped("SIGINT")

    cut.scorer.interrupt = interrupt
    with pytest.raises(Stopped, match=r"SIGINT.*step 4 of 8"):
        cut.run()
    cut.scorer.interrupt, cut.stopping = None, Stopping()
    cut.run()
    assert cut.reported[:2] == ["evaluate 4", "step 5"]
    assert cut.records() == whole.records()
    assert cut.kept("best") == whole.kept("best") == [4]
    assert (cut.progress.best_mAP, cut.progress.best_step) == (9.0, 4)


def test_a_resumed_run_knows_the_step_of_its_best(tmp_path):
    job = Job(tmp_path, total=6, scores={4: 9.0, 6: 5.0})
    job.run()
    job.run_.__dict__["total_steps"] = 8
    job.run()
    assert (job.progress.best_mAP, job.progress.best_step) == (9.0, 4)


def test_a_best_checkpoint_that_was_removed_is_reported_with_its_step(tmp_path):
    job = Job(tmp_path, total=6, scores={4: 9.0, 6: 5.0})
    job.run()
    assert (job.progress.best_mAP, job.progress.best_step) == (9.0, 4)
    shutil.rmtree(tmp_path / "checkpoints" / "best")
    job.run_.__dict__["total_steps"] = 8
    job.run()
    (line,) = [text for text in job.said if "is missing" in text]
    assert "step 4" in line
    assert (job.progress.best_mAP, job.progress.best_step) == (1.0, 8)


def test_killed_between_the_evaluation_and_the_save_of_the_best_it_is_saved_after_all(tmp_path):
    job = Job(tmp_path, scores={4: 9.0, 8: 5.0})
    job.run_.__dict__["total_steps"] = 4
    job.run()
    shutil.rmtree(tmp_path / "checkpoints" / "best" / "4")
    job.run_.__dict__["total_steps"] = 8
    job.run()
    assert job.kept("best") == [4]
    assert job.records().count((4, "evaluation")) == 1


def test_a_damaged_best_is_quarantined_and_ends_nothing(tmp_path):
    job = Job(tmp_path, total=6, scores={4: 9.0, 6: 5.0})
    job.run()
    (tmp_path / "checkpoints" / "best" / "4" / "record" / "metadata").write_text("{}")
    job.run_.__dict__["total_steps"] = 8
    job.run()
    assert any("best/4 is damaged" in text and "quarantine/best-4-1" in text for text in job.said)
    assert job.kept("best") == [8]


def test_after_a_damaged_latest_the_best_that_is_newer_stays(tmp_path):
    job = Job(tmp_path, scores={4: 3.0, 8: 5.0})
    job.run()
    assert job.kept("best") == [8]
    (tmp_path / "checkpoints" / "latest" / "8" / "record" / "metadata").write_text("{}")
    job.run()
    assert job.reported[0] == "step 5"
    assert any("latest/8 is damaged" in text for text in job.said)
    assert job.kept("best") == [8]
    assert job.records().count((8, 1.0)) == 1
    np.testing.assert_equal(job.progress.best_mAP, 5.0)
