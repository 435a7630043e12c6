"""State of a recurrent pose encoder beyond the clip length of its training: gates, cell and f_p.

    python -m benchmarks.recurrent_states RUN ...

Uses the first 40 frames of sufficiently long test tracklets. After 1, 5, 10, 20 and 40 frames, over tracklets, nodes
and dimensions: for LGCN and GCN&LSTM the mean activation of the forget gate f, the fraction of it above 0.95, the mean
input of the graph to its sigmoid, and the root mean square of the cell c; the root mean square of H; and the shift of
f_p relative to ten frames: the mean shift of a dimension over its standard deviation between tracklets, root mean
square over dimensions.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rgcn_jax.data.load import open_data
from rgcn_jax.embedder import Embedder, load
from rgcn_jax.evaluation.protocol import test_tracklets
from rgcn_jax.models import GCNLSTM, LGCN
from rgcn_jax.models.graph_convolution import convolve, project

FRAMES, AT, TRAINED = 40, (1, 5, 10, 20, 40), 10


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs with a recurrent pose encoder")
    for run in parser.parse_args(argv).runs:
        print(f"{run}\n| frames | f | f > 0.95 | graph in f | c | H | shift of f_p |\n|---|---|---|---|---|---|---|")
        for line in states(load(run)):
            print("| " + " | ".join("-" if np.isnan(v) else f"{v:.3g}" for v in line) + " |", flush=True)


def states(embedder: Embedder) -> list[list[float]]:
    """Rows of the table; NaN for values that an encoder without gates does not have."""
    x, h, features = _encoded(embedder)
    found = gates(embedder.model.pose, embedder.variables["params"]["pose"], x)
    shift = features.mean(1) - features[AT.index(TRAINED)].mean(0)
    spread = features[AT.index(TRAINED)].std(0) + 1e-6
    lines = []
    for index, t in enumerate(AT):
        graph, f, c = (found[name][:, t - 1] for name in ("graph", "f", "c")) if found else [np.full(1, np.nan)] * 3
        above = float((f > 0.95).mean()) if found else np.nan
        cell = [float(f.mean()), above, float(graph.mean()), _rms(c)]
        lines.append([t, *cell, _rms(h[:, t - 1]), _rms(shift[index] / spread)])
    return lines


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _encoded(embedder: Embedder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X [B, 40, 14, C] and H of the long test tracklets, and f_p [5, B, D] after each of ``AT`` frames."""
    config = embedder.config
    data = open_data(config.data, config.frame_size, True, with_frames=False)
    assert data.keypoints is not None
    long = [t for t in test_tracklets(data.split)[0] if len(t.frames) >= FRAMES]
    keypoints = np.stack([data.keypoints.of(t)[:FRAMES] for t in long])
    seen: list[np.ndarray] = []

    def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        found = call(*args, **kwargs)
        if context.module.name == "pose" and context.method_name == "__call__":
            seen.extend(map(np.asarray, (args[0], found)))
        return found

    features = []
    for t in AT:
        mask = np.ones((len(long), FRAMES), bool)
        mask[:, t:] = False
        seen.clear()
        with nn.intercept_methods(keep):
            found: Any = embedder.model.apply(embedder.variables, np.zeros((len(long), 0)), keypoints, mask)
        features.append(np.asarray(found.pose))
    return seen[0], seen[1], np.stack(features)


def gates(encoder: Any, params: Any, x: Float[np.ndarray, "b t v c"]) -> dict[str, np.ndarray]:
    """Gates of LGCN or GCN&LSTM from their equations, each [B, T, V, n]: "graph", the graph's input to the forget
    gate's sigmoid; "f", the gate; "c", the cell; "h". Empty for other encoders.
    """
    if isinstance(encoder, LGCN):
        symbol, recurrent, product = "W", "U", params.get("P")
    elif isinstance(encoder, GCNLSTM):
        symbol, recurrent, product = "W_g", "W_h", params["W_x"]
    else:
        return {}
    inputs, a_hat, dtype = encoder.prepare(x)
    weights = [params[name] for name in encoder.weight_names(symbol)]
    z = nn.relu(project(*convolve(inputs, a_hat, weights, encoder.relu_each_layer, dtype, encoder.self_term)))
    z = z if product is None else project(z, product)
    h = c = jnp.zeros_like(z[:, 0, :, : encoder.features])
    kept: dict[str, list[Any]] = {"f": [], "c": [], "h": []}
    for t in range(z.shape[1]):
        f, i, o, g = jnp.split(z[:, t] + project(h, params[recurrent]) + params["b"], 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        for name, value in (("f", nn.sigmoid(f)), ("c", c), ("h", h)):
            kept[name].append(value)
    found = {name: np.stack(values, axis=1) for name, values in kept.items()}
    return found | {"graph": np.asarray(z[..., : encoder.features])}


if __name__ == "__main__":
    main()
