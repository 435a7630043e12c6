"""Distances between tracklets: fused features and blocks of Euclidean distances, in float32 and bounded memory.

``fuse`` converts ``Embeddings`` to one feature per tracklet whose Euclidean distance is the requested one;
``distance_blocks`` computes it, and ``Distances`` are those of any pairs. There are four kinds (docs/method.md):

- ``euclidean``: the concatenation [f_a ; f_p] as it is, all that the paper states;
- ``normalized``: [f_a / |f_a| ; w f_p / |f_p|] with the pose weight w (decision, not in the paper);
- ``standardized``: every dimension is standardised by its mean and standard deviation on the training set (the model's
  running statistics), then as ``normalized`` (decision, not in the paper: the scales of the branches of a trained model
  differ by orders of magnitude);
- ``calibrated``: single branches as ``standardized``; the fused row is not a Euclidean distance (``calibrated.py``).

Distances are computed as ``|x|^2 + |y|^2 - 2 x.y``, one matrix product. In float32 this cancels catastrophically for
features with a large common offset (such as rectified ones), so the mean is subtracted first.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.types import Embeddings

KINDS = ("euclidean", "normalized", "standardized", "calibrated")
ROWS = ("appearance", "pose", "fused")

NO_FUSED_FEATURE = (
    'with evaluation.distance="calibrated" branches are fused per pair, so there is no fused feature of a tracklet; '
    "it is for rgcn-jax evaluate only: choose --config.evaluation.distance=standardized here."
)

BLOCK_ELEMENTS = 2**25
"""Distances computed at a time by ``distance_blocks`` (128 MiB): all of MARS, or 335 queries of a gallery of 100,000.
"""

Blocks = Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]
"""(Slice of the queries, their distances to all N tracklets) for all queries in their order, as from
``distance_blocks``. The next block may overwrite the array.
"""

CONSTANT_STD = 1e-3
"""A dimension whose standard deviation is below this fraction of the largest of its branch counts as constant."""


def rows_of(d_a: int, d_p: int) -> tuple[str, ...]:
    """Rows of a model with features of these dimensions: all three, or the row of its single branch."""
    return ROWS if d_a and d_p else ("pose",) if d_p else ("appearance",)


class FeatureStatistics(NamedTuple):
    """Mean and standard deviation of every feature dimension over the training set, for the kind ``standardized``.

    The model keeps them as running statistics; ``models.two_branch.feature_statistics`` reads them.
    """

    mean_a: Float32[np.ndarray, "d_a"]
    std_a: Float32[np.ndarray, "d_a"]
    mean_p: Float32[np.ndarray, "d_p"]
    std_p: Float32[np.ndarray, "d_p"]


def fuse(
    embeddings: Embeddings,
    row: str,
    kind: str = "euclidean",
    pose_weight: float = 1.0,
    statistics: FeatureStatistics | None = None,
) -> Float32[np.ndarray, "n d"]:
    """One feature per tracklet, in a new array, whose Euclidean distance is that of this row and kind.

    A zero feature stays zero under normalisation. ``standardized`` sets dimensions that are constant on the training
    set (standard deviation at most ``CONSTANT_STD`` times the largest of the branch) to zero, since dividing by their
    deviation would amplify noise.

    Args:
        embeddings: N tracklets.
        row: ``appearance`` (f_a), ``pose`` (f_p) or ``fused`` (both). A single branch has weight 1.
        kind: one of ``KINDS``.
        pose_weight: w >= 0, used by the fused row of ``normalized`` and ``standardized``.
        statistics: training-set statistics, required by ``standardized``.

    Returns:
        [N, d_a], [N, d_p] or [N, d_a + d_p].

    Raises:
        InputError: a feature is not finite, ``standardized`` lacks statistics, or the fused row of ``calibrated`` is
          requested.
        ValueError: the row or kind is unknown, the weight negative, sizes of the statistics differ from the features',
          or pose features are missing.
    """
    if row not in ROWS:
        raise ValueError(f"unknown row {row!r}: expected one of {ROWS}")
    if kind not in KINDS:
        raise ValueError(f"unknown distance kind {kind!r}: expected one of {KINDS}")
    if not 0 <= pose_weight < np.inf:
        raise ValueError(f"pose_weight is {pose_weight}: expected a finite number >= 0")
    if kind == "calibrated" and row == "fused":
        raise InputError(NO_FUSED_FEATURE)
    kind = "standardized" if kind == "calibrated" else kind
    if kind == "standardized" and statistics is None:
        raise InputError(
            'the distance "standardized" needs the feature statistics of the training set, found none: pass those of '
            'the model (models.two_branch.feature_statistics), or choose "normalized" or "euclidean".'
        )
    branches = [name for name in ("appearance", "pose") if row in (name, "fused")]
    if "pose" in branches and embeddings.pose.shape[1] == 0:
        raise ValueError(f"the row {row!r} needs pose features, but these embeddings have none")
    widths = [getattr(embeddings, name).shape[1] for name in branches]
    fused = np.empty((len(embeddings.appearance), sum(widths)), np.float32)
    start = 0
    for name, width in zip(branches, widths, strict=True):
        part = fused[:, start : start + width]
        start += width
        part[:] = getattr(embeddings, name)
        norms = squared_norms(part, name)
        if kind == "standardized" and statistics is not None:
            _standardize(part, *(statistics[:2] if name == "appearance" else statistics[2:]))
            norms = squared_norms(part, f"standardised {name}")
        if kind != "euclidean":
            weight = pose_weight if row == "fused" and name == "pose" else 1.0
            part *= (weight / np.sqrt(np.where(norms > 0, norms, 1)))[:, None].astype(np.float32)
    return fused


def distance_blocks(
    features: Float32[np.ndarray, "n d"],
    queries: Integer[np.ndarray, "q"],
    overwrite: bool = False,
    block_elements: int = BLOCK_ELEMENTS,
) -> Blocks:
    """Yield Euclidean distances from some of N tracklets to all N, one block of queries at a time.

    At most ``block_elements`` distances are in memory (or those of one query, if more).

    Args:
        features: one row per tracklet.
        queries: indices of the queries among the N.
        overwrite: whether to centre ``features`` in place instead of copying it.
        block_elements: distances per block.

    Yields:
        (slice of ``queries``, distances [rows, N]). The next block overwrites the array.

    Raises:
        InputError: a feature is not finite.
    """
    if len(queries) == 0:
        return
    squared_norms(features, "feature")
    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    features = np.subtract(features, centre, out=features if overwrite else None)
    squares = squared_norms(features, "feature")
    most = min(max(block_elements // len(features), 1), len(queries))
    count = -(-len(queries) // most)
    rows = -(-len(queries) // count)  # equal blocks: a small last one is slow to multiply
    buffer = np.empty((rows, len(features)), np.float32)
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        out = buffer[: len(block)]
        _distances(-2 * features[block], squares[block], features, squares, out)
        yield slice(start, start + len(block)), out


def distances_from(queries: Float32[np.ndarray, "q d"], features: Float32[np.ndarray, "n d"]) -> Blocks:
    """Yield Euclidean distances from other features to those of N tracklets, in blocks as ``distance_blocks``."""
    for rows, distances in distance_blocks(
        np.concatenate([queries, features]), np.arange(len(queries)), overwrite=True
    ):
        yield rows, distances[:, len(queries) :]


def _distances(
    minus_two_query: np.ndarray, query_squares: np.ndarray, gallery: np.ndarray, squares: np.ndarray, out: np.ndarray
):
    """Write sqrt(|x|^2 + |y|^2 - 2 x.y) into ``out``, from -2 x and y, a few rows at a time to stay in the cache."""
    np.matmul(minus_two_query, gallery.T, out=out)
    rows = 16
    for start in range(0, len(out), rows):
        part = out[start : start + rows]
        part += squares
        part += query_squares[start : start + rows, None]
        np.sqrt(np.maximum(part, 0, out=part), out=part)


def squared_norms(features: np.ndarray, name: str) -> np.ndarray:
    """Compute |x|^2 of every row. Raises InputError if any is not finite or overflows."""
    squares = np.einsum("nd,nd->n", features, features)
    if not np.isfinite(squares).all():
        bad = np.flatnonzero(~np.isfinite(squares))
        raise InputError(
            f"{len(bad)} of {len(squares)} {name} features are not finite or too large, the first at index {bad[0]}, "
            "so distances are undefined: did the training diverge, or are the weights of another model?"
        )
    return squares


def _standardize(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    """Standardise in place; constant dimensions become zero."""
    if mean.shape != features.shape[1:] or std.shape != mean.shape:
        raise ValueError(f"feature statistics of shapes {mean.shape}, {std.shape} for {features.shape[1]} dimensions")
    features -= mean
    features *= inverse_std(std)


def inverse_std(std: Float32[np.ndarray, "d"]) -> Float32[np.ndarray, "d"]:
    """1 / standard deviation of every dimension of a branch; 0 for a constant one (``CONSTANT_STD``)."""
    varies = std > CONSTANT_STD * std.max(initial=0.0)
    return np.where(varies, 1 / np.where(varies, std, 1), 0).astype(np.float32)


@runtime_checkable
class Distances(Protocol):
    """Distances between all pairs of N tracklets, float32, non-negative; small means similar."""

    def take(self, rows: np.ndarray) -> "Distances":
        """Distances among a subset of the tracklets, given by a mask or indices."""
        ...

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """Distances between two ranges of tracklets, as a new array."""
        ...

    def blocks(self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS) -> Blocks:
        """Blocks as from ``distance_blocks``; the next block may overwrite the array.

        They may differ from those of ``between`` by a constant.
        """
        ...


class Euclidean:
    """Euclidean ``Distances`` of one feature per tracklet. Raises InputError if a feature is not finite."""

    def __init__(self, features: Float32[np.ndarray, "n d"]):
        squared_norms(features, "feature")
        self._given = features
        centre = features.mean(axis=0, dtype=np.float64).astype(np.float32) if len(features) else np.float32(0)
        self._features = features - centre
        self._squares = np.einsum("nd,nd->n", self._features, self._features)

    def take(self, rows: np.ndarray) -> "Euclidean":
        """Distances among a subset of the tracklets."""
        return Euclidean(self._given[rows])

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """Distances between two ranges of tracklets."""
        distances = (-2 * self._features[rows]) @ self._features[columns].T
        distances += self._squares[columns]
        distances += self._squares[rows, None]
        return np.sqrt(np.maximum(distances, 0, out=distances), out=distances)

    def blocks(self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS) -> Blocks:
        """Blocks as from ``distance_blocks``."""
        return distance_blocks(self._given, queries, block_elements=block_elements)
