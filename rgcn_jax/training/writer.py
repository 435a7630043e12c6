"""Metric writers: terminal, ``metrics.jsonl`` and experiment trackers."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rgcn_jax.runtime.files import atomic_file, writing
from rgcn_jax.runtime.json_lines import append_record, open_to_append, read_json_lines
from rgcn_jax.training.tracker import Tracker

METRICS_FILE = "metrics.jsonl"


class Writer:
    """Writes metrics to ``metrics.jsonl``, to trackers, and to a progress bar, or as lines if there is no terminal.

    Records of steps after ``first_step``, from a killed run, are dropped, since these steps are repeated; ``dropped``
    counts them. ``last_evaluation``: record of the last evaluation, or None. A tracker that fails is reported and
    disabled.

    Raises:
      InputError: a file cannot be written.
    """

    def __init__(self, workdir: Path, total_steps: int, first_step: int, trackers: Sequence[Tracker] = ()):
        self.last_evaluation: dict[str, Any] | None = None
        self.dropped = 0
        self._path = workdir / METRICS_FILE
        with writing(self._path):
            workdir.mkdir(parents=True, exist_ok=True)
            self.last_evaluation, self.dropped = _keep_records(self._path, first_step)
            self._file = open_to_append(self._path)
        self._terminal = _has_terminal()
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            disable=not self._terminal,
            leave=False,
        )
        self._total = total_steps
        self._trackers = list(trackers)

    def train(self, step: int, metrics: Mapping[str, float | int]) -> None:
        """Write a training record: ``step`` and flat metrics."""
        self._record({"step": step, **metrics})
        shown = {name: metrics[name] for name in ("loss", "lambda", "skipped_steps") if name in metrics}
        frames = f"{metrics['frames_per_second']:.0f}"
        if self._terminal:
            self._bar.set_postfix({k: _shown(v) for k, v in shown.items()} | {"frames/s": frames}, refresh=False)
            self._bar.update(step - self._bar.n)
        else:
            left = metrics["seconds_left"]
            values = "  ".join(f"{k} {_shown(v)}" for k, v in shown.items())
            self.say(f"step {step}/{self._total}  {values}  {frames} frames/s  {left / 60:.1f} min left")
        self._show({f"train/{name}": value for name, value in metrics.items()}, step)

    def evaluation(self, step: int, rows: Mapping[str, Mapping[str, float]], extra: Mapping[str, Any]) -> None:
        """Write an evaluation record: ``step``, the metrics of each row (appearance, pose, fused), and ``extra``."""
        self.last_evaluation = {"step": step, **rows, **extra}
        self._record(self.last_evaluation)
        self._show({f"{row}/{name}": value for row, metrics in rows.items() for name, value in metrics.items()}, step)

    def _show(self, scalars: Mapping[str, float | int], step: int) -> None:
        for tracker in list(self._trackers):
            try:
                tracker.add(scalars, step)
            except Exception as error:  # clients raise anything
                self._give_up(tracker, error)

    def _give_up(self, tracker: Tracker, error: Exception) -> None:
        self._trackers.remove(tracker)
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        self.say(f"{tracker.name} is disabled after an error ({reason}); metrics.jsonl has all metrics")

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._bar.write(text, file=sys.stderr)

    def flush(self) -> None:
        """Flush and fsyncs ``metrics.jsonl``; called before each checkpoint."""
        with writing(self._path):
            os.fsync(self._file)

    def _record(self, record: Mapping[str, Any]) -> None:
        """Append a record; non-finite values (of skipped steps) become null, since JSON cannot represent them."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        with writing(self._path):
            append_record(self._file, plain)

    def close(self) -> None:
        """Close the files and remove the progress bar."""
        self._bar.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        for tracker in list(self._trackers):
            try:
                tracker.close()
            except Exception as error:
                self._give_up(tracker, error)
        self._trackers = []

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SilentWriter(Writer):
    """A ``Writer`` without output, for all but the first of several processes."""

    def __init__(self):
        self.last_evaluation, self.dropped = None, 0

    def _nothing(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    train = evaluation = say = flush = close = _nothing


def _has_terminal() -> bool:
    """Whether stderr is a terminal with a size; some containers have one without."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def _shown(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _keep_records(path: Path, last_step: int) -> tuple[dict[str, Any] | None, int]:
    """Keep the records up to ``last_step``; return the last evaluation among them, and the number of dropped ones."""
    records, dropped = read_json_lines(path)
    kept = [(record, line) for record, line in records if _step(record) <= last_step]
    dropped += len(records) - len(kept)
    if dropped:
        with atomic_file(path) as file:
            file.writelines(line for _, line in kept)
    evaluations = [record for record, _ in kept if "appearance" in record or "pose" in record]
    return evaluations[-1] if evaluations else None, dropped


def _step(record: Mapping[str, Any]) -> int | float:
    """Step of a record; infinite if it has none."""
    step = record.get("step")
    return step if type(step) is int else math.inf
