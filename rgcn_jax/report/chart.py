"""Chart descriptions, independent of a plotting library: ``interactive`` uses Plotly, ``paper`` matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass

PALETTE = ("#3987e5", "#e07b39", "#2f9e6f", "#b05fc9", "#c9a227", "#d6506b")
"""Of series, in a fixed order; all are readable on white and on near-black."""

SOFT = "#8a8a8a"
"""Of what stands behind the series, such as the bones of a skeleton."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""Of the first, second, ... run; the rows of a run have colours."""

ROW_COLOURS: dict[str, str] = dict(zip(("appearance", "pose", "fused"), PALETTE, strict=False))

Number = int | float

Numbers = Sequence[Number]

Limits = tuple[Number | None, Number | None] | None


@dataclass(frozen=True)
class Series:
    """Points, joined by a line or not.

    ``label``: in the legend, where it appears once; empty: not in it. ``low``, ``high``: the interval of each y, drawn
    as a band around a line and as bars at points. ``sizes``: diameters of the points in pixels. ``texts``: shown where
    the pointer is at a point. ``notes``: written beside the points. ``bars``: y as bars that share their width.
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
    horizontal: bool = False  # whether low and high are of x
    sizes: Numbers = ()
    texts: Sequence[str] = ()
    notes: Sequence[str] = ()
    notes_left: bool = False


@dataclass(frozen=True)
class Grid:
    """A map of values in [0, 100]; NaN is empty. Names of its rows and columns."""

    values: Sequence[Numbers]
    rows: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True)
class Panel:
    """Axes with their series, or with a grid. ``bare``: without axes, such as a map of the features. ``limits``: (low,
    high) of x and of y, None where the data decide.
    """

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
    """Panels side by side, each ``width`` x ``height`` inches."""

    panels: Sequence[Panel]
    width: Number = 3.6
    height: Number = 2.7
    legend: bool = True
    names: tuple[str, ...] = ()  # of y = 0, 1, ... from the top
