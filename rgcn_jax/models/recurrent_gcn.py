"""The paper's pose encoders: RGCN (eq. 6, 7) and LGCN (eq. 8), each a pure step and a scan over the frames.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n]. A_hat mixes neighbouring keypoints, and a
state of the whole graph is carried from frame to frame.

With L graph-convolution layers eq. 7 prints sigma(A_hat^L X W_x1 ... W_xL), one ReLU, outside: A_hat^L X and the
product of the weights are then computed once, before the scan. With ``relu_each_layer`` (decision, off by default)
sigma follows every layer. LGCN with more layers (decision; the paper prints one) has a chain of weights of its own
for each gate.

Initialisation (decision, the paper is silent): W normal with the fan-in's scale (LeCun), since Glorot's fan-out of n
makes the two-channel input vanish; W_h and every U orthogonal; biases 0, but LGCN's forget bias 1, so that the cell
remembers at first.

Precision: the factors of the matmuls are in ``dtype``; sums, gates, tanh and the state are float32 (float64 for
float64 input).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.skeleton import normalized_adjacency

GATES = ("f", "i", "o", "g")
"""Order in which LGCN's fused parameters hold the gates: forget, input, output, candidate."""

Adjacency = tuple[tuple[float, ...], ...]
State = tuple[Array, ...]

_lecun = nn.initializers.lecun_normal()
_orthogonal = nn.initializers.orthogonal()


