"""GCN&RNN and GCN&LSTM, baselines of the paper (tables IV and V): per-frame graph convolution, then a per-node RNN.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n]. Unlike RGCN and LGCN these have two stages
with a matrix product between them: X'_t = sigma(A_hat X_t W_g) (eq. 4), then an RNN (eq. 5) or LSTM over t, with
weights shared by all nodes. The scan runs over all nodes of all clips at once; X'_t W_x, which does not depend on the
state, is computed before the scan or in it (``project_in_scan``).

Decisions (not stated in the paper): X' has width n; further graph layers are chained as in ``recurrent_gcn``; W is
initialised fan-in normal, W_h orthogonal, b zero except for the LSTM's forget bias 1; H_0 = C_0 = 0.

Precision: as in ``recurrent_gcn``.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float

from rgcn_jax.models.graph_convolution import project
from rgcn_jax.models.recurrent_gcn import GraphEncoder, forget_one, orthogonal_gates

_lecun = nn.initializers.lecun_normal()


def rnn_step(
    params: Mapping[str, ArrayLike],
    h: Float[ArrayLike, "*nodes n"],
    xw: Float[ArrayLike, "*nodes n"],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*nodes n"]:
    """One time step of eq. 5 on every node: tanh(h_{t-1} W_h + x'_t W_x + b).

    ``params``: ``W_h`` [n, n], ``b`` [n]. ``xw``: x'_t W_x. ``dtype``: data type of the matmul operands.
    """
    return jnp.tanh(project(h, params["W_h"], dtype) + xw + params["b"])


def lstm_step(
    params: Mapping[str, ArrayLike],
    state: tuple[Float[ArrayLike, "*nodes n"], ...],
    xw: Float[ArrayLike, "*nodes m"],
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "*nodes n"], Float[Array, "*nodes n"]]:
    """One time step of the LSTM on every node: (h_{t-1}, c_{t-1}) to (h_t, c_t), with c_t = f c_{t-1} + i tanh(g) and
    h_t = o tanh(c_t).

    ``params``: ``W_h`` [n, 4n], ``b`` [4n], gates concatenated in the order of ``recurrent_gcn.GATES``. ``xw``: x'_t
    W_x, [..., 4n]. Other arguments as for ``rnn_step``.
    """
    h, c = state
    f, i, o, g = jnp.split(project(h, params["W_h"], dtype) + xw + params["b"], 4, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


class _Pipeline(GraphEncoder):
    """Graph convolution of all frames (eq. 4). Fields as in ``RGCN``."""

    def graph_stage(self, keypoints: ArrayLike) -> tuple[Array, DTypeLike]:
        """X to X' [B, T, V, n] and the data type of the matmul operands; creates ``W_g``."""
        ax, w_g, dtype = self.graph_layers(keypoints, "W_g")
        return nn.relu(project(ax, w_g, dtype)), dtype


class GCNRNN(_Pipeline):
    """GCN&RNN: X'_t = sigma(A_hat X_t W_g), h_t = tanh(h_{t-1} W_h + x'_t W_x + b) on each node, h_0 = 0 (eq. 4, 5).

    Parameters: ``W_g`` [C, n] (with L > 1 layers ``W_g1`` [C, n], ``W_g2`` [n, n], ...; twice the rows with a self
    term), ``W_x`` [n, n], ``W_h`` [n, n], ``b`` [n].
    """

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. Frames where ``mask`` is False do not change the state. ``train`` has no effect."""
        n = self.features
        x, dtype = self.graph_stage(keypoints)
        w_x = self.param("W_x", _lecun, (n, n))
        params = {
            "W_h": self.param("W_h", nn.initializers.orthogonal(), (n, n)),
            "b": self.param("b", nn.initializers.zeros, (n,)),
        }
        zero = jnp.zeros_like(x[:, 0])
        return self.scan(lambda state, xw: (rnn_step(params, state[0], xw, dtype),), (zero,), x, w_x, mask, dtype)


class GCNLSTM(_Pipeline):
    """GCN&LSTM: eq. 4, then an LSTM on each node, h_0 = c_0 = 0.

    Parameters: ``W_g`` as in GCNRNN; with gates concatenated in the order of ``recurrent_gcn.GATES``: ``W_x`` [n, 4n],
    ``W_h`` [n, 4n], ``b`` [4n]. ``lstm``: an alternative implementation of the recurrence, called with W_x, W_h and b
    by name, X', the mask and the data type of the matmul operands; ``project_in_scan`` and ``unroll`` apply to the
    default one.
    """

    lstm: Callable[..., Array] | None = None

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. Frames where ``mask`` is False do not change h and c. ``train`` has no effect."""
        n = self.features
        x, dtype = self.graph_stage(keypoints)
        w_x = self.param("W_x", _lecun, (n, 4 * n))
        params = {
            "W_h": self.param("W_h", orthogonal_gates, (n, 4 * n)),
            "b": self.param("b", forget_one, (4 * n,)),
        }
        if self.lstm is not None:
            return self.lstm({"W_x": w_x, **params}, x, mask, dtype)
        zero = jnp.zeros_like(x[:, 0])
        return self.scan(lambda state, xw: lstm_step(params, state, xw, dtype), (zero, zero), x, w_x, mask, dtype)
