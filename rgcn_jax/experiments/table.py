"""A table of experiments: rows (models, as overrides of a config), columns (data set and metric), published numbers.

A table file is a Python file with ``get_table()``, such as ``configs/tables/table3.py``. ``rgcn-jax sweep`` trains its
cells and prints it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from rgcn_jax.config_evaluation import CLIPS
from rgcn_jax.config_io import configs_folder, import_from_current_folder
from rgcn_jax.errors import InputError, as_input_error, listed

METRICS = {
    "mAP": "mAP",
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "minutes": "minutes",
}
"""Metrics of a column and how they are printed: per cent, but for the minutes of training and evaluation."""

RESULT_ROWS = ("fused", "pose", "appearance")


@dataclass(frozen=True)
class Column:
    """A metric on a data set.

    ``data_set``: name of the packaged config that its runs begin with, such as "mars". ``metric``: of ``METRICS``.
    ``of``: row of the results: "fused" (of a model with one branch, that branch), "pose" or "appearance". ``clips``:
    another ``evaluation.clips`` than that of the runs, whose last weights are then evaluated so as well.
    """

    data_set: str
    metric: str
    of: str = "fused"
    clips: str = ""

    @property
    def title(self) -> str:
        """Such as "mars mAP", "walkers pose Rank-1" or "walkers pose Rank-1, even"."""
        of = "" if self.of == "fused" or self.metric == "minutes" else f"{self.of} "
        return f"{self.data_set} {of}{METRICS[self.metric]}{self.clips and f', {self.clips}'}"


@dataclass(frozen=True)
class Row:
    """A model.

    ``overrides``: field of the config -> value; None: a row that is quoted, never run. ``published``: (data set,
    metric) -> value printed in the paper, in per cent. ``source``: where a quoted row is from.
    """

    name: str
    overrides: Mapping[str, Any] | None
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Table:
    """Rows and columns.

    ``base``: data set -> overrides of all its rows. ``beside``: data set -> name of a row with an appearance branch
    only, or such a name for each row; the rows that have a pose branch are then trained beside its features, of the
    same seed and split, instead of with an appearance branch of their own.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    base: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    beside: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)

    def beside_row(self, data_set: str, row: str) -> str:
        """The row whose appearance features a row is trained beside on a data set; empty: none."""
        found = self.beside.get(data_set, "")
        return found if isinstance(found, str) else found.get(row, "")

    @property
    def data_sets(self) -> list[str]:
        """In the order of the columns."""
        return list(dict.fromkeys(column.data_set for column in self.columns))


def columns(*data_sets: str) -> tuple[Column, ...]:
    """The columns mAP and Rank-1 of each data set, the paper's pair."""
    return tuple(Column(name, metric) for name in data_sets for metric in ("mAP", "rank1"))


def published(**by_data_set: tuple[float, float]) -> dict[tuple[str, str], float]:
    """The paper's mAP and Rank-1 in per cent, by data set: ``published(mars=(82.6, 87.9))``."""
    pairs = {name: zip(("mAP", "rank1"), values, strict=True) for name, values in by_data_set.items()}
    return {(name, metric): value for name, pair in pairs.items() for metric, value in pair}


def load_table(path: str) -> Table:
    """The table that ``get_table()`` of a Python file returns; a name without ``.py``, such as "table3", is a table
    that comes with the package.

    Raises:
      InputError: there is no such file, it has no ``get_table`` that returns a table, or the table is inconsistent.
    """
    folder = configs_folder() / "tables"
    file, packaged = Path(path).expanduser(), folder / f"{path}.py"
    if file.name == path and packaged.is_file():
        file = packaged
    if not file.is_file():
        names = sorted(p.stem for p in folder.glob("*.py"))
        raise InputError(f"{path}: no such file or packaged table; packaged are {', '.join(names)}.")
    import_from_current_folder()
    loader = SourceFileLoader(file.stem, str(file))
    module = module_from_spec(spec_from_loader(file.stem, loader))  # pyright: ignore[reportArgumentType]
    with as_input_error(  # whatever is wrong in a user's file
        f"{path}: get_table() of this file fails", kinds=Exception
    ):
        loader.exec_module(module)
        table = module.get_table()
    if not isinstance(table, Table):
        raise InputError(f"{path}: get_table() must return a Table, found {type(table).__name__}.")
    if problems := list(_problems(table)):
        raise InputError(f"{path}: {'; '.join(problems)}.")
    return table


def _problems(table: Table) -> list[str]:
    """What is wrong with a table, a clause each."""
    names = [row.name for row in table.rows]
    wrong = [f"the row {name!r} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    wrong += [f"{kind} is empty" for kind, found in (("rows", names), ("columns", table.columns)) if not found]
    for column in table.columns:
        if column.metric not in METRICS:
            wrong.append(f"a column's metric is {column.metric!r}, expected one of {', '.join(METRICS)}")
        if column.of not in RESULT_ROWS:
            wrong.append(f"a column is of {column.of!r}, expected one of {', '.join(RESULT_ROWS)}")
        if column.clips and column.clips not in CLIPS:
            wrong.append(f"a column's clips are {column.clips!r}, expected one of {', '.join(CLIPS)}")
    for name in {*table.base, *table.beside} - set(table.data_sets):
        wrong.append(f"base or beside names {name!r}, but the columns are of {listed(table.data_sets)}")
    for row in dict.fromkeys(table.beside_row(name, row) for name in table.beside for row in names):
        if row and row not in names:
            wrong.append(f"beside names the row {row!r}, which is not there")
    return wrong
