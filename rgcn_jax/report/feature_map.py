"""A two-dimensional map of the features: their first two principal components, by person and by camera (figure 2)."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.svg import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PERSONS, MAX_TRACKLETS = 12, 300


def principal_components(features: Float32[np.ndarray, "n d"], count: int = 2) -> Float[np.ndarray, "n k"]:
    """Coordinates of the rows along the directions of largest variance, of a fixed sign; zeros where there are fewer
    directions.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    found = u[:, :count] * s[:count]
    found *= np.where(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])] < 0, -1, 1)
    return np.pad(found, ((0, 0), (0, count - found.shape[1])))


def feature_map(run: ReportedRun) -> tuple["Figure", dict[str, str]]:
    """The map of the model's own row, of the persons with the most test tracklets, and a title for each point."""
    from matplotlib import colormaps

    found = run.evaluation.features
    persons, cameras = found.embeddings.person_ids, found.embeddings.camera_ids
    names, counts = np.unique(persons[persons > 0], return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")[:PERSONS]]
    rows = np.flatnonzero(np.isin(persons, shown))[:MAX_TRACKLETS]
    points = principal_components(run.features(run.rows[-1])[rows])
    figure, axes = figure_of(2, 3.8, 3.3)
    titles = {}
    for ax, values, name in ((axes[0], persons[rows], "person"), (axes[1], cameras[rows], "camera")):
        kinds = np.unique(values)
        colours = colormaps["turbo"](np.linspace(0.05, 0.95, len(kinds)))
        for i, row in enumerate(rows.tolist()):
            gid = f"{name}{i}"
            colour = colours[int(np.searchsorted(kinds, values[i]))]
            ax.plot(*points[i : i + 1].T, "o", color=colour, markersize=4.5, markeredgewidth=0, gid=gid)
            titles[gid] = f"person {persons[row]}, camera {cameras[row]}: {found.first_frames[row]}"
        ax.set(title=f"by {name}", xticks=[], yticks=[])
    return figure, titles
