"""Matplotlib figures as inline SVG for a page, which follows its dark mode, and as SVG and PDF files for a paper.

Figures are made without pyplot, so that no window system and no global state is touched.
"""

import html
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgcn_jax.errors import InputError, printable
from rgcn_jax.runtime.files import atomic_file, write_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""Colour of text and axes, nearly black; the page replaces it by that of its text."""

PANELS_INCHES = 5.5
"""A wider figure is one of several panels."""

PALETTE = ("#3987e5", "#e07b39", "#2f9e6f", "#b05fc9", "#c9a227", "#d6506b")
"""Of series, in a fixed order; all are readable on white and on near-black."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#8a8a8a",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
}
"""Of ``matplotlib.rc_context`` around whatever makes or writes a figure."""


def require_matplotlib() -> None:
    """Raises ``InputError`` where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError('The report needs matplotlib: pip install "rgcn_jax[report]".') from error


def figure_of(panels: int, width: float = 3.6, height: float = 2.7) -> tuple["Figure", list["Axes"]]:
    """A figure of panels side by side, each of a width and height in inches, and their axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)
    return figure, list(axes[0])


def inline(name: str, figure: "Figure", titles: Mapping[str, str] | None = None) -> str:
    """The figure as an ``<svg>`` element.

    Args:
      name: prefix of all ids in it: a page has several figures.
      figure: made under ``STYLE``.
      titles: gid of an artist -> text that is shown when the pointer is on it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{name}-", svg)
    for gid, text in (titles or {}).items():
        mark = f'<g id="{name}-{gid}">'
        svg = svg.replace(mark, f"{mark}<title>{html.escape(printable(text))}</title>", 1)
    # The page shrinks the figure where it is narrower; a row of panels it scrolls instead.
    kind = "chart panels" if figure.get_figwidth() > PANELS_INCHES else "chart"
    svg = re.sub(r'(<svg [^>]*?)height="[\d.]+pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)width="([\d.]+)pt"', rf'\1class="{kind}" style="width:\2pt"', svg, count=1)
    return svg.replace(INK, "currentColor")


def write_figure(folder: Path, name: str, figure: "Figure") -> list[Path]:
    """Writes NAME.svg and NAME.pdf.

    Raises:
      InputError: they cannot be written.
    """
    written = []
    for suffix in ("svg", "pdf"):
        path = folder / f"{name}.{suffix}"
        try:
            with atomic_file(path) as file:
                figure.savefig(file, format=suffix)
        except OSError as error:
            raise write_error(path, error) from error
        written.append(path)
    return written
