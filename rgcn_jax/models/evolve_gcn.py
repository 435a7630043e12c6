"""EvolveGCN (Pareja et al., AAAI 2020), a baseline of the paper: graph convolutions whose weights evolve over time.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n]. Each of two layers computes, for every frame,

    Q_t = cell(Q_{t-1}, Z_t),  H_t = act(A_hat X_t Q_t),

where Q_0 is a parameter and the initial value for every sequence; weights evolve before their first use. The cell is
the matrix GRU of the authors' released code, for both variants (their text describes an LSTM for -O):

    U = sigmoid(W_U Z + V_U Q + B_U)      R = sigmoid(W_R Z + V_R Q + B_R)
    C = tanh(W_C Z + V_C (R * Q) + B_C)   Q' = (1 - U) * Q + U * C

with W and V [C, C], B [C, n], Q and Z [C, n]. Variant "O": Z_t = Q_{t-1}; the weights do not depend on the clip.
Variant "H": Z_t summarises the nodes, see ``summary``; the weights differ between clips.

Decisions (the paper states neither variant, depth nor width): the default is "O"; both layers have width n; the
authors' randomised leaky ReLU has its evaluation slope 11/48 in training too; Q_0 and W are initialised fan-in normal,
V orthogonal, B zero. In the first layer gates are only C x C, as in the original.

Precision: matmul operands are in ``dtype``; sums, gates and evolving weights are float32 (float64 for float64 input).
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.recurrent_gcn import Adjacency
from rgcn_jax.skeleton import normalized_adjacency

VARIANTS = ("O", "H")

SLOPE = (1 / 8 + 1 / 3) / 2
"""Negative slope of the activation: mean of the range that the randomised leaky ReLU draws from in training."""

_lecun = nn.initializers.lecun_normal()


def _product(a: ArrayLike, b: ArrayLike, dtype: DTypeLike) -> Array:
    """Matrix product with operands in ``dtype`` and sums in float32 or better."""
    a, b = jnp.asarray(a).astype(dtype), jnp.asarray(b).astype(dtype)
    return jnp.matmul(a, b, preferred_element_type=jnp.promote_types(dtype, jnp.float32))


def matrix_gru(
    params: Mapping[str, ArrayLike],
    q: Float[ArrayLike, "*batch c n"],
    z: Float[ArrayLike, "*batch c k"] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*batch c n"]:
    """One evolution of the weights: Q_{t-1} and Z_t to Q_t by the cell above.

    Args:
      params: ``W_U``, ``V_U``, ``W_R``, ``V_R``, ``W_C``, ``V_C`` [C, C] and ``B_U``, ``B_R``, ``B_C`` [C, n].
      q: Q_{t-1}.
      z: Z_t, or its first k columns if all others equal column k, to save multiplications. None: Z_t = Q_{t-1}, whose
        gates U and R take one product each, with W + V.
      dtype: data type of the matmul operands.
    """
    q = jnp.asarray(q)

    def of_z(name: str) -> Array:
        """W Z."""
        wz = _product(params[f"W_{name}"], q if z is None else z, dtype)
        return jnp.pad(wz, [(0, 0)] * (wz.ndim - 1) + [(0, q.shape[-1] - wz.shape[-1])], mode="edge")

    def gate(name: str) -> Array:
        w, v = jnp.asarray(params[f"W_{name}"]), jnp.asarray(params[f"V_{name}"])
        both = _product(w + v, q, dtype) if z is None else of_z(name) + _product(v, q, dtype)
        return nn.sigmoid(both + params[f"B_{name}"])

    update = gate("U")
    candidate = jnp.tanh(of_z("C") + _product(params["V_C"], gate("R") * q, dtype) + params["B_C"])
    return (1 - update) * q + update * candidate


def summary(x: Float[ArrayLike, "*batch v c"], p: Float[ArrayLike, "c"], columns: int) -> Float[Array, "*batch c k"]:
    """Z of variant "H" by top-k pooling: nodes sorted by their score on the learned vector p, as columns x_v tanh(y_v)
    with y_v = x_v p / |p|.

    Z must have n columns, usually more than there are keypoints. As in the released code, the last index is repeated
    when nodes run out (decision: there this happens only for masked nodes, and n > V fails). Only the first k = min(n,
    V) columns are returned; ``matrix_gru`` repeats the last. Nodes with equal scores keep their order.
    """
    x, p = jnp.asarray(x), jnp.asarray(p)
    y = (x * p).sum(axis=-1) / jnp.sqrt((p**2).sum())
    best, index = jax.lax.top_k(y, min(columns, x.shape[-2]))
    chosen = jnp.take_along_axis(x, index[..., None], axis=-2) * jnp.tanh(best)[..., None]
    return jnp.swapaxes(chosen, -1, -2)


class EvolvingLayer(nn.Module):
    """One layer. Parameters: ``Q_0`` [C, n], those of ``matrix_gru``, and ``p`` [C] in variant "H"."""

    features: int
    variant: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "b t v c"], a_hat: Float[ArrayLike, "v v"]
    ) -> Float[Array, "b t v {self.features}"]:
        """X and A_hat to H of this layer; all frames are valid."""
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
                q = matrix_gru(params, q, dtype=self.dtype)
                return q, q

            _, weights = jax.lax.scan(evolve, q, None, length=x.shape[1])
            return nn.leaky_relu(_product(ax, weights, self.dtype), SLOPE)

        p = self.param("p", nn.initializers.normal(1.0), (c,))

        def frame(q: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            x_t, ax_t = inputs
            q = matrix_gru(params, q, summary(x_t, p, n), self.dtype)
            return q, _product(ax_t, q, self.dtype)

        # Derived from the input, so that the carry varies over the mesh like the evolved weights.
        q = q + jnp.zeros_like(x[:, 0, :1, :1])
        _, h = jax.lax.scan(frame, q, (jnp.swapaxes(x, 0, 1), jnp.swapaxes(ax, 0, 1)))
        return nn.leaky_relu(jnp.swapaxes(h, 0, 1), SLOPE)


class EvolveGCN(nn.Module):
    """Two evolving layers, ``layer1`` and ``layer2``.

    ``features``: n. ``variant``: "O" or "H". ``adjacency``: rows of A_hat; None: the 14-keypoint graph of figure 4.
    ``dtype``: data type of the matmul operands.
    """

    features: int
    variant: str = "O"
    adjacency: Adjacency | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. Frames where ``mask`` is False do not evolve the weights, and their H is 0. ``train`` has no effect.

        Raises ValueError for an unknown variant.
        """
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown variant {self.variant!r}: expected one of {', '.join(VARIANTS)}.")
        x = at_least_float32(keypoints)
        a_hat = jnp.asarray(normalized_adjacency() if self.adjacency is None else self.adjacency, x.dtype)
        dtype = x.dtype if x.dtype == jnp.float64 else self.dtype
        place = None
        if mask is not None:
            # Move valid frames to the front, so that they use Q_1, Q_2, ..., and back afterwards.
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
