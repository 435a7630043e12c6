"""Chart descriptions, independent of a plotting library: ``interactive`` uses Plotly, ``paper`` matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass

PALETTE = ("#3987e5", "#e07b39", "#2f9e6f", "#b05fc9", "#c9a227", "#d6506b")
"""Colours of the series, in a fixed order; readable on white and on near-black."""

SOFT = "#8a8a8a"
"""Colour of background elements, such as the bones of a skeleton."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""Line styles of the runs; rows of a run differ in colour."""

ROW_COLOURS: dict[str, str] = dict(zip(("appearance", "pose", "fused"), PALETTE, strict=False))

Number = int | float

Numbers = Sequence[Number]

Limits = tuple[Number | None, Number | None] | None


@dataclass(frozen=True)
class Series:
    """Points, optionally connected by a line.

    ``label``: legend entry, shown once; empty: none. ``low``, ``high``: interval of each y, drawn as a band around a
    line or as error bars. ``sizes``: diameters of the points in pixels. ``texts``: hover texts of the points.
    ``notes``: annotations of the points. ``bars``: draw y as grouped bars.
    """

    x: Sequence[Number | str]
    y: Numbers
    colour: str
    label: str = ""
    dash: str = "solid"
    line: bool = True
    points: bool = False
    bars: bool = False
    low: Numbers = ()
    high: Numbers = ()
    horizontal: bool = False  # low and high are intervals of x
    sizes: Numbers = ()
    texts: Sequence[str] = ()
    notes: Sequence[str] = ()
    notes_left: bool = False


@dataclass(frozen=True)
class Grid:
    """A heat map of values in [0, 100], NaN for an empty cell, with names of rows and columns."""

    values: Sequence[Numbers]
    rows: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True)
class Panel:
    """Axes with series or a grid. ``bare``: hide the axes. ``limits``: (low, high) of x and of y, None: automatic."""

    series: Sequence[Series] = ()
    title: str = ""
    x: str = ""
    y: str = ""
    log_x: bool = False
    bare: bool = False
    limits: tuple[Limits, Limits] = (None, None)
    grid: Grid | None = None


@dataclass(frozen=True)
class Chart:
    """Panels in a row, each ``width`` x ``height`` inches."""

    panels: Sequence[Panel]
    width: Number = 3.6
    height: Number = 2.7
    legend: bool = True
    names: tuple[str, ...] = ()  # tick labels of y = 0, 1, ... from the top
