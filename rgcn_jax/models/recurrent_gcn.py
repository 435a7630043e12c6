"""The paper's pose encoders RGCN (eq. 6, 7) and LGCN (eq. 8): a pure step function and a scan over the frames.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n]. A_hat mixes neighbouring keypoints; the state
of the whole graph is carried from frame to frame.

With L layers, eq. 7 is sigma(A_hat^L X W_x1 ... W_xL), with a single outer ReLU: A_hat^L X and the product of the
weights are computed once, before the scan. With ``relu_each_layer`` (decision, off by default) sigma follows every
layer. LGCN with several layers (decision; the paper has one) has a separate chain of weights for each gate.

Two more departures, off by default: ``self_term`` (see ``graph_convolution``); and ``product``: sigma(...) P, with P
[n, n], enters the recurrence, a hidden layer like that of the pipelines of ``gcn_rnn``.

Initialisation (decision, not stated in the paper): W fan-in normal (LeCun), since Glorot's fan-out of n would make the
two-channel input vanish; W_h and every U orthogonal; biases 0, except for LGCN's forget bias 1, so that the cell
initially remembers.

Precision: matmul operands are in ``dtype``; sums, gates, tanh and the state are float32 (float64 for float64 input).
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float

from rgcn_jax.models.graph_convolution import convolve, project
from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.skeleton import normalized_adjacency

Adjacency = tuple[tuple[float, ...], ...]
GATES = ("f", "i", "o", "g")
"""Order of the gates in LGCN's fused parameters: forget, input, output, candidate."""

State = tuple[Array, ...]

_lecun = nn.initializers.lecun_normal()
_lecun_each = nn.initializers.lecun_normal(batch_axis=0)
_orthogonal = nn.initializers.orthogonal()


