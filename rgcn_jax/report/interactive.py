"""Interactive charts by Plotly; plotly.js is embedded in the page, so nothing is loaded from the network."""

import html
import json
from importlib import import_module
from typing import Any

import numpy as np

from rgcn_jax.errors import needs_extra, printable
from rgcn_jax.report.chart import SOFT, Chart, Grid, Panel, Series

PIXELS_PER_INCH = 100

PANEL_PIXELS = 230
"""Minimum width of a panel; on a narrow page the chart scrolls."""


def require_libraries() -> None:
    """Raise ``InputError`` if matplotlib, Plotly or scikit-learn is not installed."""
    for name, package in (("matplotlib", "matplotlib"), ("plotly", "plotly"), ("sklearn", "scikit-learn")):
        with needs_extra("report", f"The report needs {package}"):
            import_module(name)


def element(name: str, chart: Chart) -> str:
    """HTML element with the chart's data as JSON, which the page's script passes to plotly.js."""
    size = f"height:{round(chart.height * PIXELS_PER_INCH)}px"
    pixels = round(chart.width * PIXELS_PER_INCH * len(chart.panels))
    width = f"min({pixels}px,calc(100vw - 4.6rem))"  # the latter on a narrow page
    if len(chart.panels) > 1:
        size += f";min-width:{PANEL_PIXELS * len(chart.panels)}px"
    kind = "chart panels" if len(chart.panels) > 1 else "chart"
    text = html.escape(json.dumps(figure(chart), allow_nan=False, separators=(",", ":")))
    return f'<div class="{kind}" id="chart-{name}" style="width:{width};{size}" data-figure="{text}"></div>'


def figure(chart: Chart) -> dict[str, Any]:
    """Data and layout for ``Plotly.newPlot``. The page sets the text colour according to its dark mode."""
    traces: list[dict[str, Any]] = []
    count = len(chart.panels)
    gap = 0.16 / count + 0.02
    layout: dict[str, Any] = {"margin": {"l": 52, "r": 12, "t": 34, "b": 44}, "annotations": []}
    named: set[str] = set()
    for i, panel in enumerate(chart.panels):
        suffix = "" if i == 0 else str(i + 1)
        start, end = i / count + (gap / 2 if i else 0), (i + 1) / count - (gap / 2 if i < count - 1 else 0)
        layout["xaxis" + suffix] = _axis(panel, "x", suffix) | {"domain": [start, end]}
        layout["yaxis" + suffix] = _axis(panel, "y", suffix)
        if chart.names:
            ticks = {"tickvals": list(range(len(chart.names))), "ticktext": [_text(name) for name in chart.names]}
            layout["yaxis" + suffix] |= {**ticks, "autorange": "reversed"}
        place = {"xaxis": "x" + suffix, "yaxis": "y" + suffix}
        if panel.title:
            middle = {"x": (start + end) / 2, "y": 1.0, "xref": "paper", "yref": "paper", "yanchor": "bottom"}
            layout["annotations"].append(
                {"text": _text(panel.title), "showarrow": False, "font": {"size": 13}, **middle}
            )
        if panel.grid is not None:
            traces.append(_grid(panel.grid) | place)
            layout["yaxis" + suffix] |= {"autorange": "reversed", "type": "category"}
            layout["xaxis" + suffix] |= {"type": "category"}
        if any(isinstance(value, str) for series in panel.series for value in series.x):
            layout["xaxis" + suffix] |= {"type": "category"}
        for series in panel.series:
            traces += [trace | place for trace in _series(series, panel, series.label not in named)]
            named.add(series.label)
    layout |= {"barmode": "overlay", "bargap": 0, "hovermode": "closest"}
    layout |= {"showlegend": chart.legend and len(named - {""}) > 0}
    layout["legend"] = {"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0, "font": {"size": 11}}
    return {"data": traces, "layout": layout}


def _axis(panel: Panel, which: str, suffix: str) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": getattr(panel, which), "standoff": 6},
        "zeroline": False,
        "gridcolor": "rgba(138,138,138,.22)",
        "automargin": True,
        "anchor": ("y" if which == "x" else "x") + suffix,
    }
    limits = panel.limits[0 if which == "x" else 1]
    if limits is not None:
        axis["range"] = list(limits)
    if which == "x" and panel.log_x:
        axis |= {"type": "log", "exponentformat": "none", "dtick": 1}
    if panel.bare:
        axis |= {"visible": False}
    return axis


def _series(s: Series, panel: Panel, first: bool) -> list[dict[str, Any]]:
    x, y = list(s.x), list(s.y)
    common: dict[str, Any] = {"name": _text(s.label), "legendgroup": s.label, "showlegend": first and bool(s.label)}
    common["hoverinfo"] = "skip" if s.colour == SOFT else "all"
    if s.bars:
        return [{"type": "bar", "x": x, "y": y, "opacity": 0.6, "marker": {"color": s.colour}, **common}]
    found: list[dict[str, Any]] = []
    if len(s.low) and s.line:
        band = {"x": [*x, *x[::-1]], "y": [*s.high, *list(s.low)[::-1]], "fill": "toself", "opacity": 0.16}
        edge = {"mode": "lines", "line": {"width": 0, "color": s.colour}, "fillcolor": s.colour}
        found.append(common | band | edge | {"type": "scatter", "hoverinfo": "skip", "showlegend": False})
    trace: dict[str, Any] = {"type": "scatter", "x": x, "y": y, "line": {"color": s.colour, "dash": s.dash, "width": 2}}
    trace["mode"] = "+".join(
        [*["lines"] * s.line, *["markers"] * (s.points or not s.line), *["text"] * bool(len(s.notes))]
    )
    trace["marker"] = {"color": s.colour, "size": list(s.sizes) if len(s.sizes) else 6}
    if len(s.low) and not s.line:
        value = np.asarray(x if s.horizontal else y, float)
        error = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 0, "color": s.colour}
        error |= {"array": (np.asarray(s.high) - value).tolist(), "arrayminus": (value - np.asarray(s.low)).tolist()}
        trace["error_x" if s.horizontal else "error_y"] = error
    if len(s.texts):
        trace |= {"hovertext": [_text(t) for t in s.texts], "hoverinfo": "text"}
        common.pop("hoverinfo")
    if len(s.notes):
        trace |= {
            "text": list(s.notes),
            "textposition": "middle left" if s.notes_left else "middle right",
            "textfont": {"size": 10},
        }
    return [*found, common | trace]


def _grid(grid: Grid) -> dict[str, Any]:
    values = [[None if np.isnan(v) else round(float(v), 1) for v in row] for row in grid.values]
    texts = [["" if v is None else f"{v:.0f}" for v in row] for row in values]
    colours = [[0, "#dbe9fb"], [1, "#1f5fb0"]]
    return {
        "type": "heatmap",
        "z": values,
        "x": list(grid.columns),
        "y": list(grid.rows),
        "text": texts,
        "texttemplate": "%{text}",
        "zmin": 0,
        "zmax": 100,
        "colorscale": colours,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "query camera %{y}, gallery camera %{x}: %{z} %<extra></extra>",
    }


def _text(value: str) -> str:
    """Escape a text, since Plotly interprets some HTML tags."""
    return html.escape(printable(value), quote=False)
