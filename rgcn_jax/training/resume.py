"""Resuming a run: restore the newest intact checkpoint, quarantine damaged ones, and report each."""

from collections.abc import Callable

from rgcn_jax.training.checkpoint import Checkpoints, DamagedError
from rgcn_jax.training.state import Progress, TrainState


def resume(
    checkpoints: Checkpoints, fresh: TrainState, *, changed: Callable[[Progress], bool], say: Callable[[str], None]
) -> tuple[TrainState, Progress]:
    """Restore state and progress of the newest intact checkpoint; ``fresh`` ones if there is no checkpoint.

    ``changed``: returns whether training continues with another config or data than the checkpoints'
    (``allow_config_change``), so that a best state of later steps is no longer valid. Raises InputError if all
    checkpoints are damaged, or of another model.
    """
    for name in checkpoints.remove_unfinished():
        say(f"removed: {name}, an unfinished save")
    state, progress = fresh, Progress()
    if found := checkpoints.newest_intact("latest", fresh):
        state, record, reports = found
        for sentence in reports:
            say(sentence)
        progress = Progress(**record)
    _resume_best(checkpoints, fresh, progress, changed(progress), say)
    return state, progress


def _resume_best(
    checkpoints: Checkpoints, fresh: TrainState, progress: Progress, changed: bool, say: Callable[[str], None]
) -> None:
    """Set ``progress`` to the best state on disk, which may be newer than the latest checkpoint.

    This happens if the run was killed after an evaluation, or a later checkpoint was quarantined. The steps in between
    are repeated with the same result.
    """
    previous, progress.best_mAP, progress.best_step = progress.best_step, None, None
    step = checkpoints.latest_step("best")
    if step is None:
        if previous is not None:
            say(f"the best checkpoint, of step {previous}, is missing: the best one from now on is kept")
        return
    if changed and step > progress.step:
        there = checkpoints.quarantine("best", step)
        say(f"the best checkpoint, of step {step}, is of the previous config: moved to {there}")
        return
    try:
        found = checkpoints.newest_intact("best", fresh)
    except DamagedError as error:
        say(f"{error} Moved to {checkpoints.quarantine('best', step)}; the best one from now on is kept.")
        return
    if found:
        best = Progress(**found[1])
        progress.best_mAP, progress.best_step = best.best_mAP, best.best_step
