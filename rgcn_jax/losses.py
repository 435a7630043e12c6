"""The training objective (eq. 15-19): batch-hard triplet per branch, identity loss, adaptive weight.

Pure functions of arrays. The triplet and identity losses come as the mean over the clips of a batch; the paper sums the
triplet over the batch (decision: the mean has the same minimiser for a scaled weight and does not depend on the batch
size).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

TRIPLET_DISTANCES = ("euclidean", "cosine")


def squared_distances(a: Float[ArrayLike, "a d"], b: Float[ArrayLike, "b d"]) -> Float[Array, "a b"]:
    """Squared Euclidean distances between the rows of a and b, in float32 (or float64), never negative.

    ``|a|^2 + |b|^2 - 2ab`` with the mean of b subtracted from both first: distances do not change, but the cancellation
    that costs un-centred features up to 15 % of the distance in float32 is avoided. ``precision=HIGHEST`` keeps TF32
    and bfloat16 passes out of the product.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    dtype = jnp.promote_types(a.dtype, jnp.float32)
    a, b = a.astype(dtype), b.astype(dtype)
    centre = jax.lax.stop_gradient(b.mean(axis=0))
    a, b = a - centre, b - centre
    cross = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * cross, 0.0)


def batch_hard_triplet_loss(
    features: Float[ArrayLike, "b d"],
    labels: Int[ArrayLike, "b"],
    margin: float | str,
    candidates: Float[ArrayLike, "c d"] | None = None,
    candidate_labels: Int[ArrayLike, "c"] | None = None,
    distance: str = "euclidean",
) -> Float[Array, ""]:
    """Batch-hard triplet loss, eq. 15 (f_a) and 16 (f_p): mean over anchors of max(0, margin + positive - negative).

    With the margin "soft" it is log(1 + exp(positive - negative)) (Hermans et al., 2017): no threshold in units of a
    distance whose scale nobody knows, and a gradient that fades out instead of stopping.

    Args:
      features: the anchors, one row a clip.
      labels: class label of each anchor. A batch of one identity has no negative; its loss is 0.
      margin: delta, in units of the distance (0.3: decision, the paper gives no value), or "soft".
      candidates: the clips among which each anchor's hardest positive and negative are sought: the whole batch, where
        ``features`` are one device's part of it. None: ``features``.
      candidate_labels: class label of each candidate; given exactly where ``candidates`` are.
      distance: "euclidean", of the features as they are (not normalised here); or "cosine", 1 - cos in [0, 2] (not in
        the paper; BiCnet-TKS's released code).

    Raises:
      ValueError: candidates without labels, or labels without candidates; the margin is another text; or the distance
        is unknown.
    """
    if isinstance(margin, str) and margin != "soft":
        raise ValueError(f'margin is {margin!r}: expected a number or "soft"')
    if (candidates is None) != (candidate_labels is None):
        raise ValueError("candidates and candidate_labels must be given together")
    if candidates is None or candidate_labels is None:
        candidates, candidate_labels = features, labels
    if distance not in TRIPLET_DISTANCES:
        raise ValueError(f"distance is {distance!r}: expected one of {', '.join(TRIPLET_DISTANCES)}")
    hardest = _hardest_distances if distance == "euclidean" else _hardest_cosine_distances
    positive, negative = hardest(features, labels, candidates, candidate_labels)
    if isinstance(margin, str):
        return jax.nn.softplus(positive - negative).mean()
    return jnp.maximum(margin + positive - negative, 0.0).mean()


def _hardest_distances(
    anchors: Float[ArrayLike, "a d"],
    anchor_labels: Int[ArrayLike, "a"],
    candidates: Float[ArrayLike, "c d"],
    candidate_labels: Int[ArrayLike, "c"],
) -> tuple[Float[Array, "a"], Float[Array, "a"]]:
    """For each anchor the distance to its farthest positive and to its nearest negative among the candidates.

    The anchor itself may be among the candidates and counts as a positive at distance 0, so an identity with one clip
    is defined. Without any negative the second is +inf. Only the two chosen distances go through the square root, and
    the root is taken of max(d^2, 1e-12): the gradient is finite everywhere, and 0 between exact duplicates.
    """
    squared = squared_distances(anchors, candidates)
    same = jnp.asarray(anchor_labels)[:, None] == jnp.asarray(candidate_labels)[None, :]
    positive = jnp.where(same, squared, 0.0).max(axis=1)
    negative = jnp.where(same, jnp.inf, squared).min(axis=1)
    return jnp.sqrt(jnp.maximum(positive, 1e-12)), jnp.sqrt(jnp.maximum(negative, 1e-12))


