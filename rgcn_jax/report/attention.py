"""Attention weights of the readout, drawn on the skeleton and over the frames (figure 11)."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Float32

from rgcn_jax.evaluation.embed import Cutting
from rgcn_jax.report.chart import PALETTE, SOFT, Chart, Panel, Series
from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.skeleton import EDGES, KEYPOINTS
from rgcn_jax.types import Tracklet

_HEAD_AND_ARMS = ((0, 9), (0, 8), (-1.3, 8), (-1.8, 6.5), (-2, 5), (1.3, 8), (1.8, 6.5), (2, 5))
_LEGS = ((-0.9, 5), (-1, 2.7), (-1.1, 0.3), (0.9, 5), (1, 2.7), (1.1, 0.3))
BODY = np.array([*_HEAD_AND_ARMS, *_LEGS], np.float32)
"""Positions at which the keypoints are drawn, in front view."""


def attention_weights(run: ReportedRun, tracklets: Sequence[Tracklet]) -> dict[str, Float32[np.ndarray, "n _"]]:
    """Attention weights by name, "node" [N, 14] and "time" [N, T], for one clip of evenly spaced frames per tracklet.

    Contains only the weights that the readout has; empty without a pose branch.
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


def attention_chart(weights: dict[str, Float32[np.ndarray, "n _"]]) -> Chart | None:
    """Mean weight of each keypoint on the skeleton, and of each frame with quartiles; None without weights."""
    panels = []
    for name, values in weights.items():
        if name == "node":
            panels.append(_skeleton(100 * values.mean(axis=0)))
        else:
            low, middle, high = np.percentile(100 * values, (25, 50, 75), axis=0).tolist()
            frames = range(1, values.shape[1] + 1)
            series = Series(frames, middle, PALETTE[1], points=True, low=low, high=high)
            panels.append(Panel([series], "frames of a clip (%)", x="frame", limits=(None, (0.0, None))))
    return Chart(panels, 4.2, 4.2, legend=False) if panels else None


def _skeleton(mean: Float[np.ndarray, "14"]) -> Panel:
    """Keypoints with sizes according to their weight in per cent."""
    across, up = BODY.T.tolist()
    bones = [Series([across[a], across[b]], [up[a], up[b]], SOFT) for a, b in EDGES]
    joints = []
    for left in (True, False):  # the person's right is on the left of the figure
        chosen = [i for i in range(len(KEYPOINTS)) if (BODY[i, 0] < 0) == left]
        texts = [f"{KEYPOINTS[i].replace('_', ' ')}: {mean[i]:.1f} %" for i in chosen]
        sizes = [float(8 + 90 * np.sqrt(max(mean[i], 0) / 100)) for i in chosen]
        notes = [f"{mean[i]:.1f}" for i in chosen]
        x, y = [across[i] for i in chosen], [up[i] for i in chosen]
        style = {"sizes": sizes, "texts": texts, "notes": notes, "notes_left": left}
        joints.append(Series(x, y, PALETTE[0], line=False, **style))
    return Panel([*bones, *joints], "keypoints (%)", bare=True, limits=((-3.6, 3.6), (-0.8, 9.8)))
