"""ST-GCN (Yan et al., AAAI 2018), a baseline of the paper: partitioned graph convolutions and temporal convolutions.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n], non-negative. A BatchNorm over the V C values
of a frame is followed by blocks of

    graph convolution, BN, ReLU, 9-frame convolution, BN, (dropout), + residual, ReLU

where the graph convolution is sum_k (A_k * M_k)^T (X W_k + b_k) over the K = 3 subsets of ``spatial_partition``, with
M_k learned and initially 1. The first block has no residual; where the width changes, the residual is a 1x1 convolution
with BN. The default is the original's ten blocks of width n / 4 (4 times), n / 2 (3 times) and n (3 times): 64, 128 and
256 for n = 256.

Departures (decisions): the temporal stride is always 1, where the original halves T twice, so that the readout gets T
frames; a clip of ten would be reduced to three frames, fewer than the kernel's nine. The output is the node embeddings
of the last block; the readout and the model replace the original's pooling and classifier. There is no bias before a
BN, which would cancel it. Dropout is 0 by default, as in the released code (its NTU RGB+D recipes set 0.5); the first
block has none, as in theirs. Weights are initialised as by He et al. (2015), fan-in.

Precision: matmul operands are in ``dtype``; sums, normalisations and activations are float32 (float64 for float64
input).
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float, Float32
from scipy.sparse.csgraph import shortest_path

from rgcn_jax.models.graph_convolution import project
from rgcn_jax.models.masked_norm import MaskedBatchNorm
from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.skeleton import EDGES, KEYPOINTS

VARIANTS = ("spatial", "spatial_compat")

TEMPORAL_KERNEL = 9

_he = nn.initializers.he_normal()


def spatial_partition(
    edges: Sequence[tuple[int, int]], centre: int, num_nodes: int, variant: str = "spatial"
) -> Float32[np.ndarray, "3 v v"]:
    """Partition A D^-1 of the graph with self-loops into three subsets; entry [k, v, w] is the weight of node v in node
    w. The columns of the sum over k add up to 1.

    Subset 0: v = w. Subset 1: v is at least as far from the centre as w (equally far never occurs in a tree). Subset 2:
    v is nearer. The order is that of the released code.

    Args:
      edges: pairs of node indices, in any order.
      centre: node from which distances are measured.
      num_nodes: V.
      variant: "spatial": distances in hops, by breadth-first search. "spatial_compat": distances above one hop are
        infinite, as in the released code, so that the nodes of most edges count as equally far and are in subset 1.

    Raises:
      ValueError: the variant is unknown, or an index is out of range.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: expected one of {', '.join(VARIANTS)}.")
    if not all(0 <= node < num_nodes for node in (centre, *(node for edge in edges for node in edge))):
        raise ValueError(f"expected indices from 0 to {num_nodes - 1} for the centre and the edges.")
    a = np.eye(num_nodes)
    for i, j in edges:
        a[i, j] = a[j, i] = 1.0
    distance = shortest_path(a, unweighted=True, indices=centre)
    if variant == "spatial_compat":
        distance[distance > 1] = np.inf
    a /= a.sum(axis=0)
    root, nearer = np.eye(num_nodes, dtype=bool), distance[:, None] < distance[None, :]
    return np.stack([a * root, a * (~root & ~nearer), a * nearer]).astype(np.float32)


