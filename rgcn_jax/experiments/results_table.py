"""Results of a table in Markdown, CSV or LaTeX: mean, standard deviation and number of the finished runs."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from rgcn_jax.experiments.cells import Cell, cells
from rgcn_jax.experiments.sweep import read_record, total_seconds
from rgcn_jax.experiments.table import Column, Row, Table

FORMATS = ("markdown", "csv", "latex")


@dataclass(frozen=True)
class Entry:
    """One row and column: ``mean`` and ``deviation`` (sample standard deviation) over runs; NaN with too few runs."""

    row: Row
    column: Column
    mean: float
    deviation: float
    runs: int
    wanted: int
    published: float | None

    @property
    def text(self) -> str:
        """Text such as "82.1 ± 0.4"; "-" without runs."""
        if not self.runs:
            return "-"
        return f"{self.mean:.1f}" + ("" if math.isnan(self.deviation) else f" ± {self.deviation:.1f}")


@dataclass(frozen=True)
class Filled:
    """A table with its results. ``missing``: unfinished runs with their states."""

    table: Table
    entries: tuple[tuple[Entry, ...], ...]
    missing: tuple[str, ...]

    def write(self, style: str) -> str:
        """Format the table in one of ``FORMATS``."""
        return {"markdown": _markdown, "csv": _csv, "latex": _latex}[style](self)


def fill(table: Table, out: Path) -> Filled:
    """Read the results of all runs that sweeps have recorded in a folder (``sweep.record``).

    Raises:
      InputError: the record cannot be read, or a config is no longer valid.
    """
    record = read_record(out)
    found: dict[tuple[str, str], list[Cell]] = {}
    for name in table.data_sets:
        asked = [tuple(pair) for pair in record.get(name, {}).get("repetitions", [])]
        if not asked:
            continue
        seeds, splits = (sorted(set(numbers)) for numbers in zip(*asked, strict=True))
        for cell in cells(table, name, seeds, splits, record[name]["overrides"], out):
            if (cell.config.seed, cell.config.data.split) in asked:
                found.setdefault((cell.row, name), []).append(cell)
    entries = tuple(tuple(_entry(row, column, found) for column in table.columns) for row in table.rows)
    missing = [f"{c.name} ({c.state()})" for run in found.values() for c in run if not c.finished]
    return Filled(table, entries, tuple(missing))


def _entry(row: Row, column: Column, found: dict[tuple[str, str], list[Cell]]) -> Entry:
    wanted = found.get((row.name, column.data_set), [])
    values = [v for cell in wanted if (v := _value(cell, column)) is not None]
    return Entry(
        row,
        column,
        statistics.fmean(values) if values else math.nan,
        statistics.stdev(values) if len(values) > 1 else math.nan,
        len(values),
        len(wanted),
        row.published.get((column.data_set, column.metric)) if column.of == "fused" else None,
    )


def _value(cell: Cell, column: Column) -> float | None:
    """Metric of a run; None if it is not finished or its model lacks the branch."""
    results = cell.results(column.clips)
    if results is None:
        return None
    if column.metric == "minutes":
        seconds = total_seconds(cell.folder)
        return None if seconds is None else seconds / 60
    rows = ("fused", "appearance", "pose") if column.of == "fused" else (column.of,)
    row = next((name for name in rows if name in results), "")
    return results.get(row, {}).get(column.metric)


def _grid(filled: Filled) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text: for each data set our columns, if a sweep was requested, the paper's, if it has numbers,
    and the number of runs.
    """
    columns = [["", *(row.name for row in filled.table.rows)]]
    for name in filled.table.data_sets:
        of_set = [c for c, column in enumerate(filled.table.columns) if column.data_set == name]
        asked = any(line[c].wanted for line in filled.entries for c in of_set)
        for c in of_set:
            title, values = filled.table.columns[c].title, [line[c] for line in filled.entries]
            if asked:
                columns.append([title, *(e.text if e.wanted else "" for e in values)])
            if any(e.published is not None for e in values):
                texts = ("" if e.published is None else f"{e.published:.1f}" for e in values)
                columns.append(["paper" if asked else f"{title}, paper", *texts])
        if asked:
            counts = ([line[c] for c in of_set] for line in filled.entries)
            texts = (f"{max(e.runs for e in c)} of {c[0].wanted}" if c[0].wanted else "" for c in counts)
            columns.append(["runs", *texts])
    if any(row.source for row in filled.table.rows):
        columns.append(["source", *(row.source for row in filled.table.rows)])
    header, *body = map(list, zip(*columns, strict=True))
    return header, body


def _markdown(filled: Filled) -> str:
    header, body = _grid(filled)
    lines = [f"### {filled.table.title}", ""]
    lines += [f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in (header, *body)]
    lines.insert(3, "|---" * len(header) + "|")
    lines += ["", "Per cent, mean ± standard deviation over the runs (seeds and splits)."]
    if filled.missing:
        runs = "1 run" if len(filled.missing) == 1 else f"{len(filled.missing)} runs"
        lines += ["", f"Missing, {runs}: {'; '.join(filled.missing)}."]
    return "\n".join(lines) + "\n"


def _csv(filled: Filled) -> str:
    """One CSV line per row and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named = "row data_set of metric clips mean deviation runs wanted published source"
    writer.writerow(named.split())
    for e in (entry for line in filled.entries for entry in line):
        numbers = ["" if v is None or math.isnan(v) else f"{v:.4f}" for v in (e.mean, e.deviation)]
        column = e.column
        published = "" if e.published is None else e.published
        place = [e.row.name, column.data_set, column.of, column.metric, column.clips]
        writer.writerow([*place, *numbers, e.runs, e.wanted, published, e.row.source])
    return text.getvalue()


def _latex(filled: Filled) -> str:
    """A LaTeX table for the package booktabs."""
    header, body = _grid(filled)
    lines = [
        f"% {filled.table.title}; \\usepackage{{booktabs}}",
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        "\\toprule",
        " & ".join(map(_escaped, header)) + r" \\",
        "\\midrule",
        *(" & ".join(map(_escaped, line)) + r" \\" for line in body),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"% missing: {name}" for name in filled.missing),
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    special |= {"^": r"\textasciicircum{}", "±": r"$\pm$"}
    return "".join(special.get(c, c) for c in text)
