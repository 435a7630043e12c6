"""Profiling of a range of training steps with JAX's profiler, on host and device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from rgcn_jax.errors import printable

FOLDER = "profile"


class Profile:
    """Records the steps (first, last), inclusive, into ``<workdir>/profile``; None: nothing.

    Use ``with Profile(...) as profile:`` around the loop, and call ``profile.step(number)`` at the beginning of each
    step. Steps are counted from 1, as in ``metrics.jsonl``; input, logging, checkpointing and evaluation are part of
    their step. Open the files with TensorBoard (tensorboard-plugin-profile), or ``perfetto_trace.json.gz`` in
    https://ui.perfetto.dev.
    """

    def __init__(self, steps: tuple[int, int] | None, workdir: Path):
        self._folder, self._recording = workdir / FOLDER, False
        self._step: jax.profiler.StepTraceAnnotation | None = None
        self._first, self._last = steps or (0, -1)

    def due(self, number: int) -> bool:
        """Whether ``step`` starts or ends the recording at this step, which takes seconds."""
        return number > self._last if self._recording else self._first <= number <= self._last

    def step(self, number: int) -> None:
        """Start or end the recording if due; mark the beginning of the step in it."""
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
        """Write the recording, if there is one."""
        self._end_step()
        if self._recording:
            self._recording, self._last = False, -1  # one recording per run
            self._can(jax.profiler.stop_trace)

    def _can(self, action: Callable[..., object], *arguments: Any, **keywords: Any) -> bool:
        """Call the profiler; return whether it succeeded. An unwritable profile does not end the run."""
        try:
            action(*arguments, **keywords)
        except Exception as error:  # the profiler may raise anything on a full disk
            print(printable(f"no profile was written to {self._folder} ({error!s})"), flush=True)
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
