"""The graph convolution that RGCN, LGCN and the pipelines share: A_hat X W, layer by layer, of all frames at once.

Two departures from the paper, both off by default. ``self_term``: a layer is sigma([Z, A_hat Z] W_x), a keypoint's own
value beside its neighbours', since A_hat of this graph damps the differences between neighbouring keypoints, the bones,
sixfold or more and loses one combination of the keypoints altogether: its eigenvalues are -0.38, -0.15 (three times),
0, 0.40 (three times), 0.46, 0.75, 0.92 (three times) and 1. ``relu_each_layer``: sigma follows every layer, where eq. 7
prints one, outside.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, DTypeLike, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.skeleton import normalized_adjacency

Adjacency = tuple[tuple[float, ...], ...]


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
        # As rows: in the gradient of w XLA's CPU would else transpose the other factor, column by column.
        rows = jnp.matmul(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), w, preferred_element_type=total)
        return rows.reshape(*x.shape[:-1], w.shape[1])
    x = x.reshape(*x.shape[:-1], *w.shape[:2])
    gates = jnp.einsum("...kc,kcm->...km", x, w, preferred_element_type=total)
    return gates.reshape(*gates.shape[:-2], -1)


def convolve(
    x: Float[ArrayLike, "b t v c"],
    a_hat: Float[ArrayLike, "v v"],
    weights: Sequence[Float[ArrayLike, "..."]],
    relu_each_layer: bool,
    dtype: DTypeLike = jnp.float32,
    self_term: bool = False,
) -> tuple[Float[Array, "b t v k"], Float[Array, "..."]]:
    """The graph convolution of all frames but for its last product: (AX, W) with sigma(AX W) what enters the
    recurrence; with ``self_term`` ([X, AX], W).

    The last product is left to ``scan_projected``.
    """
    ax, w = _neighbours(x, a_hat, self_term), jnp.asarray(weights[0])
    for following in map(jnp.asarray, weights[1:]):
        if relu_each_layer or self_term:
            z = project(ax, w, dtype)
            z, w = nn.relu(z) if relu_each_layer else z, following
            gates = len(following) if following.ndim == 3 else 1
            ax = _neighbours(z, a_hat, self_term, gates)
        else:
            w = project(w, following, w.dtype)
            ax = _neighbours(ax, a_hat, False)
    return ax, w


def _neighbours(x: ArrayLike, a_hat: ArrayLike, self_term: bool, gates: int = 1) -> Array:
    """A_hat X; with ``self_term`` [X, A_hat X], the channels of each gate beside their own neighbours'."""
    ax = jnp.einsum("uv,btvc->btuc", a_hat, x)
    if not self_term:
        return ax
    pair = [z.reshape(*z.shape[:-1], gates, -1) for z in (jnp.asarray(x), ax)]
    return jnp.concatenate(pair, axis=-1).reshape(*ax.shape[:-1], -1)


class GraphEncoder(nn.Module):
    """The fields that RGCN, LGCN and the pipelines share.

    ``features``: n. ``num_layers``: L, at least 1. ``relu_each_layer``: sigma after every layer instead of one outside.
    ``self_term``: every layer sees [Z, A_hat Z] instead of A_hat Z, and its weights have twice the rows.
    ``adjacency``: A_hat row by row; None: the 14-keypoint graph of figure 4. ``dtype``: of the factors of the matmuls.
    ``project_in_scan``: multiply the input with W_x (LGCN: W) frame by frame instead of all frames before the scan; the
    result is the same. ``unroll``: the most frames of a clip whose scan is compiled frame after frame instead of as a
    loop; 1: always a loop.
    """

    features: int
    num_layers: int = 1
    relu_each_layer: bool = False
    adjacency: Adjacency | None = None
    dtype: DTypeLike = jnp.float32
    project_in_scan: bool = False
    self_term: bool = False
    unroll: int = 1

    def unrolled(self, frames: int) -> int:
        """So many of a clip's frames are compiled one after another: all of a short clip's, else one."""
        return frames if frames <= self.unroll else 1

    def prepare(self, keypoints: ArrayLike) -> tuple[Array, Array, DTypeLike]:
        """X in float32 or better, A_hat in the same type, and the type of the factors of the matmuls."""
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {self.num_layers}.")
        x = at_least_float32(keypoints)
        a_hat = jnp.asarray(normalized_adjacency() if self.adjacency is None else self.adjacency, x.dtype)
        return x, a_hat, x.dtype if x.dtype == jnp.float64 else self.dtype

    def fan_in(self, channels: int) -> list[int]:
        """Rows of the weights of each layer, the input having ``channels``."""
        seen = 2 if self.self_term else 1
        return [seen * channels] + [seen * self.features] * (self.num_layers - 1)

    def weight_names(self, symbol: str) -> list[str]:
        """The paper's names of the weights of all layers: the bare symbol for one layer, else numbered from 1."""
        return [symbol] if self.num_layers == 1 else [f"{symbol}{layer + 1}" for layer in range(self.num_layers)]
