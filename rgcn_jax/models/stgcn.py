"""ST-GCN (Yan et al., AAAI 2018), which the paper compares with: graph convolutions over a partition of each node's
neighbours, and convolutions over time.

In: X [B, T, V, C] of ``pose_input``. Out: node embeddings H [B, T, V, n], not negative. First a BatchNorm over the V C
numbers of a frame, then blocks; a block is

    graph convolution, BN, ReLU, 9-frame convolution, BN, (dropout), + residual, ReLU

with the graph convolution sum_k (A_k * M_k)^T (X W_k + b_k) over the K = 3 subsets of ``spatial_partition``, M_k
learned and 1 at first. The first block has no residual; where the width changes the residual is a 1x1 convolution and
a BN. By default the ten blocks of the original, n / 4 (4 times), n / 2 (3 times) and n (3 times) wide: 64, 128 and
256 at n = 256.

Departures (decisions): the temporal stride is 1 throughout, where the original halves T twice: T frames reach the
readout, and a clip of ten would be left with three under a kernel of nine. The node embeddings of the last block are
the output; the original's pooling and classifier are the readout's and the model's. No bias stands right before a BN,
which would remove it. Dropout is 0 by default, as the released code's (its NTU RGB+D recipes set 0.5); the first block
has none, as in theirs. Weights start as He et al. (2015), fan-in.

Precision: the factors of the matmuls are in ``dtype``; sums, normalisations and activations are float32 (float64 for
float64 input).
"""

from collections import deque
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float, Float32

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
    """A D^-1 of the graph with self-loops, divided into three subsets; entry [k, v, w] is the share of node v in the
    new value of node w. The columns of the sum over k add up to 1.

    Subset 0: v = w. Subset 1: v is farther from the centre than w, or as far (never so in a tree). Subset 2: v is
    nearer. The order is that of the released code.

    Args:
      edges: pairs of node indices, in no particular order.
      centre: the node from which distances are counted.
      num_nodes: V.
      variant: "spatial": distances are hops, by breadth-first search. "spatial_compat": as the released code has it,
        every distance above one hop counts as infinite, so that most edges join nodes "as far" as each other and land
        in subset 1.

    Raises:
      ValueError: the variant is unknown, or an index is not that of a node.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}: expected one of {', '.join(VARIANTS)}.")
    if not all(0 <= node < num_nodes for node in (centre, *(node for edge in edges for node in edge))):
        raise ValueError(f"the centre and the edges must name nodes from 0 to {num_nodes - 1}.")
    a = np.eye(num_nodes)
    for i, j in edges:
        a[i, j] = a[j, i] = 1.0
    distance = np.full(num_nodes, np.inf)
    distance[centre] = 0
    queue = deque([centre])
    while queue:
        node = queue.popleft()
        for neighbour in map(int, np.flatnonzero(a[node])):
            if np.isinf(distance[neighbour]):
                distance[neighbour] = distance[node] + 1
                queue.append(neighbour)
    if variant == "spatial_compat":
        distance[distance > 1] = np.inf
    a /= a.sum(axis=0)
    root, nearer = np.eye(num_nodes, dtype=bool), distance[:, None] < distance[None, :]
    return np.stack([a * root, a * (~root & ~nearer), a * nearer]).astype(np.float32)


def temporal_convolution(
    x: Float[ArrayLike, "b t v c"], kernel: Float[ArrayLike, "k c n"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "b t v n"]:
    """Every node's cross-correlation over time with an odd number k of frames, zeros before and after the clip.

    One matrix product over gathered windows: fast on the CPU too, and with its sum in float32 or better.
    """
    x, kernel = jnp.asarray(x).astype(dtype), jnp.asarray(kernel)
    k, frames = kernel.shape[0], x.shape[1]
    x = jnp.pad(x, ((0, 0), (k // 2, k // 2), (0, 0), (0, 0)))
    windows = jnp.concatenate([x[:, i : i + frames] for i in range(k)], axis=-1)
    return project(windows, kernel.reshape(-1, kernel.shape[-1]), dtype)


class STGCNBlock(nn.Module):
    """One block. Parameters: ``W_g`` [C, 3n] and ``b_g`` [3n], the subsets side by side, ``M`` [3, V, V], ``W_t``
    [9, n, n], ``W_r`` [C, n] where the residual changes its width; BatchNorms ``bn_g``, ``bn_t``, ``bn_r``.
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
        """X to the block's output."""
        x = jnp.asarray(x)
        (c, n), subsets = (x.shape[-1], self.features), jnp.shape(partition)[0]

        def norm(name: str, values: Array) -> Array:
            return MaskedBatchNorm(self.axis_name, name=name)(values, mask, train)

        y = project(x, self.param("W_g", _he, (c, subsets * n)), self.dtype)
        y = y + self.param("b_g", nn.initializers.zeros, (subsets * n,))
        graph = partition * self.param("M", nn.initializers.ones, jnp.shape(partition))
        # Subsets and nodes lie side by side in y: a product a frame. The graph is repeated for it, or XLA's CPU would
        # take one product over all frames and transpose what comes out, at three times the cost.
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
      widths: of the blocks before it; None: in the original's proportion to n.
      variant: of ``spatial_partition``.
      edges: of the graph, in place of the other encoders' A_hat: the partition needs distances.
      centre: the node from which they are counted; by default the neck.
      dropout: share of the numbers dropped in training, drawn from the random stream "dropout".
      dtype: of the factors of the matmuls.
      axis_name: the mesh axis over which batch statistics are taken, where the model runs under ``shard_map``.
      over_time: the convolution over time, ``temporal_convolution`` or another form of it.
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
        """X to H. ``mask`` is False for frames that pad a clip: these enter no statistics and no other frame,
        and their H is 0. ``train``: normalise by the batch's statistics and drop.
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
