"""A profile of some steps of a run, made by the run itself: where the time goes, on the host and on the device."""

import re
from pathlib import Path

import jax

from rgcn_jax.errors import InputError

FOLDER = "profile"


class Profile:
    """Records the steps ``first`` to ``last`` of "first:last" into ``<workdir>/profile``; with "", nothing.

    Used as ``with Profile(...) as profile:`` around the loop, which calls ``profile.step(number)`` at the beginning of
    each step. Steps are counted from 1, as in ``metrics.jsonl``; what is done besides training (input, logging,
    checkpoint, evaluation) is a part of its step. The files are opened with TensorBoard (its plugin
    tensorboard-plugin-profile) or, ``perfetto_trace.json.gz``, in https://ui.perfetto.dev.

    Raises:
      InputError: the steps are not of the form "first:last".
    """

    def __init__(self, steps: str, workdir: Path):
        self._folder, self._recording = workdir / FOLDER, False
        self._step: jax.profiler.StepTraceAnnotation | None = None
        self._first, self._last = parse_steps(steps)

    def due(self, number: int) -> bool:
        """Whether ``step`` starts or ends the recording at this step, which takes seconds."""
        return number > self._last if self._recording else self._first <= number <= self._last

    def step(self, number: int) -> None:
        """Starts or ends the recording where it is time; names the step in it, and ends the one before."""
        self._end_step()
        if self.due(number):
            if self._recording:
                self.stop()
            else:
                jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
                self._recording = True
        if self._recording:
            self._step = jax.profiler.StepTraceAnnotation("step", step_num=number)
            self._step.__enter__()

    def stop(self) -> None:
        """Writes what is recorded, if anything is."""
        self._end_step()
        if self._recording:
            self._recording, self._last = False, -1  # one recording a run
            jax.profiler.stop_trace()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def check_within(steps: str, total: int) -> None:
    """Raises ``InputError`` where "first:last" begins after the last of ``total`` steps: nothing would be recorded."""
    if parse_steps(steps)[0] > total:
        raise InputError(f"profile_steps is {steps!r}, but the run ends with step {total}: choose earlier steps.")


def parse_steps(steps: str) -> tuple[int, int]:
    """(first, last) of "first:last", both recorded; of "", (0, -1), which no step lies between.

    Raises:
      InputError: it is of another form, or ends before it begins.
    """
    if not steps:
        return 0, -1
    found = re.fullmatch(r"(\d+):(\d+)", steps)
    first, last = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= first <= last:
        raise InputError(
            f'profile_steps is {steps!r}: expected "first:last", steps counted from 1, such as "100:110", or nothing.'
        )
    return first, last
