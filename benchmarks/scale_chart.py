"""Chart of cost against work, from the rows written by ``python -m benchmarks.scale --save=FILE``.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.scale --full --save=scale.jsonl
    python -m benchmarks.scale_chart scale.jsonl docs/images/scale.png

One panel per part, with logarithmic axes. Points are rows. The dashed line is cost proportional to work through the
last point, and constant cost in the panel of sampling. Needs matplotlib (the extra ``report``).
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, Any]
"""A row with the keys ``part``, ``first`` and ``second`` (its two numbers), ``seconds``, ``units``, ``unit``,
``memory``.
"""


class Axes(NamedTuple):
    """Axes of a panel: work and cost of a row, their labels, and whether the cost should grow with the work."""

    work: Callable[[Row], float]
    cost: Callable[[Row], float]
    x: str
    y: str
    grows: bool = True


AXES = {
    "startup": Axes(lambda r: r["first"] * r["second"], lambda r: r["seconds"], "frame names", "s"),
    "sampling": Axes(
        lambda r: r["first"], lambda r: 1e3 * r["seconds"] / r["units"], "tracklets", "ms a batch", grows=False
    ),
    "embedding": Axes(lambda r: r["first"], lambda r: r["seconds"], "tracklets", "s"),
    "ranking": Axes(lambda r: r["first"] * r["second"], lambda r: r["seconds"], "queries x gallery", "s"),
    "search": Axes(lambda r: r["second"], lambda r: 1e3 * r["seconds"] / r["units"], "gallery", "ms a query"),
}


def read_rows(path: Path) -> dict[str, list[Row]]:
    """The last row of each part and its two numbers, in the order of the work."""
    kept = {(r["part"], r["first"], r["second"]): r for r in map(json.loads, path.read_text("utf-8").splitlines())}
    found = {part: [row for row in kept.values() if row["part"] == part] for part in AXES}
    return {part: sorted(rows, key=AXES[part].work) for part, rows in found.items() if rows}


def draw(rows: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Write the chart; the suffix of ``path`` determines the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * len(rows), 2.3), layout="constrained")
    for panel, (part, of_part) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True):
        axes = AXES[part]
        work, cost = ([value(row) for row in of_part] for value in (axes.work, axes.cost))
        line = [cost[-1] * (w / work[-1] if axes.grows else 1.0) for w in work]
        panel.plot(work, line, color="0.6", linestyle="--", linewidth=1)
        panel.plot(work, cost, "o", markersize=4)
        panel.set(xscale="log", yscale="log", title=part, xlabel=axes.x, ylabel=axes.y)
        if not axes.grows:
            panel.set_ylim(cost[-1] / 10, cost[-1] * 10)
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the rows and draw them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_chart", description="Chart of cost against work.")
    parser.add_argument("rows", type=Path, help="file that python -m benchmarks.scale --save=FILE wrote")
    parser.add_argument("out", type=Path, help="image file: .png, .svg or .pdf")
    a = parser.parse_args(argv)
    draw(read_rows(a.rows), a.out)


if __name__ == "__main__":
    main()
