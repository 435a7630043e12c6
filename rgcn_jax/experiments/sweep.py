"""Sweeps: train the cells of a table one after another in this process; finished cells are skipped.

Several processes may work on the same cells: a run that another process is training is skipped. JAX is started once per
process, and runs that differ only in the seed reuse programs from the compilation cache.
"""

import gc
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, cast

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.experiments.cells import Cell
from rgcn_jax.runtime.files import refuse_links, write_text
from rgcn_jax.runtime.json_lines import append_json_line, read_json_lines
from rgcn_jax.runtime.output import RobustStream
from rgcn_jax.runtime.preemption import Stopped, Stopping
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.runtime.workdir import InUseError, WorkDir

LOG_FILE, RECORD_FILE, SECONDS_FILE = "log.txt", "sweep.json", "seconds.jsonl"

POLL_SECONDS = 10.0
"""Interval of polling a run that another process trains and that one of our cells depends on."""


class Sweep:
    """Trains every cell that is not finished.

    A failed cell is reported and the others are run. A cell that needs the appearance features of another run waits for
    it, or trains it if no process does.

    Args:
      stopping: signal handler, entered by the command.
      say: called with a line on each cell.

    Attributes:
      failed: names of the cells that failed. ``elsewhere``: names of those that other processes train.
    """

    def __init__(self, stopping: Stopping, say: Callable[[str], object]):
        self._stopping, self._say = stopping, say
        self.failed: list[str] = []
        self.elsewhere: list[str] = []

    def run(self, cells: Sequence[Cell]) -> None:
        """Run the cells in their order. Raises Stopped after a signal; the state of the run has been saved."""
        waiting = list(cells)
        while waiting:
            postponed: list[Cell] = []
            for cell in waiting:
                if self._stopping.received:
                    raise Stopped(f"received {self._stopping.received}: rerun the same command to resume.")
                state = self._attempt(cell)
                if state == "waits":
                    postponed.append(cell)
                elif state == "in use":
                    self.elsewhere.append(cell.name)
            if len(postponed) == len(waiting):
                with self._stopping.interruptible():
                    time.sleep(POLL_SECONDS)
            waiting = postponed

    def _attempt(self, cell: Cell) -> str:
        """Try to run a cell; return "finished", "failed", "in use" or "waits"."""
        if cell.name in self.failed:
            return "failed"
        if cell.finished:
            return "finished"
        if cell.features_run is not None and not cell.features_run.features.exists():
            state = self._attempt(cell.features_run)
            if state == "in use":
                return "waits"
            if state == "failed" or self._guarded(cell.features_run, _write_features) != "finished":
                self._say(f"{cell.name}: failed, since {cell.features_run.name} failed")
                self.failed.append(cell.name)
                return "failed"
        if cell.results() is None and (state := self._guarded(cell, _train)) != "finished":
            return state
        return self._guarded(cell, _evaluate) if cell.unevaluated else "finished"

    def _guarded(self, cell: Cell, work: Callable[[Cell, Stopping], str]) -> str:
        """Do the work with its output redirected to the cell's log, and report the outcome."""
        log = cell.folder / LOG_FILE
        start = time.monotonic()
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)  # training locks an existing folder at once
            refuse_links(cell.folder, (LOG_FILE, SECONDS_FILE))
            with _log_file(log):
                try:
                    done = work(cell, self._stopping)
                except InUseError:
                    raise
                except Exception:
                    traceback.print_exc()
                    raise
                finally:  # release the compiled programs and arrays; the next run uses the compilation cache on disk
                    import jax

                    jax.clear_caches()
                    gc.collect()
        except InUseError:
            return "in use"
        except Exception as error:  # other cells continue after any failure; the log has the traceback
            what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {str(error)[:300]}"
            self._say(f"{cell.name}: failed, {what} See {log}.")
            self.failed.append(cell.name)
            return "failed"
        self._say(f"{cell.name}: {done}, {time.monotonic() - start:.0f} s")
        return "finished"


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Append output printed in this block to a file; failed writes are ignored."""
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        stream = RobustStream(file)
        try:
            with redirect_stdout(cast(Any, stream)), redirect_stderr(cast(Any, stream)):
                yield
        finally:
            stream.guard_final_flush()


def _train(cell: Cell, stopping: Stopping) -> str:
    from rgcn_jax.training.train import train  # imports JAX, which printing a table does not need

    start = time.monotonic()
    try:
        found = train(cell.config, cell.folder, stopping=stopping)
    finally:
        with suppress(InputError):  # the total time is only informative
            append_json_line(cell.folder / SECONDS_FILE, {"seconds": round(time.monotonic() - start, 1)})
    headline = next(found[row] for row in ("fused", "appearance", "pose") if row in found)
    return f"mAP {headline['mAP']:.1f}, Rank-1 {headline['rank1']:.1f}"


def _evaluate(cell: Cell, stopping: Stopping) -> str:
    """Score the last weights of a finished run with the other ``evaluation.clips`` in the table's columns."""
    from rgcn_jax.embedder import load
    from rgcn_jax.evaluation.results import write_results
    from rgcn_jax.evaluation.scorer import Scorer
    from rgcn_jax.runtime.provenance import provenance
    from rgcn_jax.training.run import open_process_data

    summaries = []
    with WorkDir(cell.folder), stopping.interruptible():
        embedder, data = load(cell.folder), open_process_data(cell.config)
        for clips in cell.unevaluated:
            config, file = cell.evaluated(clips)
            found = Scorer(config, embedder.model, data, embedder.mesh).evaluate(embedder.variables, embedder.step)
            file.parent.mkdir(exist_ok=True)
            extra = {"model": embedder.hash, "config": config.to_dict(), **provenance(data.split)}
            write_results(file, found, extra)
            summaries.append(f"{clips} {found.summary()}")
    return "; ".join(summaries)


