"""Ranking metrics as a table for the terminal."""

from collections.abc import Mapping

from rgcn_jax.evaluation.distance import ROWS
from rgcn_jax.evaluation.ranking import RankingMetrics, as_percentages


def format_table(rows: Mapping[str, RankingMetrics | None], protocol: str, kind: str) -> str:
    """The rows of one protocol as a table for the terminal, in per cent, under a line that says what was measured.

    Args:
        rows: metrics by row name; a row that is None is left out.
        protocol: its name.
        kind: the distance kind.

    Example::

        protocol official, distance euclidean, gallery 11310, queries 1980 valid + 0 skipped
                      mAP  Rank-1  Rank-5  Rank-10  Rank-20
        appearance   81.1    85.2    94.9     96.6     97.6
    """
    present = {name: metrics for name, metrics in rows.items() if metrics is not None}
    if not present:
        raise ValueError("there is no row to show")
    counts = next(iter(present.values()))
    lines = [
        f"protocol {protocol}, distance {kind}, gallery {counts.num_gallery}, "
        f"queries {counts.num_valid_queries} valid + {counts.num_skipped_queries} skipped"
    ]
    titles = ("mAP", "Rank-1", "Rank-5", "Rank-10", "Rank-20")
    width = max(len(name) for name in ROWS)
    lines.append(" " * width + "".join(f"{title:>9}" for title in titles))
    for name, metrics in present.items():
        lines.append(f"{name:<{width}}" + "".join(f"{value:9.1f}" for value in as_percentages(metrics).values()))
    return "\n".join(lines)
