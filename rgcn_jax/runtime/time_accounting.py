"""Time accounting: wall time of each phase of a run, printed at its end and stored in ``results.json``."""

import time

PARTS = ("start", "compile", "input", "step", "logging", "checkpoint", "evaluation", "profile")
"""Phases. ``start``: imports, opening the data, building the model, restoring a checkpoint. ``compile``: tracing and
compiling the training step, while the first batches are read. ``input``: waiting for a batch. ``step``: waiting for the
device. ``profile``: starting and writing the recording of ``profile_steps``.
"""


class Seconds:
    """Divides the time since its creation into ``PARTS``, exactly one of which is active at any time."""

    def __init__(self):
        self._spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._part, self._since = "start", time.monotonic()

    def now(self, part: str) -> None:
        """Switch to another phase."""
        now = time.monotonic()
        self._spent[self._part] += now - self._since
        self._part, self._since = part, now

    def spent(self) -> dict[str, float]:
        """Seconds spent in each phase so far, and their sum, ``total``."""
        self.now(self._part)
        return self._spent | {"total": sum(self._spent.values())}

    def summary(self) -> str:
        """A line with all phases that took any time, in descending order."""
        spent = self.spent()
        parts = sorted(PARTS, key=lambda part: -spent[part])
        return f"{spent['total']:.1f} s: " + ", ".join(f"{p} {spent[p]:.1f}" for p in parts if spent[p] >= 0.05)
