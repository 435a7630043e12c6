"""Two-dimensional t-SNE map of the features, coloured by person and by camera (figure 2)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from rgcn_jax.report.chart import Chart, Panel, Series
from rgcn_jax.report.reported_run import ReportedRun

PERSONS, MAX_TRACKLETS = 12, 300

PERPLEXITY = 15.0


def t_sne(features: Float32[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """Embed features in two dimensions by t-SNE (van der Maaten and Hinton, JMLR 2008).

    Neighbourhoods are meaningful; distances between clusters and cluster sizes are not. Deterministic; fewer
    than three points are placed at 0.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(features) < 3:
        return np.zeros((len(features), 2))
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    start = "pca" if min(features.shape) >= 2 else "random"
    with threadpool_limits(1):  # threads slow down a few hundred points
        found = TSNE(perplexity=perplexity, init=start, random_state=0, n_jobs=1).fit_transform(features)
    return found.astype(float)


def feature_map(run: ReportedRun) -> Chart:
    """Map of the last row of the model, for the persons with the most test tracklets."""
    found = run.evaluation.features
    persons, cameras = found.embeddings.person_ids, found.embeddings.camera_ids
    names, counts = np.unique(persons[persons > 0], return_counts=True)
    shown = names[np.argsort(-counts, kind="stable")[:PERSONS]]
    rows = np.flatnonzero(np.isin(persons, shown))[:MAX_TRACKLETS]
    points = t_sne(run.features(run.rows[-1])[rows])
    texts = [f"person {persons[i]}, camera {cameras[i]}: {found.first_frames[i]}" for i in rows]
    panels = [
        _panel(points, kinds, name, texts) for kinds, name in ((persons[rows], "person"), (cameras[rows], "camera"))
    ]
    return Chart(panels, 4.4, 4.0, legend=False)


def _panel(points: np.ndarray, kinds: np.ndarray, name: str, texts: Sequence[str]) -> Panel:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    found = np.unique(kinds)
    colours = [to_hex(c) for c in colormaps["turbo"](np.linspace(0.08, 0.92, len(found)))]
    series = []
    for kind, colour in zip(found, colours, strict=True):
        of_kind = np.flatnonzero(kinds == kind).tolist()
        x, y = points[of_kind].round(3).T.tolist()
        series.append(Series(x, y, colour, line=False, texts=[texts[i] for i in of_kind]))
    return Panel(series, f"by {name}", bare=True)
