"""Building the report of a run and its baselines: charts, tables and rank lists, as one page and as figure files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rgcn_jax.data.clips.reader import Data
from rgcn_jax.evaluation.distance import distance_blocks
from rgcn_jax.evaluation.slices import by_camera_pair, by_value, slice_json
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.report import charts, numbers
from rgcn_jax.report.attention import attention_chart, attention_weights
from rgcn_jax.report.chart import Chart
from rgcn_jax.report.feature_map import feature_map
from rgcn_jax.report.interactive import element
from rgcn_jax.report.page import chart_row, page, section, text
from rgcn_jax.report.paper import STYLE, draw, write_figure
from rgcn_jax.report.rank_lists import RankList, rank_lists
from rgcn_jax.report.rank_section import rank_section, with_images
from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.strips_figure import attention_frames, rank_figure
from rgcn_jax.report.thumbnails import strips

CAPTIONS = {
    "cmc": "CMC: fraction of the queries with a match within rank k.",
    "training": "Training, from metrics.jsonl: losses, weight of the appearance triplet, learning rate, evaluations.",
    "distances": "Distances of genuine pairs (one person, counted as a match) and impostor pairs, as densities.",
    "roc": "Verification: true positive rate at a false positive rate, over all pairs.",
    "attention": "Mean attention weights over the queries shown; for frames the median and quartiles.",
    "map": "t-SNE of the features of the persons with the most tracklets; hover over a point for its tracklet.",
    "cameras": "mAP (%) by camera of the query and camera of the gallery.",
    "lengths": "mAP (%) by length of the query's tracklet, with 95 % intervals over persons.",
    "keypoints": "mAP (%) by fraction of detected keypoints in the query's tracklet, with 95 % intervals over persons.",
}

ROBUSTNESS_CAPTION = "mAP with 95 % intervals over persons."

SKELETONS, SKELETON_FRAMES = 4, 6
"""Number of queries shown with their skeleton, and of frames for each."""


def build(runs: Sequence[ReportedRun], queries: int, images: bool, figures: Path | None) -> str:
    """Build the HTML of a report and, if ``figures`` is given, write the figures to files.

    ``runs``: the run, followed by its baselines. ``queries``: number of rank lists. ``images``: whether to include
    images of persons. ``figures``: folder for NAME.svg and NAME.pdf of every figure.

    Raises:
      InputError: a frame cannot be read, or a file cannot be written.
    """
    from plotly.offline import get_plotlyjs  # an optional dependency

    run = runs[0]
    lists = rank_lists(run, queries)
    data = run.open_images() if images else None
    weights = attention_weights(run, [run.tracklets[one.query] for one in lists])
    drawn = _charts(runs) | {"attention": attention_chart(weights)}
    shown_charts = {name: chart for name, chart in drawn.items() if chart is not None}
    if figures is not None:
        _write_figures(run, shown_charts, lists, weights, data, figures)
    elements = {name: element(name, chart) for name, chart in shown_charts.items()}
    shown, style = with_images(run, lists, data)
    dropped = len(lists) - len(shown)
    omitted = "1 more query is" if dropped == 1 else f"{dropped} more queries are"
    note = f"<p>{omitted} omitted: the page would exceed 15 MB.</p>" if dropped else ""
    kinds = "the largest gains and losses of the fused over the appearance row" if "fused" in run.rows else "extremes"
    intro = f"<p>The queries with {kinds}. Green and ✓: the same person.</p>"

    def row(*names: str) -> str:
        captions = {name: CAPTIONS.get(name, ROBUSTNESS_CAPTION) for name in names}
        return chart_row(*((elements[name], captions[name]) for name in names if name in elements))

    robust = [name for name in elements if name.startswith("robustness-")]
    titled = {
        "numbers": ("Numbers", numbers.about(run), numbers.metrics_table(runs), numbers.difference_table(runs)),
        "curves": ("Curves", row("cmc", "roc"), row("distances")),
        "training": ("Training", row("training")) if "training" in elements else None,
        "ranks": ("Rank lists", intro, note, rank_section(run, shown, images)),
        "attention": ("Attention", row("attention"), _skeletons(run, lists, data)) if "attention" in elements else None,
        "features": ("Features", row("map")),
        "slices": ("Cameras, lengths and keypoints", row("cameras", "lengths", "keypoints")),
        "robustness": ("Robustness", row(*robust)) if robust else None,
        "provenance": ("Provenance", numbers.provenance_table(runs)),
    }
    sections = [(anchor, found[0], section(anchor, *found)) for anchor, found in titled.items() if found is not None]
    others = f", compared with {', '.join(other.name for other in runs[1:])}" if len(runs) > 1 else ""
    model = run.embedder.config.model
    lead = (
        f'<p class="soft">{text(model.appearance)} + {text(model.pose)}, step {run.evaluation.step}{text(others)}</p>'
    )
    return page(f"Report: {run.name}", lead, sections, style, get_plotlyjs())


def _charts(runs: Sequence[ReportedRun]) -> dict[str, Chart | None]:
    """All charts of metrics, by name."""
    run, found = runs[0], runs[0].evaluation.features
    drawn: dict[str, Chart | None] = {"cmc": charts.cmc_chart(runs), "training": charts.training_chart(runs)}
    drawn["distances"] = charts.distances_chart(run)
    curves = {}
    for one in runs:
        persons, cameras, clothes = one.evaluation.features.embeddings[2:]
        options = {"exclude_same_camera": not one.protocol.same_camera, "resamples": 0}
        worn = None if one.protocol.same_clothes else clothes
        for row in one.rows:
            curves[one.name, row] = verify(one.features(row), persons, cameras, clothes_ids=worn, **options).roc
    drawn["roc"] = charts.roc_chart(curves, [one.name for one in runs])
    drawn["map"] = feature_map(run)
    blocks = distance_blocks(run.features(run.rows[-1]), np.flatnonzero(found.roles.query))
    pairs = by_camera_pair(blocks, found.embeddings, found.roles, run.protocol)
    drawn["cameras"] = charts.camera_chart({pair: 100 * metrics.mAP for pair, metrics in pairs.items()})
    values = {"lengths": (found.num_frames[found.roles.query], "frames")}
    if found.quality is not None and not np.isnan(found.quality.share).any():
        values["keypoints"] = 100 * found.quality.share[found.roles.query], "% detected"
    for name, (of_query, unit) in values.items():
        slices = slice_json(run.metrics, by_value(of_query, unit), run.evaluation.query_ids)
        drawn[name] = charts.slices_chart(slices, run.rows)
    return drawn | charts.robustness_charts(run.robustness)


def _write_figures(
    run: ReportedRun,
    drawn: dict[str, Chart],
    lists: Sequence[RankList],
    weights: dict[str, np.ndarray],
    data: Data | None,
    folder: Path,
) -> None:
    """Write every chart as SVG and PDF; with images also the first rank list and its query's skeleton."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        for name, chart in drawn.items():
            write_figure(folder, name, draw(chart))
        if data is not None and lists:
            write_figure(folder, "rank-list", rank_figure(run, lists[0], data))
        if data is not None and weights:
            of_first = {name: values[0] for name, values in weights.items()}
            tracklet = run.tracklets[lists[0].query]
            write_figure(folder, "skeleton-attention", attention_frames(run, tracklet, of_first, data))


def _skeletons(run: ReportedRun, lists: Sequence[RankList], data: Data | None) -> str:
    """HTML with frames of the first queries and their keypoints."""
    if data is None:
        return ""
    shown = strips(data, [run.tracklets[one.query] for one in lists[:SKELETONS]], SKELETON_FRAMES, skeleton=True)
    images = "".join(f'<img alt="frames with keypoints" src="{uri}">' for uri in shown)
    return f'<div class="charts">{images}</div>'
