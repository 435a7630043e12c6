"""Distance between tracklets: from features to Euclidean distances, in float32 and bounded memory.

``Embeddings`` come in. ``fuse`` turns them into one feature per tracklet in which the plain Euclidean distance is the
wanted one; ``distance_blocks`` measures it. There are four kinds (docs/method.md):

- ``euclidean``: the raw concatenation [f_a ; f_p], which is all that the paper says;
- ``normalized``: [f_a / |f_a| ; w f_p / |f_p|] with the pose weight w (decision, not in the paper);
- ``standardized``: every dimension is standardised by its mean and standard deviation on the training set (the model's
  running statistics), then as ``normalized`` (decision, not in the paper: the branches of a trained model differ in
  scale by orders of magnitude);
- ``calibrated``: a branch alone as ``standardized``; the fused row is no Euclidean distance (``calibrated.py``).

Distances are computed as ``|x|^2 + |y|^2 - 2 x.y``, one matrix product. In float32 that loses every digit when the
features share a large offset (rectified features do), so a common centre is subtracted first, which changes no
distance.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.types import Embeddings

KINDS = ("euclidean", "normalized", "standardized", "calibrated")
ROWS = ("appearance", "pose", "fused")

NO_FUSED_FEATURE = (
    'With evaluation.distance="calibrated" appearance and pose are fused pair by pair, so there is no fused feature of '
    "a tracklet: it is for rgcn-jax evaluate; choose standardized here (--config.evaluation.distance=standardized)."
)

BLOCK_ELEMENTS = 2**25
"""Distances held at a time by ``distance_blocks`` (128 MiB): all of MARS, 335 queries of a gallery of 100,000."""

CONSTANT_STD = 1e-3
"""A dimension whose standard deviation is below this share of its branch's largest one counts as constant."""


def rows_of(d_a: int, d_p: int) -> tuple[str, ...]:
    """The rows of a model whose features have so many dimensions: all three, or the one branch that there is."""
    return ROWS if d_a and d_p else ("pose",) if d_p else ("appearance",)


class FeatureStatistics(NamedTuple):
    """Mean and standard deviation of every feature dimension over the training set, for the kind ``standardized``.

    The model keeps them as running statistics of its training; ``models.two_branch.feature_statistics`` reads them.
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
    """One feature per tracklet, in a new array, whose plain Euclidean distance is the distance of this row and kind.

    A zero feature stays zero where a kind normalises. A dimension that is constant on the training set (its standard
    deviation is at most ``CONSTANT_STD`` of its branch's largest) is set to zero by ``standardized``: it says nothing,
    and dividing by its deviation would let it drown all others.

    Args:
        embeddings: N tracklets.
        row: ``appearance`` (f_a alone), ``pose`` (f_p alone) or ``fused`` (both). A branch alone has weight 1.
        kind: one of ``KINDS``.
        pose_weight: w >= 0, used by the fused row of ``normalized`` and ``standardized``.
        statistics: of the training set, needed by ``standardized``.

    Returns:
        [N, d_a], [N, d_p] or [N, d_a + d_p].

    Raises:
        InputError: a feature is not finite, ``standardized`` has no statistics, or the fused row of ``calibrated`` is
            asked for, which no feature has.
        ValueError: the row or kind is unknown, the weight negative, the statistics are of other sizes, or there are no
            pose columns where they are needed.
    """
    if row not in ROWS:
        raise ValueError(f"row must be one of {ROWS}, got {row!r}")
    if kind not in KINDS:
        raise ValueError(f"the distance kind must be one of {KINDS}, got {kind!r}")
    if not 0 <= pose_weight < np.inf:
        raise ValueError(f"pose_weight must be a finite number >= 0, got {pose_weight}")
    if kind == "calibrated" and row == "fused":
        raise InputError(NO_FUSED_FEATURE)
    kind = "standardized" if kind == "calibrated" else kind
    if kind == "standardized" and statistics is None:
        raise InputError(
            'The distance "standardized" needs the feature statistics of the training set and there are none; '
            'hand over those that the model keeps (models.two_branch.feature_statistics), or choose "normalized" or '
            '"euclidean".'
        )
    branches = [name for name in ("appearance", "pose") if row in (name, "fused")]
    if "pose" in branches and embeddings.pose.shape[1] == 0:
        raise ValueError(f"the row {row!r} needs pose features, and these embeddings have none")
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
) -> Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]:
    """Euclidean distances from some of N tracklets to all N, a block of queries after the other.

    The whole [Q, N] matrix never exists: at most ``block_elements`` distances do (or one query's, if that is more).

    Args:
        features: one row per tracklet.
        queries: positions of the queries among the N.
        overwrite: whether ``features`` may be centred in place instead of copied.
        block_elements: distances held at a time.

    Yields:
        (positions in ``queries``, distances [rows, N]). The array is written over by the next block.

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
    rows = -(-len(queries) // count)  # blocks of equal size: a small last one would multiply slowly
    buffer = np.empty((rows, len(features)), np.float32)
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        out = buffer[: len(block)]
        _distances(-2 * features[block], squares[block], features, squares, out)
        yield slice(start, start + len(block)), out


def _distances(
    minus_two_query: np.ndarray, query_squares: np.ndarray, gallery: np.ndarray, squares: np.ndarray, out: np.ndarray
):
    """Write sqrt(|x|^2 + |y|^2 - 2 x.y) into ``out``, from -2 x and y. A few rows at a time stay in the cache."""
    np.matmul(minus_two_query, gallery.T, out=out)
    rows = 16
    for start in range(0, len(out), rows):
        part = out[start : start + rows]
        part += squares
        part += query_squares[start : start + rows, None]
        np.sqrt(np.maximum(part, 0, out=part), out=part)


def squared_norms(features: np.ndarray, name: str) -> np.ndarray:
    """|x|^2 of every row, which is finite exactly if the row is and does not overflow.

    Raises InputError otherwise, as NaN would rank in an order of its own.
    """
    squares = np.einsum("nd,nd->n", features, features)
    if not np.isfinite(squares).all():
        bad = np.flatnonzero(~np.isfinite(squares))
        raise InputError(
            f"{len(bad)} of {len(squares)} {name} features are not finite or too large (the first is number {bad[0]}), "
            "so no distance to them exists; did the training diverge, or are the weights those of another model?"
        )
    return squares


def _standardize(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    """Subtract the mean and divide by the standard deviation, in place; constant dimensions become zero."""
    if mean.shape != features.shape[1:] or std.shape != mean.shape:
        raise ValueError(f"feature statistics of shapes {mean.shape}, {std.shape} for {features.shape[1]} dimensions")
    varies = std > CONSTANT_STD * std.max(initial=0.0)
    features -= mean
    features *= np.where(varies, 1 / np.where(varies, std, 1), 0).astype(np.float32)