def _hardest_cosine_distances(
    anchors: Float[ArrayLike, "a d"],
    anchor_labels: Int[ArrayLike, "a"],
    candidates: Float[ArrayLike, "c d"],
    candidate_labels: Int[ArrayLike, "c"],
) -> tuple[Float[Array, "a"], Float[Array, "a"]]:
    """``_hardest_distances`` by 1 - cos. A zero vector has the distance 1 to all."""
    similarities = jnp.matmul(_unit(anchors), _unit(candidates).T, precision=jax.lax.Precision.HIGHEST)
    same = jnp.asarray(anchor_labels)[:, None] == jnp.asarray(candidate_labels)[None, :]
    positive = jnp.where(same, 1.0 - similarities, 0.0).max(axis=1)
    return positive, jnp.where(same, jnp.inf, 1.0 - similarities).min(axis=1)


def _unit(features: Float[ArrayLike, "n d"]) -> Float[Array, "n d"]:
    """Rows of length 1, in float32 or float64; a zero row stays zero, with a finite gradient."""
    features = jnp.asarray(features)
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return features * jax.lax.rsqrt(jnp.maximum((features**2).sum(axis=1, keepdims=True), 1e-12))


def identity_loss(logits: Float[ArrayLike, "b k"], labels: Int[ArrayLike, "b"], smoothing: float) -> Float[Array, ""]:
    """Softmax cross-entropy over the training identities, eq. 17, mean over clips.

    ``smoothing`` s moves s of the target's mass evenly over all identities (0: the paper's words; the recipes it
    follows use 0.1). The softmax runs over the identities; the paper's index N there is a slip.
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    log_p = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -((1.0 - smoothing) * picked + smoothing * log_p.mean(axis=1)).mean()


def adaptive_weight(
    loss_a: Float[ArrayLike, ""], loss_p: Float[ArrayLike, ""], stop_gradient: bool = True
) -> Float[Array, ""]:
    """The weight lambda = L_a / (L_a + L_p), eq. 18, in [0, 1]; 0.5 where both losses are 0.

    The branch that lags behind gets the larger weight.

    Decision: no gradient flows through lambda, since through it the smaller of the two losses would be pushed up.
    """
    loss_a, loss_p = jnp.asarray(loss_a), jnp.asarray(loss_p)
    total = loss_a + loss_p
    weight = jnp.where(total > 0, loss_a / jnp.where(total > 0, total, 1.0), 0.5)
    return jax.lax.stop_gradient(weight) if stop_gradient else weight


class LossTerms(NamedTuple):
    """The objective and its parts, scalars."""

    total: Float[Array, ""]
    identity: Float[Array, ""]
    appearance: Float[Array, ""]
    pose: Float[Array, ""]
    weight: Float[Array, ""]
    auxiliary: Float[Array, ""] | None = None
    """What the appearance model adds of its own; None where it adds nothing."""


def combine(
    identity: Float[ArrayLike, ""],
    appearance: Float[ArrayLike, ""] | None,
    pose: Float[ArrayLike, ""] | None,
    appearance_weight: str | float,
    weight_gradient: bool,
    auxiliary: Float[ArrayLike, ""] | None = None,
) -> LossTerms:
    """L = L_id + lambda L_a + (1 - lambda) L_p, eq. 19, and the auxiliary loss where there is one.

    Args:
      identity: L_id.
      appearance: L_a; None without an appearance branch, and then L = L_id + L_p and lambda is 0.
      pose: L_p; None without a pose branch, and then L = L_id + L_a and lambda is 1.
      appearance_weight: "adaptive", or a fixed lambda of table VII. As the paper has it, lambda weighs the *appearance*
        triplet: 1.0 trains no pose triplet.
      weight_gradient: let the gradient through the adaptive lambda.
      auxiliary: already weighted loss of the appearance model (BiCnet-TKS: 0.01 times its diversity loss), or None.
    """
    identity = jnp.asarray(identity)
    appearance, pose = (None if loss is None else jnp.asarray(loss) for loss in (appearance, pose))
    terms = _weighted(identity, appearance, pose, appearance_weight, weight_gradient)
    if auxiliary is None:
        return terms
    auxiliary = jnp.asarray(auxiliary)
    return terms._replace(total=terms.total + auxiliary, auxiliary=auxiliary)


def _weighted(
    identity: Array, appearance: Array | None, pose: Array | None, appearance_weight: str | float, weight_gradient: bool
) -> LossTerms:
    one, zero = jnp.ones_like(identity), jnp.zeros_like(identity)
    if appearance is None:
        if pose is None:
            raise ValueError("neither branch has a triplet loss: give at least one")
        return LossTerms(identity + pose, identity, zero, pose, zero)
    if pose is None:
        return LossTerms(identity + appearance, identity, appearance, zero, one)
    if appearance_weight == "adaptive":
        weight = adaptive_weight(appearance, pose, stop_gradient=not weight_gradient)
    else:
        weight = jnp.full_like(appearance, float(appearance_weight))
    return LossTerms(identity + weight * appearance + (1.0 - weight) * pose, identity, appearance, pose, weight)