def project(
    x: Float[ArrayLike, "*batch c"], w: Float[ArrayLike, "..."], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*batch m"]:
    """The product x W with the factors in ``dtype`` and the sum in float32 or better.

    W is [c, m], or holds a matrix for each of k gates, [k, c / k, m / k]; x and the result then have the gates side
    by side.
    """
    total = jnp.promote_types(dtype, jnp.float32)
    x, w = jnp.asarray(x).astype(dtype), jnp.asarray(w).astype(dtype)
    if w.ndim == 2:
        return jnp.matmul(x, w, preferred_element_type=total)
    x = x.reshape(*x.shape[:-1], *w.shape[:2])
    gates = jnp.einsum("...kc,kcm->...km", x, w, preferred_element_type=total)
    return gates.reshape(*gates.shape[:-2], -1)


def rgcn_step(
    params: Mapping[str, ArrayLike],
    h: Float[ArrayLike, "b v n"],
    xw: Float[ArrayLike, "b v n"],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b v n"]:
    """One frame of eq. 6: tanh(H_{t-1} W_h + sigma(A_hat X_t W_x) + b).

    Args:
      params: ``W_h`` [n, n], ``b`` [n].
      h: H_{t-1}.
      xw: A_hat X_t W_x (with L layers what the last ReLU is taken of).
      dtype: of the factors of the matmul.
    """
    return jnp.tanh(project(h, params["W_h"], dtype) + nn.relu(jnp.asarray(xw)) + params["b"])


def lgcn_step(
    params: Mapping[str, ArrayLike],
    state: tuple[Float[ArrayLike, "b v n"], ...],
    xw: Float[ArrayLike, "b v gates"],
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "b v n"], Float[Array, "b v n"]]:
    """One frame of eq. 8: (H_{t-1}, C_{t-1}) to (H_t, C_t).

    ``params``: ``U`` [n, 4n], ``b`` [4n], the gates side by side in the order of ``GATES``; so they are in ``xw``,
    A_hat X_t W. The rest as ``rgcn_step``.
    """
    h, c = state
    gates = nn.relu(jnp.asarray(xw)) + project(h, params["U"], dtype) + params["b"]
    f, i, o, g = jnp.split(gates, 4, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def convolve(
    x: Float[ArrayLike, "b t v c"],
    a_hat: Float[ArrayLike, "v v"],
    weights: Sequence[Float[ArrayLike, "..."]],
    relu_each_layer: bool,
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "b t v k"], Float[Array, "..."]]:
    """The graph convolution of all frames but for its last product: (AX, W) with sigma(AX W) what enters the
    recurrence.

    The last product is left to ``scan_projected``.
    """
    ax, w = jnp.einsum("uv,btvc->btuc", a_hat, x), jnp.asarray(weights[0])
    for following in map(jnp.asarray, weights[1:]):
        if relu_each_layer:
            ax, w = nn.relu(project(ax, w, dtype)), following
        else:
            w = project(w, following, w.dtype)
        ax = jnp.einsum("uv,btvc->btuc", a_hat, ax)
    return ax, w


def scan_frames(
    step: Callable[[State, Array], State],
    state: State,
    inputs: Float[ArrayLike, "b t *rest"],
    mask: Bool[ArrayLike, "b t"] | None,
    unroll: int = 1,
) -> Float[Array, "b t *out"]:
    """Runs ``step`` over the frames; the first member of the state after each frame, frame by frame.

    ``unroll``: so many frames are compiled one after another, within a loop over the rest. A masked frame changes
    nothing: the state is held over it. ``state`` must be made from the inputs (``zeros_like``), not from plain zeros:
    under ``shard_map`` the carry has to vary over the mesh like what the step returns.
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


def scan_projected(
    step: Callable[[State, Array], State],
    state: State,
    inputs: Float[ArrayLike, "b t *rest c"],
    w: Float[ArrayLike, "..."],
    mask: Bool[ArrayLike, "b t"] | None,
    dtype: DTypeLike,
    *,
    in_scan: bool,
    unroll: int = 1,
) -> Float[Array, "b t *out"]:
    """``scan_frames`` with x_t W (``project``) as the step's input: the product of all frames before the scan, or
    ``in_scan`` frame by frame.
    """
    if in_scan:
        return scan_frames(lambda state, x: step(state, project(x, w, dtype)), state, inputs, mask, unroll)
    return scan_frames(step, state, project(inputs, w, dtype), mask, unroll)


class _GraphEncoder(nn.Module):
    """The fields that both encoders share.

    ``features``: n. ``num_layers``: L, at least 1. ``relu_each_layer``: sigma after every layer instead of one outside.
    ``adjacency``: A_hat row by row; None: the 14-keypoint graph of figure 4. ``dtype``: of the factors of the matmuls.
    ``project_in_scan``: multiply the input with W_x (LGCN: W) frame by frame instead of all frames before the scan; the
    result is the same.
    """

    features: int
    num_layers: int = 1
    relu_each_layer: bool = False
    adjacency: Adjacency | None = None
    dtype: DTypeLike = jnp.float32
    project_in_scan: bool = False

    def prepare(self, keypoints: ArrayLike) -> tuple[Array, Array, DTypeLike]:
        """X in float32 or better, A_hat in the same type, and the type of the factors of the matmuls."""
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {self.num_layers}.")
        x = at_least_float32(keypoints)
        a_hat = jnp.asarray(normalized_adjacency() if self.adjacency is None else self.adjacency, x.dtype)
        return x, a_hat, x.dtype if x.dtype == jnp.float64 else self.dtype

    def weight_names(self, symbol: str) -> list[str]:
        """The paper's names of the weights of all layers: the bare symbol for one layer, else numbered from 1."""
        return [symbol] if self.num_layers == 1 else [f"{symbol}{layer + 1}" for layer in range(self.num_layers)]


class RGCN(_GraphEncoder):
    """H_t = tanh(H_{t-1} W_h + sigma(A_hat X_t W_x) + b), H_0 = 0 (eq. 6; with more layers eq. 7).

    Parameters: ``W_x`` [C, n] (with L > 1 layers ``W_x1`` [C, n], ``W_x2`` [n, n], ...), ``W_h`` [n, n], ``b`` [n].
    """

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. ``mask`` is False for frames that only fill up a clip; over these the state is held. ``train``
        changes nothing.
        """
        x, a_hat, dtype = self.prepare(keypoints)
        n = self.features
        fan_in = [x.shape[-1]] + [n] * (self.num_layers - 1)
        weights = [self.param(name, _lecun, (c, n)) for name, c in zip(self.weight_names("W_x"), fan_in, strict=True)]
        ax, w_x = convolve(x, a_hat, weights, self.relu_each_layer, dtype)
        params = {
            "W_h": self.param("W_h", _orthogonal, (n, n)),
            "b": self.param("b", nn.initializers.zeros, (n,)),
        }
        h = jnp.zeros_like(project(ax[:, 0], w_x, dtype))

        def step(state: State, xw: Array) -> State:
            return (rgcn_step(params, state[0], xw, dtype),)

        return scan_projected(step, (h,), ax, w_x, mask, dtype, in_scan=self.project_in_scan)


class LGCN(_GraphEncoder):
    """The LSTM form, eq. 8: gates f, i, o, g from sigma(A_hat X_t W_k) + H_{t-1} U_k + b_k; H_0 = C_0 = 0.

    Parameters, fused so that a frame costs two matmuls; ``named_gates`` gives them the paper's names. The gates lie
    side by side in the order of ``GATES``: ``W`` [C, 4n] (with L > 1 layers ``W1`` [C, 4n], ``W2`` [4, n, n], ...),
    ``U`` [n, 4n], ``b`` [4n].
    """

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. ``mask`` is False for frames that only fill up a clip; over these H and C are held. ``train``
        changes nothing.
        """
        x, a_hat, dtype = self.prepare(keypoints)
        n = self.features
        first, *rest = self.weight_names("W")
        weights = [self.param(first, _lecun, (x.shape[-1], 4 * n))]
        weights += [self.param(name, nn.initializers.lecun_normal(batch_axis=0), (4, n, n)) for name in rest]
        ax, w = convolve(x, a_hat, weights, self.relu_each_layer, dtype)
        params = {
            "U": self.param("U", orthogonal_gates, (n, 4 * n)),
            "b": self.param("b", forget_one, (4 * n,)),
        }
        zero = jnp.zeros_like(project(ax[:, 0], w, dtype)[..., :n])

        def step(state: State, xw: Array) -> State:
            return lgcn_step(params, state, xw, dtype)

        return scan_projected(step, (zero, zero), ax, w, mask, dtype, in_scan=self.project_in_scan)


def named_gates(params: Mapping[str, Any]) -> dict[str, Array]:
    """LGCN's fused parameters under the names of eq. 8: W_f W_i W_o W_g, U_f ..., b_f ... (W_f1, W_f2, ... with more
    layers).

    Args:
      params: the parameters of one LGCN, ``W``, ``U``, ``b``; or its variables, with these under "params".

    Returns:
      ``W_k`` [C, n] ([n, n] from the second layer on), ``U_k`` [n, n] and ``b_k`` [n] for every gate k.
    """
    named = {}
    for name, fused in params.get("params", params).items():
        symbol, layer = name[0], name[1:]
        fused = jnp.asarray(fused)
        gates = fused if fused.ndim == 3 else jnp.split(fused, 4, axis=-1)
        named |= {f"{symbol}_{gate}{layer}": value for gate, value in zip(GATES, gates, strict=True)}
    return named


def orthogonal_gates(key: Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32) -> Array:
    """An orthogonal [n, n] for each gate, side by side."""
    n = shape[0]
    return jnp.concatenate([_orthogonal(k, (n, n), dtype) for k in jax.random.split(key, len(GATES))], axis=1)


def forget_one(key: Array, shape: tuple[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Zeros, but ones for the forget gate, which comes first."""
    del key
    return jnp.zeros(shape, dtype).at[: shape[0] // 4].set(1.0)
