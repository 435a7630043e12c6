"""Charts by matplotlib, as SVG and PDF files for a paper. Does not use pyplot, which has global state."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgcn_jax.report.chart import SOFT, Chart, Grid, Number, Panel, Series
from rgcn_jax.runtime.files import atomic_file, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": SOFT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
}
"""Parameters of ``matplotlib.rc_context`` for creating and writing figures."""


def axes_of(panels: int, width: Number = 3.6, height: Number = 2.7) -> tuple["Figure", list["Axes"]]:
    """Create a figure with a row of panels, each of a width and height in inches; return it with its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def draw(chart: Chart) -> "Figure":
    """Draw a chart as a matplotlib figure."""
    figure, axes = axes_of(len(chart.panels), chart.width, chart.height)
    for ax, panel in zip(axes, chart.panels, strict=True):
        _panel(ax, panel, chart)
    shown: set[str] = set()
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        new = [(h, n) for h, n in zip(handles, labels, strict=True) if n not in shown]
        if chart.legend and new:
            ax.legend(*zip(*new, strict=True))
            shown |= set(labels)
    return figure


def _panel(ax: "Axes", panel: Panel, chart: Chart) -> None:
    ax.set_title(_literal(panel.title))
    if panel.grid is not None:
        _grid(ax, panel.grid)
    for series in panel.series:
        _series(ax, series)
    ax.set(xlabel=panel.x, ylabel=panel.y)
    if panel.log_x:
        ax.set_xscale("log")
    if chart.names:
        ax.set_yticks(range(len(chart.names)), [_literal(name) for name in chart.names])
        ax.invert_yaxis()
    if panel.limits[0]:
        ax.set_xlim(*panel.limits[0])
    if panel.limits[1]:
        ax.set_ylim(*panel.limits[1])
    if panel.bare:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)


def _series(ax: "Axes", s: Series) -> None:
    label = _literal(s.label) or None
    if s.bars:
        width = float(s.x[1]) - float(s.x[0]) if len(s.x) > 1 else 1.0
        ax.bar(s.x, s.y, width, color=s.colour, alpha=0.55, label=label)
        ax.grid(False)
        return
    if len(s.low) and s.line:
        ax.fill_between(s.x, s.low, s.high, color=s.colour, alpha=0.15, linewidth=0)
    elif len(s.low):
        between = np.abs(np.array([s.low, s.high]) - np.asarray(s.x if s.horizontal else s.y, float))
        across, up = (between, None) if s.horizontal else (None, between)
        ax.errorbar(s.x, s.y, up, across, fmt="none", ecolor=s.colour, elinewidth=1)
    if s.line:
        style = LINES[s.dash]
        ax.plot(s.x, s.y, style, color=s.colour, label=label, marker="o" if s.points else None, markersize=3.5)
    else:
        sizes = np.square(s.sizes) * 0.55 if len(s.sizes) else 16
        ax.scatter(s.x, s.y, s=sizes, color=s.colour, label=label, linewidth=0, zorder=3)
    for x, y, note, size in zip(s.x, s.y, s.notes, s.sizes or [6] * len(s.notes), strict=False):
        away, side = 0.4 * size + 2, "right" if s.notes_left else "left"
        place = {"xytext": (-away if s.notes_left else away, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(note, (x, y), **place, ha=side, fontsize=7)  # pyright: ignore


def _grid(ax: "Axes", grid: Grid) -> None:
    ax.imshow(np.array(grid.values, float), cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(np.array(grid.values, float)):
        if np.isfinite(value):
            ink = "#111111" if value < 60 else "#ffffff"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink)
    ax.set_xticks(range(len(grid.columns)), list(grid.columns))
    ax.set_yticks(range(len(grid.rows)), list(grid.rows))
    ax.grid(False)


def write_figure(folder: Path, name: str, figure: "Figure") -> None:
    """Write NAME.svg and NAME.pdf. Raises InputError if they cannot be written."""
    for suffix in ("svg", "pdf"):
        path = folder / f"{name}.{suffix}"
        with writing(path), atomic_file(path) as file:
            figure.savefig(file, format=suffix)


def _literal(text: str) -> str:
    """Escape a label: matplotlib interprets dollar signs as formulas and hides labels with a leading underscore."""
    return "\u200b" * text.startswith("_") + text.replace("$", r"\$")