def _write_features(cell: Cell, stopping: Stopping) -> str:
    """Embed all tracklets of a finished run with its last weights."""
    from rgcn_jax.embedder import load
    from rgcn_jax.evaluation.feature_set import join, write_features
    from rgcn_jax.evaluation.scorer import Scorer
    from rgcn_jax.training.run import open_process_data

    with stopping.interruptible():
        embedder = load(cell.folder)
        scorer = Scorer(cell.config, embedder.model, open_process_data(cell.config), embedder.mesh)
        header = {"model": embedder.hash, "config": cell.config.to_dict()}
        tested = scorer.features(embedder.variables, embedder.step, header)
        features = join(tested, scorer.train_features(embedder.variables, embedder.step))
        write_features(cell.features, features)
    return f"features of {len(features.first_frames):,} tracklets"


def total_seconds(folder: Path) -> float | None:
    """Wall time of a run over all processes that trained it, except killed ones; None if no sweep ran it."""
    try:
        entries, _ = read_json_lines(folder / SECONDS_FILE)
        return float(sum(entry["seconds"] for entry, _ in entries)) if entries else None
    except (OSError, KeyError, TypeError, OverflowError):
        return None


def record(out: Path, data_set: str, overrides: Sequence[str], repetitions: Sequence[tuple[int, int]]) -> None:
    """Record the requested runs in ``OUT/sweep.json``, so that ``--print`` can print the table later.

    Repetitions (seed, split) of earlier calls are kept.

    Raises:
      InputError: the file cannot be written.
    """
    everything = read_record(out)
    before = everything.get(data_set, {}).get("repetitions", [])
    union = sorted({tuple(pair) for pair in [*before, *repetitions]})
    everything[data_set] = {"overrides": list(overrides), "repetitions": [list(pair) for pair in union]}
    with as_input_error(f"--out={out} cannot be created", "choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
    write_text(out / RECORD_FILE, json.dumps(everything, indent=2) + "\n")


def read_record(out: Path) -> dict[str, Any]:
    """Read what ``record`` wrote: data set -> {overrides, repetitions}; empty if there is no file.

    Raises:
      InputError: the file is damaged.
    """
    file = out / RECORD_FILE
    try:
        found = json.loads(read_text(file))
        record = {name: {k: list(entry[k]) for k in ("overrides", "repetitions")} for name, entry in found.items()}
        for entry in record.values():
            pairs = [tuple(map(type, pair)) for pair in entry["repetitions"]]
            if not all(isinstance(text, str) for text in entry["overrides"]) or {*pairs} - {(int, int)}:
                raise ValueError("unexpected fields")
        return record
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error}): remove it and rerun the sweep.") from error
