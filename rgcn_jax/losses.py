"""Training objective (eq. 15-19): batch-hard triplet loss per branch, identity loss and adaptive weight.

Pure functions of arrays. Losses are means over the clips of a batch. The paper sums the triplet loss; decision: the
mean does not depend on the batch size and has the same minimiser for a scaled weight.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

TRIPLET_DISTANCES = ("euclidean", "cosine")


def squared_distances(a: Float[ArrayLike, "a d"], b: Float[ArrayLike, "b d"]) -> Float[Array, "a b"]:
    """Squared Euclidean distances between the rows of a and b, in float32 or float64, never negative.

    ``|a|^2 + |b|^2 - 2ab``, after subtracting the mean of b from both: this avoids cancellation, which costs uncentred
    features up to 15 % of the distance in float32. ``precision=HIGHEST`` keeps TF32 and bfloat16 passes out of the
    product.
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

    With margin "soft" it is log(1 + exp(positive - negative)) (Hermans et al., 2017), which needs no threshold in units
    of the distance and whose gradient fades out instead of stopping.

    Args:
      features: the anchors, one row per clip.
      labels: class label of each anchor. With a single identity there is no negative, and the loss is 0.
      margin: delta, in units of the distance (0.3: decision, the paper states no value), or "soft".
      candidates: clips to mine for the hardest positive and negative: the global batch if ``features`` are those of one
      device. None: ``features``.
      candidate_labels: class label of each candidate; required if ``candidates`` is given.
      distance: "euclidean", of unnormalised features; or "cosine", 1 - cos in [0, 2] (not in the paper; BiCnet-TKS's
        released code).

    Raises:
      ValueError: only one of candidates and candidate_labels is given, or the margin or distance is invalid.
    """
    if isinstance(margin, str) and margin != "soft":
        raise ValueError(f'margin is {margin!r}: expected a number or "soft"')
    if (candidates is None) != (candidate_labels is None):
        raise ValueError("candidates and candidate_labels must be given together")
    if candidates is None or candidate_labels is None:
        candidates, candidate_labels = features, labels
    if distance not in TRIPLET_DISTANCES:
        raise ValueError(f"distance is {distance!r}: expected one of {', '.join(TRIPLET_DISTANCES)}")
    if distance == "euclidean":
        distances = squared_distances(features, candidates)
    else:
        distances = 1.0 - jnp.matmul(_unit(features), _unit(candidates).T, precision=jax.lax.Precision.HIGHEST)
    # An anchor that is itself a candidate is a positive at distance 0, so an identity with one clip is well-defined.
    same = jnp.asarray(labels)[:, None] == jnp.asarray(candidate_labels)[None, :]
    positive = jnp.where(same, distances, 0.0).max(axis=1)
    negative = jnp.where(same, jnp.inf, distances).min(axis=1)
    if distance == "euclidean":  # the bound keeps the gradient finite, and 0 between exact duplicates
        positive, negative = (jnp.sqrt(jnp.maximum(squared, 1e-12)) for squared in (positive, negative))
    if isinstance(margin, str):
        return jax.nn.softplus(positive - negative).mean()
    return jnp.maximum(margin + positive - negative, 0.0).mean()


def _unit(features: Float[ArrayLike, "n d"]) -> Float[Array, "n d"]:
    """Scale rows to unit length; a zero row stays zero, at distance 1 from all others, with a finite gradient."""
    features = jnp.asarray(features)
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return features * jax.lax.rsqrt(jnp.maximum((features**2).sum(axis=1, keepdims=True), 1e-12))


def identity_loss(logits: Float[ArrayLike, "b k"], labels: Int[ArrayLike, "b"], smoothing: float) -> Float[Array, ""]:
    """Softmax cross-entropy over the training identities, eq. 17, mean over clips.

    ``smoothing`` s spreads the fraction s of the target's probability evenly over all identities (the paper: 0; the
    recipes it builds on: 0.1). The softmax is over the identities; the paper's index N there is an error.
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    log_p = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -((1.0 - smoothing) * picked + smoothing * log_p.mean(axis=1)).mean()


def adaptive_weight(
    loss_a: Float[ArrayLike, ""], loss_p: Float[ArrayLike, ""], stop_gradient: bool = True
) -> Float[Array, ""]:
    """Adaptive weight lambda = L_a / (L_a + L_p), eq. 18, in [0, 1]; 0.5 where both losses are 0.

    The branch with the larger loss gets the larger weight. Decision: no gradient flows through lambda, since it would
    increase the smaller of the two losses.
    """
    loss_a, loss_p = jnp.asarray(loss_a), jnp.asarray(loss_p)
    total = loss_a + loss_p
    weight = jnp.where(total > 0, loss_a / jnp.where(total > 0, total, 1.0), 0.5)
    return jax.lax.stop_gradient(weight) if stop_gradient else weight


class LossTerms(NamedTuple):
    """The objective and its terms, scalars."""

    total: Float[Array, ""]
    identity: Float[Array, ""]
    appearance: Float[Array, ""]
    pose: Float[Array, ""]
    weight: Float[Array, ""]
    auxiliary: Float[Array, ""] | None = None
    """Auxiliary loss of the appearance model, or None."""


def combine(
    identity: Float[ArrayLike, ""],
    appearance: Float[ArrayLike, ""] | None,
    pose: Float[ArrayLike, ""] | None,
    appearance_weight: str | float,
    weight_gradient: bool,
    auxiliary: Float[ArrayLike, ""] | None = None,
) -> LossTerms:
    """Total loss L = L_id + lambda L_a + (1 - lambda) L_p, eq. 19, plus the auxiliary loss if there is one.

    Args:
      identity: L_id.
      appearance: L_a; None without an appearance branch: then L = L_id + L_p and lambda is 0.
      pose: L_p; None without a pose branch: then L = L_id + L_a and lambda is 1.
      appearance_weight: "adaptive", or a fixed lambda as in table VII. As in the paper, lambda is the weight of the
        *appearance* triplet: 1.0 trains no pose triplet.
      weight_gradient: whether to backpropagate through the adaptive lambda.
      auxiliary: weighted auxiliary loss of the appearance model (BiCnet-TKS: 0.01 times its diversity loss), or None.
    """
    identity = jnp.asarray(identity)
    appearance, pose = (None if loss is None else jnp.asarray(loss) for loss in (appearance, pose))
    one, zero = jnp.ones_like(identity), jnp.zeros_like(identity)
    if appearance is None:
        if pose is None:
            raise ValueError("both triplet losses are None: expected at least one")
        terms = LossTerms(identity + pose, identity, zero, pose, zero)
    elif pose is None:
        terms = LossTerms(identity + appearance, identity, appearance, zero, one)
    else:
        if appearance_weight == "adaptive":
            weight = adaptive_weight(appearance, pose, stop_gradient=not weight_gradient)
        else:
            weight = jnp.full_like(appearance, float(appearance_weight))
        terms = LossTerms(identity + weight * appearance + (1.0 - weight) * pose, identity, appearance, pose, weight)
    if auxiliary is None:
        return terms
    auxiliary = jnp.asarray(auxiliary)
    return terms._replace(total=terms.total + auxiliary, auxiliary=auxiliary)
