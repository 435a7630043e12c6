"""Attention of the readout: weights on the skeleton and over the frames (figure 11)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float32

from rgcn_jax.evaluation.embed import Cutting
from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.svg import PALETTE, figure_of
from rgcn_jax.skeleton import EDGES, KEYPOINTS
from rgcn_jax.types import Tracklet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEAD_AND_ARMS = ((0, 9), (0, 8), (-1, 8), (-1.5, 6.5), (-1.7, 5), (1, 8), (1.5, 6.5), (1.7, 5))
_LEGS = ((-0.7, 5), (-0.8, 2.7), (-0.9, 0.3), (0.7, 5), (0.8, 2.7), (0.9, 0.3))
BODY = np.array([*_HEAD_AND_ARMS, *_LEGS], np.float32)
"""Where the keypoints are drawn, seen from the front."""


def attention_weights(run: ReportedRun, tracklets: Sequence[Tracklet]) -> dict[str, Float32[np.ndarray, "n _"]]:
    """Weights by name, "node" [N, 14] and "time" [N, T], of one clip of evenly spaced frames of each tracklet.

    Names that the readout lacks are absent; without a pose branch all are.
    """
    if not tracklets or not run.embedder.config.with_pose:
        return {}
    devices = run.embedder.mesh.size
    cutting = Cutting("even", run.embedder.config.frames_per_clip, -(-min(len(tracklets), 32) // devices) * devices)
    found: dict[str, list[np.ndarray]] = {}
    for plan, features in run.embedder.extractor.clips(run.embedder.variables, run.data.read, tracklets, cutting):
        for name, weights in jax.device_get(features.attention).items():
            found.setdefault(name, []).append(np.asarray(weights)[plan.index >= 0])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def attention_chart(weights: dict[str, Float32[np.ndarray, "n _"]]) -> "Figure | None":
    """Mean weight of each keypoint on the skeleton, and of each frame with its quartiles; None without weights."""
    if not weights:
        return None
    figure, axes = figure_of(len(weights), 3.4, 3.4)
    for ax, (name, values) in zip(axes, weights.items(), strict=True):
        if name == "node":
            mean = values.mean(axis=0)
            for a, b in EDGES:
                ax.plot(*BODY[[a, b]].T, color="#8a8a8a", linewidth=1)
            ax.scatter(*BODY.T, s=30 + 2500 * mean, color=PALETTE[0], alpha=0.85, zorder=3, linewidth=0)
            for point, weight, keypoint in zip(BODY, mean, KEYPOINTS, strict=True):
                side = "right" if "right" in keypoint else "left"
                ax.annotate(
                    f"{100 * weight:.1f}",
                    point,
                    (-9 if side == "right" else 9, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=7,
                )
            ax.set(xlim=(-3, 3), xticks=[], yticks=[], title="keypoints (%)")
            ax.grid(False)
            for spine in ax.spines.values():
                spine.set_visible(False)
        else:
            low, middle, high = np.percentile(100 * values, (25, 50, 75), axis=0)
            frames = np.arange(1, values.shape[1] + 1)
            ax.fill_between(frames, low, high, color=PALETTE[1], alpha=0.25, linewidth=0)
            ax.plot(frames, middle, "o-", color=PALETTE[1], markersize=3)
            ax.set(title="frames of a clip (%)", xlabel="frame", ylim=(0, None))
    return figure
