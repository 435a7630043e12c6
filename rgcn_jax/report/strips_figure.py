"""Paper figures with frames: a rank list (figure 10), and attention drawn on the skeleton (figure 11)."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.reader import Data
from rgcn_jax.report.chart import PALETTE
from rgcn_jax.report.paper import axes_of
from rgcn_jax.report.rank_lists import RankList
from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.thumbnails import clips
from rgcn_jax.skeleton import EDGES
from rgcn_jax.types import Tracklet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

YES, NO, QUERY = "#1a7f37", "#cf222e", "#6b7075"

HITS, FRAMES = 6, 3
"""Number of gallery tracklets per row, and of frames for each."""


def rank_figure(run: ReportedRun, found: RankList, data: Data) -> "Figure":
    """Draw a query and its nearest gallery tracklets in every row, with matches in green.

    ``found``: one of the run's ``rank_lists``. ``data``: opened with frames. Raises InputError if a frame cannot be
    read.
    """
    from matplotlib.figure import Figure

    shown = list(dict.fromkeys([found.query, *(hit.tracklet for row in found.hits.values() for hit in row[:HITS])]))
    strips = clips(data, [run.tracklets[i] for i in shown], FRAMES)
    images = {i: np.concatenate(list(frames), axis=1) for i, (frames, _) in zip(shown, strips, strict=True)}
    height, width = images[found.query].shape[:2]
    rows = len(found.hits)
    figure = Figure(figsize=((HITS + 1.25) * 1.3, rows * 1.3 * (height / width + 0.1) + 0.1), layout="constrained")
    grid = figure.add_gridspec(rows, HITS + 1, width_ratios=[1.15] + [1] * HITS)
    query = figure.add_subplot(grid[:, 0])
    _strip(query, images[found.query], QUERY, "query")
    for r, (name, hits) in enumerate(found.hits.items()):
        for k, hit in enumerate(hits[:HITS]):
            ax = figure.add_subplot(grid[r, k + 1])
            _strip(ax, images[hit.tracklet], YES if hit.same_person else NO, str(k + 1) if r == 0 else "")
            if k == 0:
                ax.set_ylabel(name, fontsize=9)
    return figure


def _strip(ax: "Axes", image: np.ndarray, colour: str, title: str) -> None:
    ax.imshow(image, interpolation="lanczos")
    ax.set(xticks=[], yticks=[])
    if title:
        ax.set_title(title, fontsize=9)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=3)


def attention_frames(
    run: ReportedRun, tracklet: Tracklet, weights: dict[str, Float32[np.ndarray, "_"]], data: Data
) -> "Figure":
    """Draw the frames of a clip with the skeleton, keypoints sized by their weight, and the weights of the frames.

    The clip has evenly spaced frames of the tracklet. ``weights``: "node" [14] and "time" [T], if the readout has them.
    ``data``: opened with frames.

    Raises:
      InputError: a frame cannot be read.
    """
    (frames, keypoints), *_ = clips(data, [tracklet], run.embedder.config.frames_per_clip)
    figure, axes = axes_of(len(frames), 0.95, 2.25)
    height, width = frames.shape[1:3]
    node = weights.get("node", np.full(14, 1 / 14))
    time = weights.get("time")
    for t, (ax, frame, points) in enumerate(zip(axes, frames, keypoints, strict=True)):
        ax.imshow(frame, interpolation="lanczos", extent=(0, width, height, 0))
        seen = points[:, 2] > 0
        xy = points[:, :2] * (width, height)
        for a, b in EDGES:
            if seen[a] and seen[b]:
                ax.plot(*xy[[a, b]].T, color="#ffd60a", linewidth=0.9, solid_capstyle="round")
        sizes = 500 * node[seen]
        ax.scatter(*xy[seen].T, s=sizes, color=PALETTE[5], edgecolor="white", linewidth=0.5, zorder=3)
        ax.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
        ax.grid(False)
        if time is not None:
            share = float(time[t] / time.max())
            ax.set_xlabel(f"{100 * time[t]:.0f} %", fontsize=8, labelpad=9)
            bar = ax.inset_axes((0, -0.055, 1, 0.03))
            bar.barh([0], [share], color=PALETTE[0])
            bar.set(xlim=(0, 1), xticks=[], yticks=[])
            bar.axis("off")
    return figure
