"""Formatting of ranking metrics: tables for the terminal, and values rounded according to their interval."""

import math
from collections.abc import Mapping, Sequence

from rgcn_jax.evaluation.distance import ROWS
from rgcn_jax.evaluation.ranking import RankingMetrics, as_percentages
from rgcn_jax.evaluation.significance import Interval


def format_table(
    rows: Mapping[str, RankingMetrics],
    protocol: str,
    kind: str,
    intervals: Mapping[str, Mapping[str, Interval | None]],
) -> str:
    """Format the rows of one protocol as a table for the terminal, in per cent, with a heading.

    Args:
        rows: metrics by row name, at least one.
        protocol: name of the protocol.
        kind: distance kind.
        intervals: intervals by row and metric, from ``significance.metric_intervals``.

    Example::

        protocol official, distance euclidean, gallery 11310, queries 1980 valid + 0 skipped
                          mAP      Rank-1      Rank-5     Rank-10     Rank-20
        appearance  81.1 ±1.6   85.2 ±1.7   94.9 ±0.9   96.6 ±0.7   97.6 ±0.6
    """
    counts = next(iter(rows.values()))
    lines = [
        f"protocol {protocol}, distance {kind}, gallery {counts.num_gallery}, "
        f"queries {counts.num_valid_queries} valid + {counts.num_skipped_queries} skipped"
    ]
    if tied := max(metrics.num_tied_queries for metrics in rows.values()):
        lines[0] += f" (up to {tied} with tied distances)"
    titles = ("mAP", "Rank-1", "Rank-5", "Rank-10", "Rank-20")
    width = max(len(name) for name in ROWS)
    lines.append(" " * width + "".join(f"{title:>12}" for title in titles))
    for name, metrics in rows.items():
        values = (format_value(value, intervals[name][metric]) for metric, value in as_percentages(metrics).items())
        lines.append(f"{name:<{width}}" + "".join(f"{value:>12}" for value in values))
    return "\n".join(lines)


def format_bounds(value: float, interval: Sequence[float] | None) -> str:
    """Format a value and its 95 % interval, if known: ``81.1 [79.4, 82.6]``."""
    return f"{value:.1f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def format_value(value: float, interval: Interval | None) -> str:
    """Format a value and half the width of its 95 % interval: ``81.1 ±1.6``.

    The half width has one significant digit, or two if the first is 1; the value has as many decimals, at most two.
    Without an interval, one decimal and no ±.

    Example::

        >>> format_value(81.13, (79.4, 82.6)), format_value(81.13, (78.0, 83.5)), format_value(99.987, (99.96, 100.0))
        ('81.1 ±1.6', '81 ±3', '99.99 ±0.02')
    """
    if interval is None:
        return f"{value:.1f}"
    half = (interval[1] - interval[0]) / 2
    if half <= 0:
        return f"{value:.1f} ±0"
    first = math.floor(math.log10(half))
    decimals = min(max(1 - first if half < 2 * 10**first else -first, 0), 2)
    return f"{value:.{decimals}f} ±{half:.{decimals}f}"
