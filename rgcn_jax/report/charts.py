"""The curves of the report: CMC, training, distances and ROC, and mAP by camera pair and by length."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32

from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.svg import PALETTE, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("-", "--", ":", "-.")
"""Of the first, second, ... run; the rows of a run have colours."""

ROW_COLOURS: dict[str, str] = dict(zip(("appearance", "pose", "fused"), PALETTE, strict=False))

MAX_TRACKLETS = 1500
"""Of the distances: of more a random sample is taken."""


def cmc_chart(runs: Sequence[ReportedRun], top: int = 20) -> "Figure":
    """Rank-k of every row and run, k from 1 to ``top``."""
    figure, (ax,) = figure_of(1, 4.6, 3.2)
    for run, line in zip(runs, LINES * len(runs), strict=False):
        for row in run.rows:
            metrics = run.evaluation.metrics[run.evaluation.protocol][row]
            if metrics is not None:
                cmc = 100 * metrics.cmc[:top]
                label = row if len(runs) == 1 else f"{run.name}: {row}"
                ax.plot(np.arange(1, len(cmc) + 1), cmc, line, color=ROW_COLOURS[row], label=_literal(label))
    ax.set(xlabel="k", ylabel="Rank-k (%)", xlim=(1, top), xticks=[1, *range(5, top + 1, 5)])
    ax.legend(fontsize=8)
    return figure


def training_chart(runs: Sequence[ReportedRun]) -> "Figure | None":
    """Losses, lambda, learning rate and mAP of the evaluations, by step; None without records."""
    panels = {
        "loss": ("loss_id", "loss_appearance", "loss_pose"),
        "lambda": ("lambda",),
        "learning rate": ("learning_rate",),
    }
    if not any(len(run.records) > 1 for run in runs):
        return None
    figure, axes = figure_of(len(panels) + 1, 3.0, 2.6)
    for run, line in zip(runs, LINES * len(runs), strict=False):
        suffix = "" if len(runs) == 1 else f", {run.name}"
        for ax, (title, names) in zip(axes, panels.items(), strict=False):
            for name, colour in zip(names, PALETTE, strict=False):
                points = [(r["step"], r[name]) for r in run.records if isinstance(r.get(name), int | float)]
                if points:
                    label = name.removeprefix("loss_").replace("_", " ") + suffix
                    ax.plot(*zip(*points, strict=True), line, color=colour, label=_literal(label))
            ax.set(xlabel="step", title=title)
        axes[2].set_ylim(bottom=0)
        for row, colour in ROW_COLOURS.items():
            points = [(r["step"], r[row]["mAP"]) for r in run.records if isinstance(r.get(row), dict)]
            if points:
                axes[-1].plot(*zip(*points, strict=True), line, marker="o", color=colour, label=_literal(row + suffix))
    axes[-1].set(xlabel="step", title="mAP (%)")
    for ax in (axes[0], axes[-1]):
        ax.legend(fontsize=7)
    return figure


def distances_chart(run: ReportedRun) -> "Figure":
    """Histograms of the distances of genuine pairs (one person, two cameras) and impostor pairs, by row."""
    figure, axes = figure_of(len(run.rows), 3.2, 2.5)
    embeddings = run.evaluation.features.embeddings
    known = np.flatnonzero(embeddings.person_ids > 0)
    if len(known) > MAX_TRACKLETS:
        known = np.sort(np.random.default_rng(0).choice(known, MAX_TRACKLETS, replace=False))
    persons, cameras = embeddings.person_ids[known], embeddings.camera_ids[known]
    same = persons[:, None] == persons
    once = np.triu(np.ones(same.shape, bool), 1)
    genuine, impostor = once & same & (cameras[:, None] != cameras), once & ~same
    for ax, row in zip(axes, run.rows, strict=True):
        distances = pairwise(run.features(row)[known])
        edges = np.linspace(0, float(distances.max(initial=0)) or 1, 60).tolist()
        for pairs, name, colour in ((genuine, "genuine", PALETTE[2]), (impostor, "impostor", PALETTE[5])):
            ax.hist(distances[pairs], edges, density=True, alpha=0.55, color=colour, label=name)
        ax.set(title=row, xlabel="distance", yticks=[])
        ax.grid(False)
    axes[0].legend(fontsize=8)
    return figure


def pairwise(features: Float32[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """Euclidean distances between all rows."""
    centred = features - features.mean(axis=0)
    squares = np.einsum("nd,nd->n", centred, centred)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * centred @ centred.T, 0))


def roc_chart(curves: Mapping[tuple[str, str], Float[np.ndarray, "k 3"]], names: Sequence[str]) -> "Figure":
    """True positive rate by false positive rate, of (run, row) -> rows of (threshold, FPR, TPR)."""
    figure, (ax,) = figure_of(1, 4.6, 3.2)
    for (run, row), roc in curves.items():
        label = row if len(names) == 1 else f"{run}: {row}"
        shown = roc[roc[:, 1] > 0]
        style = LINES[names.index(run) % len(LINES)]
        ax.plot(100 * shown[:, 1], 100 * shown[:, 2], style, color=ROW_COLOURS[row], label=_literal(label))
    ax.set(xscale="log", xlabel="false positive rate (%)", ylabel="true positive rate (%)")
    ax.legend(fontsize=8)
    return figure


def camera_chart(pairs: Mapping[tuple[int, int], float]) -> "Figure":
    """A map of mAP in per cent by camera of the query (rows) and of the gallery (columns)."""
    of_query, of_gallery = (sorted({pair[i] for pair in pairs}) for i in (0, 1))
    grid = np.full((len(of_query), len(of_gallery)), np.nan)
    for (q, g), value in pairs.items():
        grid[of_query.index(q), of_gallery.index(g)] = value
    size = 1.4 + 0.5 * max(grid.shape)
    figure, (ax,) = figure_of(1, size + 0.4, size)
    ax.imshow(grid, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            ink = "#111111" if value < 60 else "#ffffff"  # on the colour of the cell, not of the page
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink)
    ax.set(xlabel="gallery camera", ylabel="query camera")
    ax.set_xticks(range(len(of_gallery)), [str(c) for c in of_gallery])
    ax.set_yticks(range(len(of_query)), [str(c) for c in of_query])
    ax.grid(False)
    return figure


def slices_chart(slices: Mapping[str, Mapping[str, Any]], rows: Sequence[str]) -> "Figure":
    """The mAP with its 95 % interval by slice of the queries (``evaluation.slices.slice_json``), for every row."""
    figure, (ax,) = figure_of(1, 5.2, 0.9 + 0.42 * len(slices))
    for i, row in enumerate(rows):
        for y, of_slice in enumerate(slices.values()):
            value, interval = of_slice[row]["mAP"], of_slice[row]["intervals"]["mAP"]
            place = y + 0.2 * (i - (len(rows) - 1) / 2)
            if interval is not None:
                ax.plot(interval, [place, place], color=ROW_COLOURS[row], linewidth=1)
            ax.plot([value], [place], "o", color=ROW_COLOURS[row], markersize=4, label=row if y == 0 else None)
    ax.set_yticks(range(len(slices)), [_literal(name) for name in slices])
    ax.invert_yaxis()
    ax.set(xlabel="mAP (%)")
    ax.legend(fontsize=8)
    return figure


def _literal(text: str) -> str:
    """A label as it is: matplotlib reads dollar signs as formulas, and hides what begins with an underscore."""
    return "\u200b" * text.startswith("_") + text.replace("$", r"\$")
