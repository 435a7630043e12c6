"""Tables of experiments: rows (models, as config overrides), columns (data set and metric), published numbers.

A table file is a Python file with ``get_table()``, such as ``configs/tables/table3.py``. ``rgcn-jax sweep`` trains its
cells and prints it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from rgcn_jax.config_io import configs_folder, import_from_current_folder
from rgcn_jax.config_sections import CLIPS
from rgcn_jax.errors import InputError, as_input_error, listed

METRICS = {
    "mAP": "mAP",
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "minutes": "minutes",
}
"""Metrics of columns with their titles, in per cent; minutes of training and evaluation."""

RESULT_ROWS = ("fused", "pose", "appearance")


@dataclass(frozen=True)
class Column:
    """A metric on a data set.

    ``data_set``: name of the packaged config of its runs, such as "mars". ``metric``: a key of ``METRICS``. ``of``: row
    of the results: "fused" (with one branch: that branch), "pose" or "appearance". ``clips``: ``evaluation.clips`` of
    an additional evaluation of the last weights; empty: that of the run.
    """

    data_set: str
    metric: str
    of: str = "fused"
    clips: str = ""

    @property
    def title(self) -> str:
        """Title, such as "mars mAP", "walkers pose Rank-1" or "walkers pose Rank-1, even"."""
        of = "" if self.of == "fused" or self.metric == "minutes" else f"{self.of} "
        return f"{self.data_set} {of}{METRICS[self.metric]}{self.clips and f', {self.clips}'}"


@dataclass(frozen=True)
class Row:
    """A model.

    ``overrides``: field of the config -> value; None for a quoted row without runs. ``published``: (data set, metric)
    -> value printed in the paper, in per cent. ``source``: reference of a quoted row.
    """

    name: str
    overrides: Mapping[str, Any] | None
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Table:
    """Rows and columns.

    ``base``: data set -> overrides of all its rows. ``features_from``: data set -> name of an appearance-only row, or
    such a name for each row; rows with a pose branch then use its features, of the same seed and split, instead of
    training their own appearance branch.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    base: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    features_from: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)

    def features_row(self, data_set: str, row: str) -> str:
        """Name of the row whose appearance features a row uses on a data set; empty: none."""
        found = self.features_from.get(data_set, "")
        return found if isinstance(found, str) else found.get(row, "")

    @property
    def data_sets(self) -> list[str]:
        """The data sets, in the order of the columns."""
        return list(dict.fromkeys(column.data_set for column in self.columns))


def columns(*data_sets: str) -> tuple[Column, ...]:
    """The paper's columns of each data set: mAP and Rank-1."""
    return tuple(Column(name, metric) for name in data_sets for metric in ("mAP", "rank1"))


def published(**by_data_set: tuple[float, float]) -> dict[tuple[str, str], float]:
    """The paper's mAP and Rank-1 in per cent, by data set: ``published(mars=(82.6, 87.9))``."""
    pairs = {name: zip(("mAP", "rank1"), values, strict=True) for name, values in by_data_set.items()}
    return {(name, metric): value for name, pair in pairs.items() for metric, value in pair}


def load_table(path: str) -> Table:
    """Load the table that ``get_table()`` of a Python file returns.

    A name without ``.py``, such as "table3", is a packaged table.

    Raises:
      InputError: the file does not exist, its ``get_table`` is missing or fails, or the table is inconsistent.
    """
    folder = configs_folder() / "tables"
    file, packaged = Path(path).expanduser(), folder / f"{path}.py"
    if file.name == path and packaged.is_file():
        file = packaged
    if not file.is_file():
        names = sorted(p.stem for p in folder.glob("*.py"))
        raise InputError(f"{path}: expected a file or one of the packaged tables {', '.join(names)}.")
    import_from_current_folder()
    loader = SourceFileLoader(file.stem, str(file))
    module = module_from_spec(spec_from_loader(file.stem, loader))  # pyright: ignore[reportArgumentType]
    with as_input_error(  # a user's file may raise anything
        f"{path}: get_table() of this file failed", kinds=Exception
    ):
        loader.exec_module(module)
        table = module.get_table()
    if not isinstance(table, Table):
        raise InputError(f"{path}: get_table() must return a Table, found {type(table).__name__}.")
    if problems := list(_problems(table)):
        raise InputError(f"{path}: {'; '.join(problems)}.")
    return table


def _problems(table: Table) -> list[str]:
    """Describe each error of a table."""
    names = [row.name for row in table.rows]
    wrong = [f"the row {name!r} occurs twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    wrong += [f"{kind} is empty" for kind, found in (("rows", names), ("columns", table.columns)) if not found]
    for column in table.columns:
        if column.metric not in METRICS:
            wrong.append(f"a column's metric is {column.metric!r}, expected one of {', '.join(METRICS)}")
        if column.of not in RESULT_ROWS:
            wrong.append(f"a column is of {column.of!r}, expected one of {', '.join(RESULT_ROWS)}")
        if column.clips and column.clips not in CLIPS:
            wrong.append(f"a column's clips are {column.clips!r}, expected one of {', '.join(CLIPS)}")
    for name in {*table.base, *table.features_from} - set(table.data_sets):
        wrong.append(f"base or features_from names {name!r}, but the columns are of {listed(table.data_sets)}")
    for row in dict.fromkeys(table.features_row(name, row) for name in table.features_from for row in names):
        if row and row not in names:
            wrong.append(f"features_from names the row {row!r}, which does not exist")
    return wrong