def temporal_convolution(
    x: Float[ArrayLike, "b t v c"], kernel: Float[ArrayLike, "k c n"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "b t v n"]:
    """Cross-correlation of every node over time with an odd number k of frames and zero padding.

    Computed as one matrix product over gathered windows: fast on the CPU too, with sums in float32 or better.
    """
    x, kernel = jnp.asarray(x).astype(dtype), jnp.asarray(kernel)
    k, frames = kernel.shape[0], x.shape[1]
    x = jnp.pad(x, ((0, 0), (k // 2, k // 2), (0, 0), (0, 0)))
    windows = jnp.concatenate([x[:, i : i + frames] for i in range(k)], axis=-1)
    return project(windows, kernel.reshape(-1, kernel.shape[-1]), dtype)


class STGCNBlock(nn.Module):
    """One block. Parameters: ``W_g`` [C, 3n] and ``b_g`` [3n], with subsets concatenated, ``M`` [3, V, V], ``W_t`` [9,
    n, n], ``W_r`` [C, n] if the width changes; BatchNorms ``bn_g``, ``bn_t``, ``bn_r``.
    """

    features: int
    residual: bool
    dropout: float
    dtype: DTypeLike
    axis_name: str | None
    over_time: Callable[..., Array]

    @nn.compact
    def __call__(
        self,
        x: Float[ArrayLike, "b t v c"],
        partition: Float[ArrayLike, "3 v v"],
        mask: Bool[ArrayLike, "b t"] | None,
        train: bool,
    ) -> Float[Array, "b t v {self.features}"]:
        """X to the output of the block."""
        x = jnp.asarray(x)
        (c, n), subsets = (x.shape[-1], self.features), jnp.shape(partition)[0]

        def norm(name: str, values: Array) -> Array:
            return MaskedBatchNorm(self.axis_name, name=name)(values, mask, train)

        y = project(x, self.param("W_g", _he, (c, subsets * n)), self.dtype)
        y = y + self.param("b_g", nn.initializers.zeros, (subsets * n,))
        graph = partition * self.param("M", nn.initializers.ones, jnp.shape(partition))
        # Subsets and nodes are concatenated in y for one product per frame. The graph is repeated, since XLA on the CPU
        # would otherwise compute one product over all frames and transpose the result, at three times the cost.
        graph = graph.transpose(2, 1, 0).reshape(graph.shape[-1], -1)
        y = y.reshape(*y.shape[:2], -1, n)
        y = jnp.matmul(jnp.broadcast_to(graph, (*y.shape[:2], *graph.shape)), y)
        y = nn.relu(norm("bn_g", y))
        if mask is not None:
            y = jnp.where(jnp.asarray(mask)[..., None, None], y, 0.0)
        kernel = self.param("W_t", nn.initializers.he_normal(in_axis=(0, 1)), (TEMPORAL_KERNEL, n, n))
        y = norm("bn_t", self.over_time(y, kernel, self.dtype))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        if self.residual:
            if c != n:
                x = norm("bn_r", project(x, self.param("W_r", _he, (c, n)), self.dtype))
            y = y + x
        return nn.relu(y)


class STGCN(nn.Module):
    """The blocks ``block1``, ``block2``, ... after the BatchNorm ``bn_data``.

    Fields:
      features: n, the width of the last block (256 in the original).
      widths: widths of the previous blocks; None: in the original's proportions to n.
      variant: variant of ``spatial_partition``.
      edges: edges of the graph; unlike A_hat they define distances, which the partition needs.
      centre: node from which distances are measured; default: the neck.
      dropout: dropout rate in training, with the random stream "dropout".
      dtype: data type of the matmul operands.
      axis_name: mesh axis over which batch statistics are computed under ``shard_map``.
      over_time: implementation of the temporal convolution, such as ``temporal_convolution``.
    """

    features: int
    widths: tuple[int, ...] | None = None
    variant: str = "spatial"
    edges: tuple[tuple[int, int], ...] = EDGES
    centre: int = KEYPOINTS.index("neck")
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    over_time: Callable[..., Array] = temporal_convolution

    @nn.compact
    def __call__(
        self, keypoints: Float[ArrayLike, "b t v c"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> Float[Array, "b t v {self.features}"]:
        """X to H. Frames where ``mask`` is False affect neither statistics nor other frames, and their H is 0.

        ``train``: whether to normalise by batch statistics and apply dropout.
        """
        x = at_least_float32(keypoints)
        kept = None if mask is None else jnp.asarray(mask)[..., None, None]
        if kept is not None:
            x = jnp.where(kept, x, 0.0)
        dtype = x.dtype if x.dtype == jnp.float64 else self.dtype
        partition = jnp.asarray(spatial_partition(self.edges, self.centre, x.shape[2], self.variant), x.dtype)
        flat = x.reshape(*x.shape[:2], -1)
        x = MaskedBatchNorm(self.axis_name, name="bn_data")(flat, mask, train).reshape(x.shape)
        n = self.features
        widths = (-(-n // 4),) * 4 + (-(-n // 2),) * 3 + (n,) * 2 if self.widths is None else self.widths
        for index, width in enumerate((*widths, n)):
            x = STGCNBlock(
                features=width,
                residual=index > 0,
                dropout=self.dropout if index > 0 else 0.0,
                dtype=dtype,
                axis_name=self.axis_name,
                over_time=self.over_time,
                name=f"block{index + 1}",
            )(x, partition, mask, train)
        return x if kept is None else jnp.where(kept, x, 0.0)
