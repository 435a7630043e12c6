"""Profiling of some steps of a run with JAX's profiler: where the time goes, on the host and on the device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from rgcn_jax.errors import printable

FOLDER = "profile"


class Profile:
    """Records the steps (first, last), both included, into ``<workdir>/profile``; with None, nothing.

    Used as ``with Profile(...) as profile:`` around the loop, which calls ``profile.step(number)`` at the beginning of
    each step. Steps are counted from 1, as in ``metrics.jsonl``; what is done besides training (input, logging,
    checkpoint, evaluation) is a part of its step. The files are opened with TensorBoard (its plugin
    tensorboard-plugin-profile) or, ``perfetto_trace.json.gz``, in https://ui.perfetto.dev.

    """

    def __init__(self, steps: tuple[int, int] | None, workdir: Path):
        self._folder, self._recording = workdir / FOLDER, False
        self._step: jax.profiler.StepTraceAnnotation | None = None
        self._first, self._last = steps or (0, -1)

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
                self._recording = self._can(jax.profiler.start_trace, self._folder, create_perfetto_trace=True)
        if self._recording:
            self._step = jax.profiler.StepTraceAnnotation("step", step_num=number)
            self._step.__enter__()

    def stop(self) -> None:
        """Writes what is recorded, if anything is."""
        self._end_step()
        if self._recording:
            self._recording, self._last = False, -1  # one recording a run
            self._can(jax.profiler.stop_trace)

    def _can(self, action: Callable[..., object], *arguments: Any, **keywords: Any) -> bool:
        """Whether that worked. A profile that cannot be written ends no run."""
        try:
            action(*arguments, **keywords)
        except Exception as error:  # whatever the profiler makes of a full disk
            print(printable(f"there is no profile in {self._folder} ({error!s})"), flush=True)
            self._last = -1
            return False
        return True

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
