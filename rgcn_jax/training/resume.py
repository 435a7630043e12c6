"""Resuming a run: restore the newest intact checkpoint, quarantine damaged ones, and log each."""

from collections.abc import Callable

from rgcn_jax.training.checkpoint import Checkpoints, DamagedError
from rgcn_jax.training.state import Progress, TrainState


def resume(
    checkpoints: Checkpoints, fresh: TrainState, *, changed: Callable[[Progress], bool], say: Callable[[str], None]
) -> tuple[TrainState, Progress]:
    """The state and progress of the newest intact checkpoint, or ``fresh`` ones where there is none at all.

    ``changed``: whether what is trained from this progress on is something else than what the checkpoints were trained
    with (``allow_config_change``), so that a best state of later steps is of a way that is not taken any more.

    Raises:
      InputError: all checkpoints are damaged, or they are of another model; or what ``changed`` raises.
    """
    for name in checkpoints.remove_unfinished():
        say(f"removed: {name}, an unfinished save")
    state, progress = fresh, Progress()
    if found := checkpoints.newest_intact("latest", fresh):
        state, record, reports = found
        for sentence in reports:
            say(sentence)
        progress = Progress.of(record)
    _resume_best(checkpoints, fresh, progress, changed(progress), say)
    return state, progress


def _resume_best(
    checkpoints: Checkpoints, fresh: TrainState, progress: Progress, changed: bool, say: Callable[[str], None]
) -> None:
    """Sets ``progress`` to the best state that is on the disk, which may be newer than the latest one: where a run
    was lost after an evaluation, or a later checkpoint was quarantined. The steps until then come out the same again.
    """
    had, progress.best_mAP, progress.best_step = progress.best_step, None, None
    step = checkpoints.latest_step("best")
    if step is None:
        if had is not None:
            say(f"the best checkpoint, of step {had}, is missing: the best from now on is kept")
        return
    if changed and step > progress.step:
        there = checkpoints.quarantine("best", step)
        say(f"the best checkpoint, of step {step}, is of the config before: it is now {there}")
        return
    try:
        found = checkpoints.newest_intact("best", fresh)
    except DamagedError as error:
        say(f"{error} It is now {checkpoints.quarantine('best', step)}; the best from now on is kept.")
        return
    if found:
        best = Progress.of(found[1])
        progress.best_mAP, progress.best_step = best.best_mAP, best.best_step
