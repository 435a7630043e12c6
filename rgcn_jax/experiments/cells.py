"""Cells of a sweep: the config, output folder and state of each run of a table.

Folder names combine the models and a hash of the configuration, so that tables with the same ``--out`` share common
runs: ``OUT/walkers/AP+RGCN-1f3a90c2/seed0-split1``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from rgcn_jax.config import Config
from rgcn_jax.config_io import CONFIG_FILE, override, packaged_config, typed
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import ROWS
from rgcn_jax.evaluation.results import RESULTS_FILE, queries_path
from rgcn_jax.experiments.scored_run import PLACE, REPETITION
from rgcn_jax.experiments.table import Row, Table
from rgcn_jax.fields import leaves
from rgcn_jax.runtime.user_files import read_text

PAPER_CONFIGS = {"walkers": "walkers_paper"}
"""Data set -> name of the config with the paper's model, where it differs from the data set's name."""

SPLIT_COUNTS = {"ilids_vid": 10, "prid2011": 10}
"""Number of published splits, for data sets with several; ``--splits`` applies to these only."""

FEATURES_FILE = "features.npz"
"""Features of all tracklets, saved next to the results of a run whose appearance features other runs use."""

NO_EFFECT = (
    *PLACE,
    "log_every_steps",
    "checkpoint_every_steps",
    "eval_every_epochs",
    "allow_config_change",
    "data.follow_links",
    "tracker",
    "model.remat",
)
"""Fields that do not affect the results of the last step."""


@dataclass(frozen=True)
class Cell:
    """One run: a row of a table on a data set with a seed and a split.

    ``features_run``: the run whose appearance features it uses. ``also``: further values of ``evaluation.clips`` to
    evaluate.
    """

    row: str
    data_set: str
    config: Config
    folder: Path
    features_run: "Cell | None" = None
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        split = f" split {self.config.data.split}" if self.data_set in SPLIT_COUNTS else ""
        return f"{self.data_set}, {self.row}, seed {self.config.seed}{split}"

    @property
    def features(self) -> Path:
        """Path of the features file of this run, for other runs."""
        return self.folder / FEATURES_FILE

    def evaluated(self, clips: str) -> tuple[Config, Path]:
        """The config with another ``evaluation.clips`` (empty: its own), and the path of its results."""
        if clips in ("", self.config.evaluation.clips):
            return self.config, self.folder / RESULTS_FILE
        evaluation = replace(self.config.evaluation, clips=clips)
        return replace(self.config, evaluation=evaluation), self.folder / "evaluations" / f"sweep-{clips}.json"

    def results(self, clips: str = "") -> dict[str, Any] | None:
        """Contents of ``results.json``, or for other ``clips`` of ``evaluations/sweep-CLIPS.json``.

        None if the file does not exist or is of another config.
        """
        config, file = self.evaluated(clips)
        try:
            found = json.loads(read_text(file))
            same = _effective(typed(found["config"], lambda _: None)) == _effective(config)
            numbers = [number for row in ROWS if row in found for number in found[row].values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        whole = all(type(number) in (int, float) for number in numbers)
        return found if same and whole and queries_path(file).is_file() else None

    @property
    def unevaluated(self) -> list[str]:
        """Members of ``also`` without results."""
        return [clips for clips in self.also if self.results(clips) is None]

    @property
    def finished(self) -> bool:
        """Whether all results exist."""
        return self.results() is not None and not self.unevaluated

    def state(self) -> str:
        """State of the run: finished, begun, or not begun."""
        if self.finished:
            return "finished"
        return "begun" if (self.folder / CONFIG_FILE).exists() else "not begun"


def cells(
    table: Table, data_set: str, seeds: Sequence[int], splits: Sequence[int], overrides: Sequence[str], out: Path
) -> list[Cell]:
    """All runs of a table on a data set, ordered by row, seed and split; runs that others depend on come first.

    ``seeds``: of weights and batches; on walkers also of the generated persons. ``splits``: published splits, for a
    data set that has several. ``overrides``: "--config.field=value" arguments for every run.

    Raises:
      InputError: a config is invalid.
    """
    splits = splits if data_set in SPLIT_COUNTS else [1]
    made: dict[tuple[str, int, int], Cell] = {}
    rows = [row for row in table.rows if row.overrides is not None]
    bases = {table.features_row(data_set, row.name) for row in rows}
    rows.sort(key=lambda row: row.name not in bases)
    for row, seed, split in product(rows, seeds, splits):
        base = made.get((table.features_row(data_set, row.name), seed, split))
        made[row.name, seed, split] = _cell(table, row, data_set, seed, split, overrides, out, base)
    return list(made.values())


def _cell(
    table: Table,
    row: Row,
    data_set: str,
    seed: int,
    split: int,
    overrides: Sequence[str],
    out: Path,
    base: Cell | None,
) -> Cell:
    def config(values: Mapping[str, Any], *more: str) -> Config:
        arguments = [f"--config.{name}={value}" for name, value in values.items()]
        return typed(
            override(packaged_config(PAPER_CONFIGS.get(data_set, data_set)), [*arguments, *overrides, *more]),
            print,
            f"row {row.name}",
        )

    repetition = [f"--config.seed={seed}", f"--config.data.split={split}"]
    if data_set == "walkers":
        repetition.append(f"--config.data.walkers.seed={seed}")
    values = {**table.base.get(data_set, {}), **(row.overrides or {})}
    whole = config(values, *repetition)
    clips = dict.fromkeys(column.clips for column in table.columns if column.data_set == data_set)
    also = tuple(name for name in clips if name not in ("", whole.evaluation.clips))
    base, own = base if whole.with_pose else None, whole
    if base is not None:
        precomputed = {
            "model.appearance": "precomputed",
            "data.features": str(base.features),
            "model.pretrained": "",
            "model.remat": "none",
        }
        own = config(values, *(f"--config.{name}={value}" for name, value in precomputed.items()), *repetition)
    return Cell(row.name, data_set, own, _folder(out, data_set, own, whole, base), base, also)


def _folder(out: Path, data_set: str, config: Config, whole: Config, base: Cell | None) -> Path:
    """Folder named by fields that differ from the defaults, so that fields added later do not change it."""
    defaults = _effective(Config())
    changed = {n: v for n, v in _effective(config).items() if v != defaults.get(n) and n not in REPETITION}
    text = json.dumps([changed, base.folder.parent.name if base else ""], sort_keys=True)
    models = f"{whole.model.appearance}+{whole.model.pose}".replace("/", "-").replace(":", "-")
    hashed = hashlib.sha256(text.encode()).hexdigest()[:8]
    return out / data_set / f"{models}-{hashed}" / f"seed{config.seed}-split{config.data.split}"


def _effective(config: Config) -> dict[str, Any]:
    """Fields that affect the results, by dotted name."""
    return {name: value for name, _, value in leaves(config) if name not in NO_EFFECT}


def number_list(text: str, option: str, least: int) -> list[int]:
    """Parse "0:4" (both ends included), "0,2,5" or "3". Raises InputError for any other text."""
    numbers: list[int] = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        if not first.isdecimal() or len(first) > 9 or (colon and (not last.isdecimal() or len(last) > 9)):
            raise InputError(f"{option}={text[:100]}: expected numbers such as 0:4 (0 to 4), 0,2,5 or 3.")
        numbers += range(int(first), int(last or first) + 1) if int(last or first) - int(first) < 10_000 else []
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < least:
        raise InputError(f"{option}={text[:100]}: expected distinct numbers of {least} or more, such as {least}:4.")
    return numbers
