"""What a run tells: the terminal, ``metrics.jsonl``, and TensorBoard where tensorboardX is installed."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"


class Writer:
    """Writes numbers as they come. On a terminal a bar shows progress; elsewhere (a log file) each record is a line.

    Records of steps after ``first_step``, which a run that was cut off has left behind and which are taken again now,
    are dropped, so that ``metrics.jsonl`` has each step once, in order. ``last_evaluation`` is the step of the last
    evaluation in it, None without one.
    """

    def __init__(self, workdir: Path, total_steps: int, first_step: int):
        workdir.mkdir(parents=True, exist_ok=True)
        self.last_evaluation = _keep_records(workdir / METRICS_FILE, first_step)
        self._file = (workdir / METRICS_FILE).open("a", encoding="utf-8")
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            disable=not self._terminal,
            leave=False,
        )
        self._total = total_steps
        self._board = _tensorboard(workdir)

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """A training record: ``step`` and flat numbers."""
        self._record({"step": step, **metrics})
        shown = {"loss": metrics["loss"], "lambda": metrics["lambda"]}
        frames = f"{metrics['frames_per_second']:.0f}"
        if self._terminal:
            self._bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()} | {"frames/s": frames}, refresh=False)
            self._bar.update(step - self._bar.n)
        else:
            left = metrics["seconds_left"]
            numbers = "  ".join(f"{k} {v:.3f}" for k, v in shown.items())
            self.say(f"step {step}/{self._total}  {numbers}  {frames} frames/s  {left / 60:.1f} min left")
        if self._board:
            for name, value in metrics.items():
                self._board.add_scalar(f"train/{name}", value, step)

    def evaluation(self, step: int, rows: Mapping[str, Mapping[str, float]], extra: Mapping[str, Any]) -> None:
        """An evaluation record: ``step``, a mapping of numbers for each row (appearance, pose, fused), and what names
        them.
        """
        self._record({"step": step, **rows, **extra})
        self.last_evaluation = step
        if self._board:
            for row, numbers in rows.items():
                for name, value in numbers.items():
                    self._board.add_scalar(f"{row}/{name}", value, step)

    def say(self, text: str) -> None:
        """A line for the reader, above the bar."""
        self._bar.write(text, file=sys.stderr)

    def _record(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the files and takes the bar away."""
        self._bar.close()
        self._file.close()
        if self._board:
            self._board.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SilentWriter(Writer):
    """What all but the first of several processes have in a ``Writer``'s place: it writes and says nothing."""

    def __init__(self):
        self.last_evaluation: int | None = None

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def evaluation(self, step: int, rows: Mapping[str, Mapping[str, float]], extra: Mapping[str, Any]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _keep_records(path: Path, last_step: int) -> int | None:
    """Keeps the records up to ``last_step``; returns the step of the last evaluation among them."""
    if not path.exists():
        return None
    kept, evaluated = [], None
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the last line of a run that was killed while it wrote
            continue
        if record["step"] <= last_step:
            kept.append(line + "\n")
            evaluated = record["step"] if "appearance" in record else evaluated
    part = path.with_suffix(".tmp")
    part.write_text("".join(kept), encoding="utf-8")
    os.replace(part, path)
    return evaluated


def _tensorboard(workdir: Path) -> Any | None:
    """A TensorBoard writer, or None where tensorboardX is not installed (extra ``report``)."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(workdir / "tensorboard"))
