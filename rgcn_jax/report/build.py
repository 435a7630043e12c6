"""Builds the report of a run beside its baselines: charts, tables and rank lists, as one page and as figure files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rgcn_jax.evaluation.distance import distance_blocks
from rgcn_jax.evaluation.protocol import PROTOCOLS
from rgcn_jax.evaluation.slices import by_camera_pair, by_value, slice_json
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.report import charts, numbers
from rgcn_jax.report.attention import attention_chart, attention_weights
from rgcn_jax.report.feature_map import feature_map
from rgcn_jax.report.page import charts as chart_row
from rgcn_jax.report.page import page, section, text
from rgcn_jax.report.rank_lists import RankList, rank_lists
from rgcn_jax.report.rank_section import rank_section, with_images
from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.svg import STYLE, inline, write_figure
from rgcn_jax.report.thumbnails import strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "cmc": "CMC: share of the queries with a match among the first k.",
    "training": "Training, from metrics.jsonl: losses, weight of the appearance triplet, learning rate, evaluations.",
    "distances": "Distances of genuine pairs (one person, two cameras) and impostor pairs.",
    "roc": "Verification: true positive rate at a false positive rate, over all pairs.",
    "attention": "Mean attention weights over the queries shown; of the frames median and quartiles.",
    "map": "First two principal components of the features; point at a dot for its tracklet.",
    "cameras": "mAP (%) of the queries of one camera against the gallery of one camera.",
    "lengths": "mAP (%) by length of the query's tracklet, with 95 % intervals over persons.",
}

SKELETONS, SKELETON_FRAMES = 4, 6
"""Queries shown with their skeleton, and frames of each."""


def build(runs: Sequence[ReportedRun], queries: int, images: bool, figures: Path | None) -> str:
    """The HTML of a report; the figures are written to files as well where a folder is given.

    Args:
      runs: the run, then its baselines.
      queries: how many rank lists.
      images: whether to show frames of persons.
      figures: folder for NAME.svg and NAME.pdf of every figure.

    Raises:
      InputError: a frame cannot be read, or a file cannot be written.
    """
    import matplotlib as mpl

    run = runs[0]
    lists = rank_lists(run, queries)
    data = run.open_images() if images else None
    with mpl.rc_context(STYLE):
        drawn, titles = _figures(runs, lists)
        if figures is not None:
            for name, figure in drawn.items():
                write_figure(figures, name, figure)
        svg = {name: inline(name, figure, titles if name == "map" else None) for name, figure in drawn.items()}
    shown, style = with_images(run, lists, data)
    dropped = len(lists) - len(shown)
    note = f"<p>{dropped} more queries are left out: the page would exceed 15 MB.</p>" if dropped else ""
    kinds = "the largest gains and losses of the fused over the appearance row" if "fused" in run.rows else "extremes"
    intro = f"<p>The queries with {kinds}. Green and ✓: the same person.</p>"

    def row(*names: str) -> str:
        return chart_row(*((svg[name], CAPTIONS[name]) for name in names if name in svg))

    titled = {
        "numbers": ("Numbers", numbers.about(run), numbers.metrics_table(runs), numbers.difference_table(runs)),
        "curves": ("Curves", row("cmc", "roc"), row("distances")),
        "training": ("Training", row("training")) if "training" in svg else None,
        "ranks": ("Rank lists", intro, note, rank_section(run, shown, images)),
        "attention": ("Attention", row("attention"), _skeletons(run, lists, images)) if "attention" in svg else None,
        "features": ("Features", row("map")),
        "slices": ("Cameras and lengths", row("cameras", "lengths")),
        "provenance": ("Provenance", numbers.provenance_table(runs)),
    }
    sections = [(anchor, found[0], section(anchor, *found)) for anchor, found in titled.items() if found is not None]
    beside = f", beside {', '.join(other.name for other in runs[1:])}" if len(runs) > 1 else ""
    model = run.embedder.config.model
    lead = (
        f'<p class="soft">{text(model.appearance)} + {text(model.pose)}, step {run.evaluation.step}{text(beside)}</p>'
    )
    return page(f"Report: {run.name}", lead, sections, style)


def _figures(runs: Sequence[ReportedRun], lists: Sequence[RankList]) -> tuple[dict[str, "Figure"], dict[str, str]]:
    """All figures by name, and the titles of the map's points."""
    run = runs[0]
    evaluation = run.evaluation
    found, protocol = evaluation.features, PROTOCOLS[evaluation.protocol]
    drawn: dict[str, Figure | None] = {"cmc": charts.cmc_chart(runs), "training": charts.training_chart(runs)}
    drawn["distances"] = charts.distances_chart(run)
    curves = {}
    for one in runs:
        ids = one.evaluation.features.embeddings
        tested = ids.person_ids > 0
        for row in one.rows:
            features = one.features(row)[tested]
            verified = verify(features, ids.person_ids[tested], ids.camera_ids[tested], resamples=0)
            curves[one.name, row] = verified.roc
    drawn["roc"] = charts.roc_chart(curves, [one.name for one in runs])
    tracklets = [run.tracklets[one.query] for one in lists]
    drawn["attention"] = attention_chart(attention_weights(run, tracklets))
    drawn["map"], titles = feature_map(run)
    blocks = distance_blocks(run.features(run.rows[-1]), np.flatnonzero(found.roles.query))
    pairs = by_camera_pair(blocks, found.embeddings, found.roles, protocol)
    drawn["cameras"] = charts.camera_chart({pair: 100 * metrics.mAP for pair, metrics in pairs.items()})
    lengths = found.num_frames[found.roles.query]
    slices = slice_json(evaluation.metrics[evaluation.protocol], by_value(lengths, "frames"), evaluation.query_ids)
    drawn["lengths"] = charts.slices_chart(slices, run.rows)
    return {name: figure for name, figure in drawn.items() if figure is not None}, titles


def _skeletons(run: ReportedRun, lists: Sequence[RankList], images: bool) -> str:
    """Frames of the first queries with their keypoints."""
    if not images:
        return ""
    tracklets = [run.tracklets[one.query] for one in lists[:SKELETONS]]
    shown = strips(run.open_images(), tracklets, SKELETON_FRAMES, skeleton=True)
    return (
        '<div class="charts">' + "".join(f'<img alt="frames with keypoints" src="{uri}">' for uri in shown) + "</div>"
    )
