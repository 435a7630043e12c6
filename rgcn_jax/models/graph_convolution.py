"""Graph convolution A_hat X W, layer by layer, over all frames at once; shared by RGCN, LGCN, GCN&RNN and GCN&LSTM.

Two departures from the paper, both off by default. ``self_term``: a layer is sigma([Z, A_hat Z] W_x), which keeps a
keypoint's own value in addition to that of its neighbourhood. A_hat of this graph damps differences between
neighbouring keypoints, the bones, at least sixfold and loses one combination of keypoints entirely: its eigenvalues are
-0.38, -0.15 (three times), 0, 0.40 (three times), 0.46, 0.75, 0.92 (three times) and 1. ``relu_each_layer``: sigma
follows every layer; eq. 7 has one, outside.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, DTypeLike, Float


def project(
    x: Float[ArrayLike, "*batch c"], w: Float[ArrayLike, "..."], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*batch m"]:
    """The product x W with operands in ``dtype`` and sums in float32 or better.

    W is [c, m], or one matrix for each of k gates, [k, c / k, m / k]; the gates are then concatenated in x and the
    result.
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
    """Graph convolution of all frames without its last product: (AX, W), such that sigma(AX W) enters the recurrence;
    with ``self_term`` ([X, AX], W). The scan over the frames computes the last product.
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
    """A_hat X; with ``self_term`` [X, A_hat X], with the channels of each gate next to those of its neighbours."""
    ax = jnp.einsum("uv,btvc->btuc", a_hat, x)
    if not self_term:
        return ax
    pair = [z.reshape(*z.shape[:-1], gates, -1) for z in (jnp.asarray(x), ax)]
    return jnp.concatenate(pair, axis=-1).reshape(*ax.shape[:-1], -1)
