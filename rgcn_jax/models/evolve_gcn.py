"""EvolveGCN (Pareja et al., AAAI 2020), which the paper compares with: graph convolutions whose weights evolve over the
frames.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n]. Two layers; in each, for every frame,

    Q_t = cell(Q_{t-1}, Z_t),  H_t = act(A_hat X_t Q_t),

with Q_0 a parameter, from which every sequence starts afresh; the weights evolve before their first use. The cell is
the matrix GRU of the authors' released code, for both variants (their text has an LSTM for -O):

    U = sigmoid(W_U Z + V_U Q + B_U)      R = sigmoid(W_R Z + V_R Q + B_R)
    C = tanh(W_C Z + V_C (R * Q) + B_C)   Q' = (1 - U) * Q + U * C

with W and V [C, C], B [C, n], Q and Z [C, n]. Variant "O": Z_t = Q_{t-1}; the weights then do not depend on the clip.
Variant "H": Z_t summarises the nodes, see ``summary``; every clip then has weights of its own.

Decisions (the paper names neither variant, depth nor width): "O" is the default; both layers are n wide; the authors'
randomised leaky ReLU is used in its evaluation form, with the fixed slope 11/48, in training too; Q_0 and W start
normal with the fan-in's scale, V orthogonal, B at 0. In the first layer the gates are only C x C, as in the original.

Precision: the factors of the matmuls are in ``dtype``; sums, gates and the evolving weights are float32 (float64 for
float64 input).
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float

from rgcn_jax.models.graph_convolution import Adjacency
from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.skeleton import normalized_adjacency

VARIANTS = ("O", "H")

SLOPE = (1 / 8 + 1 / 3) / 2
"""Of the activation below 0: the mean of the range from which the randomised leaky ReLU draws it in training."""

_lecun = nn.initializers.lecun_normal()


def _product(a: ArrayLike, b: ArrayLike, dtype: DTypeLike) -> Array:
    """The matrix product with the factors in ``dtype`` and the sum in float32 or better."""
    a, b = jnp.asarray(a).astype(dtype), jnp.asarray(b).astype(dtype)
    return jnp.matmul(a, b, preferred_element_type=jnp.promote_types(dtype, jnp.float32))


def matrix_gru(
    params: Mapping[str, ArrayLike],
    q: Float[ArrayLike, "*batch c n"],
    z: Float[ArrayLike, "*batch c k"],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*batch c n"]:
    """One evolution of the weights: Q_{t-1} and Z_t to Q_t by the cell above.

    Args:
      params: ``W_U``, ``V_U``, ``W_R``, ``V_R``, ``W_C``, ``V_C`` [C, C] and ``B_U``, ``B_R``, ``B_C`` [C, n].
      q: Q_{t-1}.
      z: Z_t, or its first k columns where all others equal column k: these are then multiplied only once.
      dtype: of the factors of the matmuls.
    """
    q = jnp.asarray(q)

    def gate(name: str, hidden: Array) -> Array:
        wz = _product(params[f"W_{name}"], z, dtype)
        wz = jnp.pad(wz, [(0, 0)] * (wz.ndim - 1) + [(0, q.shape[-1] - wz.shape[-1])], mode="edge")
        return wz + _product(params[f"V_{name}"], hidden, dtype) + params[f"B_{name}"]

    update, reset = nn.sigmoid(gate("U", q)), nn.sigmoid(gate("R", q))
    return (1 - update) * q + update * jnp.tanh(gate("C", reset * q))


def summary(x: Float[ArrayLike, "*batch v c"], p: Float[ArrayLike, "c"], columns: int) -> Float[Array, "*batch c k"]:
    """Z of variant "H" by top-k pooling: the nodes that score highest on the learned vector p, best first, each as the
    column x_v tanh(y_v) with y_v = x_v p / |p|.

    Z has to have as many columns as the weights, n, more than there are keypoints in most cases. The released code
    pads by repeating the last index where nodes run out, and so does this (decision: there, only masked nodes are
    missing, and n > V fails): all keypoints, best first, then the worst repeated. Returned are only the first k =
    min(n, V) columns; ``matrix_gru`` repeats the last. Of nodes with equal scores the first comes first.
    """
    x, p = jnp.asarray(x), jnp.asarray(p)
    y = (x * p).sum(axis=-1) / jnp.sqrt((p**2).sum())
    best, index = jax.lax.top_k(y, min(columns, x.shape[-2]))
    chosen = jnp.take_along_axis(x, index[..., None], axis=-2) * jnp.tanh(best)[..., None]
    return jnp.swapaxes(chosen, -1, -2)


class EvolvingLayer(nn.Module):
    """One layer; parameters ``Q_0`` [C, n], those of ``matrix_gru``, and ``p`` [C] in variant "H"."""

    features: int
    variant: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "b t v c"], a_hat: Float[ArrayLike, "v v"]
    ) -> Float[Array, "b t v {self.features}"]:
        """X and A_hat to H of this layer; all frames count."""
        x = jnp.asarray(x)
        c, n = x.shape[-1], self.features
        params = {}
        for gate in "URC":
            params[f"W_{gate}"] = self.param(f"W_{gate}", _lecun, (c, c))
            params[f"V_{gate}"] = self.param(f"V_{gate}", nn.initializers.orthogonal(), (c, c))
            params[f"B_{gate}"] = self.param(f"B_{gate}", nn.initializers.zeros, (c, n))
        q = jnp.asarray(self.param("Q_0", _lecun, (c, n)), x.dtype)
        ax = jnp.einsum("uv,btvc->btuc", a_hat, x)
        if self.variant == "O":

            def evolve(q: Array, _: None) -> tuple[Array, Array]:
                q = matrix_gru(params, q, q, self.dtype)
                return q, q

            _, weights = jax.lax.scan(evolve, q, None, length=x.shape[1])
            return nn.leaky_relu(_product(ax, weights, self.dtype), SLOPE)

        p = self.param("p", nn.initializers.normal(1.0), (c,))

        def frame(q: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            x_t, ax_t = inputs
            q = matrix_gru(params, q, summary(x_t, p, n), self.dtype)
            return q, _product(ax_t, q, self.dtype)

        # Made from the input, so that the carry varies over the mesh as the evolved weights do.
        q = q + jnp.zeros_like(x[:, 0, :1, :1])
        _, h = jax.lax.scan(frame, q, (jnp.swapaxes(x, 0, 1), jnp.swapaxes(ax, 0, 1)))
        return nn.leaky_relu(jnp.swapaxes(h, 0, 1), SLOPE)


class EvolveGCN(nn.Module):
    """Two evolving layers, ``layer1`` and ``layer2``.

    ``features``: n. ``variant``: "O" or "H". ``adjacency``: A_hat row by row; None: the 14-keypoint graph of figure 4.
    ``dtype``: of the factors of the matmuls.
    """

    features: int
    variant: str = "O"
    adjacency: Adjacency | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. ``mask`` is False for frames that pad a clip: the weights do not evolve over these, and
        their H is 0. ``train`` changes nothing.

        Raises ValueError where the variant is unknown.
        """
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown variant {self.variant!r}: expected one of {', '.join(VARIANTS)}.")
        x = at_least_float32(keypoints)
        a_hat = jnp.asarray(normalized_adjacency() if self.adjacency is None else self.adjacency, x.dtype)
        dtype = x.dtype if x.dtype == jnp.float64 else self.dtype
        place = None
        if mask is not None:
            # The frames that count move to the front, where Q_1, Q_2, ... meet them, and afterwards back.
            mask = jnp.asarray(mask)
            order = jnp.argsort(~mask, axis=1, stable=True)
            place = jnp.argsort(order, axis=1)
            mask = mask[..., None, None]
            x = jnp.take_along_axis(jnp.where(mask, x, 0.0), order[..., None, None], axis=1)
        h = EvolvingLayer(self.features, self.variant, dtype, name="layer1")(x, a_hat)
        h = EvolvingLayer(self.features, self.variant, dtype, name="layer2")(h, a_hat)
        if mask is None or place is None:
            return h
        return jnp.where(mask, jnp.take_along_axis(h, place[..., None, None], axis=1), 0.0)
