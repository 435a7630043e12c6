"""Time accounting: the wall time of each phase of a run, printed at its end and kept in ``results.json``."""

import time

PARTS = ("start", "compile", "input", "step", "logging", "checkpoint", "evaluation", "profile")
"""``start``: imports, opening the data, building the model, restoring a checkpoint; ``compile``: tracing and compiling
the training step, while the first batches are read; ``input``: waiting for a batch; ``step``: waiting for the device;
``profile``: starting and writing what ``profile_steps`` records; the rest are what their names say.
"""


class Seconds:
    """Divides the time since it was made into ``PARTS``: exactly one of them runs at any moment, so that they add up
    to the whole.
    """

    def __init__(self):
        self._spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._part, self._since = "start", time.monotonic()

    def now(self, part: str) -> None:
        """From now on the time is spent on ``part``."""
        now = time.monotonic()
        self._spent[self._part] += now - self._since
        self._part, self._since = part, now

    def spent(self) -> dict[str, float]:
        """Seconds of each part until now, and their sum, ``total``."""
        self.now(self._part)
        return self._spent | {"total": sum(self._spent.values())}

    def summary(self) -> str:
        """One line: the parts that took any time, the longest first."""
        spent = self.spent()
        parts = sorted(PARTS, key=lambda part: -spent[part])
        return f"{spent['total']:.1f} s: " + ", ".join(f"{p} {spent[p]:.1f}" for p in parts if spent[p] >= 0.05)


class Clock:
    """Steps per second since it was made, or since it was last asked; its first step (compilation) counts like any
    other.
    """

    def __init__(self, step: int):
        self._step, self._time = step, time.monotonic()

    def steps_per_second(self, step: int) -> float:
        """The rate since the last call."""
        now = time.monotonic()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        return rate
