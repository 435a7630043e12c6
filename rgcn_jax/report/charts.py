"""Charts of the report: CMC, training curves, distances, ROC, mAP by camera pair and by slice, and robustness."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rgcn_jax.evaluation.distance import Euclidean
from rgcn_jax.report.chart import DASHES, PALETTE, ROW_COLOURS, Chart, Grid, Number, Panel, Series
from rgcn_jax.report.reported_run import ReportedRun

MAX_TRACKLETS = 1500
"""Maximum number of tracklets for the distances; larger sets are sampled at random."""


def cmc_chart(runs: Sequence[ReportedRun]) -> Chart:
    """Rank-k of every row and run, k from 1 to 20."""
    found = []
    for run, dash in zip(runs, DASHES * len(runs), strict=False):
        for row, metrics in run.metrics.items():
            cmc = (100 * metrics.cmc[:20]).tolist()
            label = row if len(runs) == 1 else f"{run.name}: {row}"
            found.append(Series(range(1, len(cmc) + 1), cmc, ROW_COLOURS[row], label, dash, points=len(cmc) == 1))
    return Chart([Panel(found, x="k", y="Rank-k (%)", limits=((1, 20), None))], 4.8, 3.4)


def training_chart(runs: Sequence[ReportedRun]) -> Chart | None:
    """Losses, lambda, learning rate and mAP of the evaluations, by step; None without records."""
    if not any(len(run.records) > 1 for run in runs):
        return None
    losses = {name.removeprefix("loss_"): name for name in ("loss_id", "loss_appearance", "loss_pose")}
    panels = {"loss": losses, "lambda": {"lambda": "lambda"}, "learning rate": {"learning rate": "learning_rate"}}
    drawn: dict[str, list[Series]] = {title: [] for title in (*panels, "mAP (%)")}
    for run, dash in zip(runs, DASHES * len(runs), strict=False):
        suffix = "" if len(runs) == 1 else f", {run.name}"
        for title, names in panels.items():
            for (label, name), colour in zip(names.items(), PALETTE[3:], strict=False):
                records = [r for r in run.records if isinstance(r.get(name), int | float)]
                if records:
                    shown = label + suffix if title == "loss" else ""
                    x, y = [r["step"] for r in records], [r[name] for r in records]
                    drawn[title].append(Series(x, y, colour, shown, dash))
        for row, colour in ROW_COLOURS.items():
            records = [r for r in run.records if isinstance(r.get(row), dict)]
            records = [r for r in records if isinstance(r[row].get("mAP"), int | float)]
            if records:
                x, y = [r["step"] for r in records], [r[row]["mAP"] for r in records]
                drawn["mAP (%)"].append(Series(x, y, colour, f"{row} row{suffix}", dash, points=True))
    last = max((r["step"] for run in runs for r in run.records if "step" in r), default=1)
    steps = (0.0, 1.03 * last)  # the same for all panels: some may have a single point
    limits = {title: (steps, (0.0, None) if title == "learning rate" else None) for title in drawn}
    shown = [Panel(series, title, x="step", limits=limits[title]) for title, series in drawn.items() if series]
    return Chart(shown, 3.0, 3.0)


def distances_chart(run: ReportedRun) -> Chart:
    """Histograms of the distances of genuine pairs (matches under the protocol) and impostor pairs, by row."""
    embeddings = run.evaluation.features.embeddings
    known = np.flatnonzero(embeddings.person_ids > 0)
    if len(known) > MAX_TRACKLETS:
        known = np.sort(np.random.default_rng(0).choice(known, MAX_TRACKLETS, replace=False))
    persons, cameras, clothes = (ids[known] for ids in embeddings[2:])
    same = persons[:, None] == persons
    once = np.triu(np.ones(same.shape, bool), 1)
    genuine, impostor = once & same, once & ~same
    if not run.protocol.same_camera:
        genuine &= cameras[:, None] != cameras
    if not run.protocol.same_clothes:
        genuine &= clothes[:, None] != clothes
    panels = []
    for row in run.rows:
        distances = Euclidean(run.features(row)[known]).between(slice(None), slice(None))
        edges = np.linspace(0, float(distances.max(initial=0)) or 1, 60)
        centres = ((edges[1:] + edges[:-1]) / 2).tolist()
        series = []
        for pairs, name, colour in ((genuine, "genuine", PALETTE[2]), (impostor, "impostor", PALETTE[5])):
            counts = np.histogram(distances[pairs], edges)[0]
            density = counts / max(counts.sum(), 1) / (edges[1] - edges[0])
            series.append(Series(centres, density.tolist(), colour, f"{name} pairs", bars=True))
        panels.append(Panel(series, row, x="distance"))
    return Chart(panels, 3.4, 2.8)


def roc_chart(curves: Mapping[tuple[str, str], Float[np.ndarray, "k 3"]], names: Sequence[str]) -> Chart:
    """True positive rate over false positive rate, from (run, row) -> rows of (threshold, FPR, TPR)."""
    found = []
    for (run, row), roc in curves.items():
        label = row if len(names) == 1 else f"{run}: {row}"
        shown = 100 * thinned(roc[roc[:, 1] > 0][:, 1:])
        dash = DASHES[names.index(run) % len(DASHES)]
        found.append(Series(shown[:, 0].tolist(), shown[:, 1].tolist(), ROW_COLOURS[row], label, dash))
    axes = {"x": "false positive rate (%)", "y": "true positive rate (%)", "log_x": True}
    return Chart([Panel(found, **axes)], 4.8, 3.4)


def thinned(curve: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "_ 2"]:
    """At most 400 points of a curve with positive x, evenly spaced in log x, including the ends."""
    if len(curve) <= 400:
        return curve
    wanted = np.geomspace(curve[0, 0], curve[-1, 0], 400)
    return curve[np.unique(np.clip(np.searchsorted(curve[:, 0], wanted), 0, len(curve) - 1))]


def camera_chart(pairs: Mapping[tuple[int, int], float]) -> Chart:
    """Heat map of mAP in per cent by camera of the query (rows) and of the gallery (columns)."""
    of_query, of_gallery = (sorted({pair[i] for pair in pairs}) for i in (0, 1))
    values = [[pairs.get((q, g), float("nan")) for g in of_gallery] for q in of_query]
    grid = Grid(values, [str(c) for c in of_query], [str(c) for c in of_gallery])
    size = 1.6 + 0.5 * max(len(of_query), len(of_gallery))
    return Chart([Panel(x="gallery camera", y="query camera", grid=grid)], size + 0.4, size)


def slices_chart(slices: Mapping[str, Mapping[str, Any]], rows: Sequence[str]) -> Chart:
    """The mAP of every row, with its 95 % interval, by slice of the queries (``evaluation.slices.slice_json``)."""
    found = []
    for i, row in enumerate(rows):
        places = [y + 0.2 * (i - (len(rows) - 1) / 2) for y in range(len(slices))]
        values = [of_slice[row]["mAP"] for of_slice in slices.values()]
        between = [_interval(of_slice[row], "mAP") for of_slice in slices.values()]
        low, high = zip(*between, strict=True) if between else ((), ())
        texts = [f"{name}, {row}: {value:.1f}" for name, value in zip(slices, values, strict=True)]
        style = {"line": False, "low": low, "high": high, "horizontal": True, "texts": texts}
        found.append(Series(values, places, ROW_COLOURS[row], row, **style))
    return Chart([Panel(found, x="mAP (%)")], 5.4, 1.3 + 0.45 * len(slices), names=tuple(slices))


def robustness_charts(curves: Mapping[str, Mapping[str, Any]]) -> dict[str, Chart]:
    """One chart per corruption: mAP of every row by level, with 95 % intervals."""
    found = {}
    for name, curve in curves.items():
        points = curve["points"]
        if len(points) < 2:
            continue
        levels = [_level(name, at["level"]) for at in points]
        series = []
        for row in points[0]["rows"]:
            values = [at["rows"][row]["mAP"] for at in points]
            low, high = zip(*(_interval(at["rows"][row], "mAP") for at in points), strict=True)
            series.append(Series(levels, values, ROW_COLOURS[row], row, points=True, low=low, high=high))
        title = name.replace("_", " ")
        panel = Panel(series, title, x=curve["unit"], y="mAP (%)", limits=(None, (0.0, 100.0)))
        found[f"robustness-{name.replace('_', '-')}"] = Chart([panel], 3.9, 3.1)
    return found


def _level(name: str, level: int | float | None) -> str:
    if level is None:
        return "all" if name == "fewer_frames" else "other"
    return f"{level:g}"


def _interval(metrics: Mapping[str, Any], name: str) -> tuple[Number, Number]:
    """Low and high; twice the value if there are too few persons."""
    low, high = metrics["intervals"].get(name) or (metrics[name], metrics[name])
    return low, high