def rgcn_step(
    params: Mapping[str, ArrayLike],
    h: Float[ArrayLike, "b v n"],
    xw: Float[ArrayLike, "b v n"],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b v n"]:
    """One time step of eq. 6: tanh(H_{t-1} W_h + sigma(A_hat X_t W_x) + b).

    Args:
      params: ``W_h`` [n, n], ``b`` [n]; with a product also ``P`` [n, n], by which sigma(...) is multiplied.
      h: H_{t-1}.
      xw: A_hat X_t W_x (with L layers the argument of the last ReLU).
      dtype: data type of the matmul operands.
    """
    return jnp.tanh(project(h, params["W_h"], dtype) + _entering(params, xw, dtype) + params["b"])


def lgcn_step(
    params: Mapping[str, ArrayLike],
    state: tuple[Float[ArrayLike, "b v n"], ...],
    xw: Float[ArrayLike, "b v gates"],
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "b v n"], Float[Array, "b v n"]]:
    """One time step of eq. 8: (H_{t-1}, C_{t-1}) to (H_t, C_t).

    ``params``: ``U`` [n, 4n], ``b`` [4n], with the gates concatenated in the order of ``GATES``, as in ``xw``, A_hat
    X_t W. With a product ``P`` [4, n, n], one matrix per gate. Other arguments as for ``rgcn_step``.
    """
    h, c = state
    gates = _entering(params, xw, dtype) + project(h, params["U"], dtype) + params["b"]
    f, i, o, g = jnp.split(gates, 4, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def _entering(params: Mapping[str, ArrayLike], xw: ArrayLike, dtype: DTypeLike) -> Array:
    """sigma(xw), times ``P`` if there is one: the input of the recurrence in one frame."""
    z = nn.relu(jnp.asarray(xw))
    return project(z, params["P"], dtype) if "P" in params else z


def scan_frames(
    step: Callable[[State, Array], State],
    state: State,
    inputs: Float[ArrayLike, "b t *rest"],
    mask: Bool[ArrayLike, "b t"] | None,
    unroll: int = 1,
) -> Float[Array, "b t *out"]:
    """Run ``step`` over the frames; return the first member of the state after each frame.

    ``unroll``: number of frames to unroll the loop by. A masked frame does not change the state. ``state`` must be
    derived from the inputs (``zeros_like``): under ``shard_map`` the carry has to vary over the mesh like the result of
    the step.
    """

    def frame(state: State, xs: tuple[Array, Array | None]) -> tuple[State, Array]:
        x, kept = xs
        new = step(state, x)
        if kept is not None:
            new = tuple(
                jnp.where(kept.reshape(-1, *(1,) * (n.ndim - 1)), n, o) for n, o in zip(new, state, strict=True)
            )
        return new, new[0]

    per_frame = jnp.swapaxes(jnp.asarray(inputs), 0, 1), None if mask is None else jnp.asarray(mask).T
    _, outputs = jax.lax.scan(frame, state, per_frame, unroll=unroll)
    return jnp.swapaxes(outputs, 0, 1)


class GraphEncoder(nn.Module):
    """Base class with the fields and steps that RGCN, LGCN, GCN&RNN and GCN&LSTM share.

    ``features``: n. ``num_layers``: L, at least 1. ``relu_each_layer``: sigma after every layer instead of one outside.
    ``self_term``: layers take [Z, A_hat Z] instead of A_hat Z, and their weights have twice the rows. ``adjacency``:
    rows of A_hat; None: the 14-keypoint graph of figure 4. ``dtype``: data type of the matmul operands.
    ``project_in_scan``: multiply the input by W_x (LGCN: W) frame by frame instead of all at once before the scan; the
    result is the same. ``unroll``: the scan over a clip of at most this many frames is unrolled; 1: never.
    """

    features: int
    num_layers: int = 1
    relu_each_layer: bool = False
    adjacency: Adjacency | None = None
    dtype: DTypeLike = jnp.float32
    project_in_scan: bool = False
    self_term: bool = False
    unroll: int = 1

    def prepare(self, keypoints: ArrayLike) -> tuple[Array, Array, DTypeLike]:
        """X in float32 or better, A_hat in the same type, and the data type of the matmul operands."""
        if self.num_layers < 1:
            raise ValueError(f"num_layers is {self.num_layers}: expected at least 1.")
        x = at_least_float32(keypoints)
        a_hat = jnp.asarray(normalized_adjacency() if self.adjacency is None else self.adjacency, x.dtype)
        return x, a_hat, x.dtype if x.dtype == jnp.float64 else self.dtype

    def weight_names(self, symbol: str) -> list[str]:
        """The paper's names of the weights of all layers: the symbol itself for one layer, else numbered from 1."""
        return [symbol] if self.num_layers == 1 else [f"{symbol}{layer + 1}" for layer in range(self.num_layers)]

    def graph_layers(self, keypoints: ArrayLike, symbol: str, gates: int = 1) -> tuple[Array, Array, DTypeLike]:
        """(AX, W) of ``convolve`` and the data type of the matmul operands; creates the weights of all layers.

        The first layer's are [C, gates n]; the others' [n, n], or one such matrix for each of several gates.
        """
        x, a_hat, dtype = self.prepare(keypoints)
        (first, *rest), n = self.weight_names(symbol), self.features
        seen = 2 if self.self_term else 1
        init, shape = (_lecun, (seen * n, n)) if gates == 1 else (_lecun_each, (gates, seen * n, n))
        weights = [self.param(first, _lecun, (seen * x.shape[-1], gates * n))]
        weights += [self.param(name, init, shape) for name in rest]
        return *convolve(x, a_hat, weights, self.relu_each_layer, dtype, self.self_term), dtype

    def scan(
        self,
        step: Callable[[State, Array], State],
        state: State,
        inputs: Float[ArrayLike, "b t *rest c"],
        w: Float[ArrayLike, "..."],
        mask: Bool[ArrayLike, "b t"] | None,
        dtype: DTypeLike,
    ) -> Float[Array, "b t *out"]:
        """``scan_frames`` with x_t W (``project``) as input, before or in the scan (``project_in_scan``)."""
        frames = jnp.shape(inputs)[1]
        unroll = frames if frames <= self.unroll else 1
        if self.project_in_scan:
            return scan_frames(lambda state, x: step(state, project(x, w, dtype)), state, inputs, mask, unroll)
        return scan_frames(step, state, project(inputs, w, dtype), mask, unroll)


class RGCN(GraphEncoder):
    """RGCN: H_t = tanh(H_{t-1} W_h + sigma(A_hat X_t W_x) + b), H_0 = 0 (eq. 6; with several layers eq. 7).

    Parameters: ``W_x`` [C, n] (with L > 1 layers ``W_x1`` [C, n], ``W_x2`` [n, n], ...; twice the rows with a self
    term), ``W_h`` [n, n], ``b`` [n]; with ``product`` also ``P`` [n, n], and sigma(...) P in place of sigma(...).
    """

    product: bool = False

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. Frames where ``mask`` is False do not change the state. ``train`` has no effect."""
        ax, w_x, dtype = self.graph_layers(keypoints, "W_x")
        n = self.features
        params = {
            "W_h": self.param("W_h", _orthogonal, (n, n)),
            "b": self.param("b", nn.initializers.zeros, (n,)),
        }
        if self.product:
            params["P"] = self.param("P", _lecun, (n, n))
        h = jnp.zeros_like(project(ax[:, 0], w_x, dtype))
        return self.scan(lambda state, xw: (rgcn_step(params, state[0], xw, dtype),), (h,), ax, w_x, mask, dtype)


class LGCN(GraphEncoder):
    """LGCN, the LSTM variant, eq. 8: gates f, i, o, g from sigma(A_hat X_t W_k) + H_{t-1} U_k + b_k; H_0 = C_0 = 0.

    Parameters are fused, so that a frame costs two matmuls; ``named_gates`` returns them by the paper's names. Gates
    are concatenated in the order of ``GATES``: ``W`` [C, 4n] (with L > 1 layers ``W1`` [C, 4n], ``W2`` [4, n, n], ...),
    ``U`` [n, 4n], ``b`` [4n]. With a self term W has twice the rows; with a product there is ``P`` [4, n, n].
    """

    product: bool = False

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. Frames where ``mask`` is False do not change H and C. ``train`` has no effect."""
        ax, w, dtype = self.graph_layers(keypoints, "W", gates=4)
        n = self.features
        params = {
            "U": self.param("U", orthogonal_gates, (n, 4 * n)),
            "b": self.param("b", forget_one, (4 * n,)),
        }
        if self.product:
            params["P"] = self.param("P", _lecun_each, (4, n, n))
        zero = jnp.zeros_like(project(ax[:, 0], w, dtype)[..., :n])
        return self.scan(lambda state, xw: lgcn_step(params, state, xw, dtype), (zero, zero), ax, w, mask, dtype)


def named_gates(params: Mapping[str, Any]) -> dict[str, Array]:
    """LGCN's parameters by the names of eq. 8: W_f W_i W_o W_g, U_f ..., b_f ... (W_f1, W_f2, ... with more layers).

    ``params``: parameters of one LGCN, or its variables, with these under "params". Returns ``W_k`` [C, n] ([n, n] from
    the second layer on), ``U_k`` [n, n] and ``b_k`` [n] for every gate k; ``P_k`` [n, n] with a product.
    """
    named = {}
    for name, fused in params.get("params", params).items():
        symbol, layer = name[0], name[1:]
        fused = jnp.asarray(fused)
        gates = fused if fused.ndim == 3 else jnp.split(fused, 4, axis=-1)
        named |= {f"{symbol}_{gate}{layer}": value for gate, value in zip(GATES, gates, strict=True)}
    return named


def orthogonal_gates(key: Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Array:
    """Initialiser: one orthogonal [n, n] matrix per gate, concatenated."""
    n = shape[0]
    return jnp.concatenate([_orthogonal(k, (n, n), dtype) for k in jax.random.split(key, len(GATES))], axis=1)


def forget_one(key: Array, shape: tuple[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Initialiser: zeros, and ones for the forget gate, which comes first."""
    del key
    return jnp.zeros(shape, dtype).at[: shape[0] // 4].set(1.0)
