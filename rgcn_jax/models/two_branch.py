"""The two-branch model (figure 3): f_a from the frames, f_p from the keypoints, identity logits from [f_a ; f_p].

Independent of losses, labels and data sets. Frames are normalised, keypoints as stored.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.pose_input import detections, pose_input
from rgcn_jax.models.pose_norm import PoseNorm

EPSILON = MappingProxyType({"appearance": 1e-5, "pose": 1e-7})
"""Added to variances in the statistics and the neck. Dimensions of f_p may vary by only 1e-5 between clips (an
untrained LGCN on "crop" input), which the usual 1e-5 would shrink.
"""

NECKS = ("none", "batchnorm", "batchnorm_all")

CLASSIFIER = "classifier"
"""Name of the parameters that depend on the training identities, which other data sets and embedders ignore."""


class Features(NamedTuple):
    """Outputs of the model for B clips; f_a, f_p and logits in float32."""

    appearance: Float[Array, "b d_a"]
    """f_a, not normalised, for the triplet loss and distances; zero columns without an appearance branch."""
    pose: Float[Array, "b d_p"]
    """f_p, not normalised; zero columns without a pose branch."""
    logits: Float[Array, "b k"]
    """FC([f_a ; f_p]) over the training identities; zero columns without a classifier."""
    attention: dict[str, Array]
    """Attention weights of the readout: "node" [B, 14] and "time" [B, T], if it has them."""
    aux: dict[str, Array]
    """Auxiliary outputs of the appearance model. ``auxiliary_loss`` [], if present, is a weighted mean over the clips
    that is added to the objective.
    """
    standardised: dict[str, Array]
    """f_a and f_p, "appearance" [B, D_a] and "pose" [B, D_p], with each dimension standardised over the batch (in
    evaluation: by running statistics), as in a neck without learned scale, for any ``neck``.
    """


class TwoBranch(nn.Module):
    """An appearance model, and a pose encoder with a readout; either branch may be missing.

    Fields:
      appearance: frames [B, T, H, W, 3], mask, train -> (f_a [B, D], dict); or `PrecomputedFeatures`, whose input is
        f_a; None: pose only, with zero columns of f_a.
      pose: X [B, T, 14, C], mask, train -> H [B, T, 14, n]; None: appearance only, with exactly the baseline's
        parameters.
      readout: H, mask -> (f_p, weights); None if ``pose`` is None.
      num_identities: training identities; 0: no classifier, for a model that only embeds.
      pose_input: a mode of ``pose_input``.
      pose_fill: whether to fill gaps of a keypoint within a clip (``pose_input.fill_gaps``).
      pose_norm: whether to standardise X by running statistics of each keypoint (``PoseNorm``, ``pose_norm``).
      keypoint_embedding: number e of learned channels, ``keypoint_embedding`` [14, e], that are appended to X and
        identify the keypoint to the encoder. 0 (the paper): none; the shared W_x then distinguishes keypoints only by
        position and graph.
      aspect: width of a crop over its height, for "centred" pose input. None: that of the frames.
      neck: "none": the classifier takes [f_a ; f_p] (the paper). "batchnorm": it takes each dimension standardised over
        the batch (in evaluation: by running statistics) and scaled by a learned factor, ``neck_appearance`` [D] and
        ``neck_pose``, without an offset (the BNNeck of Luo et al., 2019), so that both branches contribute whatever
        their scale; the features stay unnormalised. "batchnorm_all": f_a and f_p are outputs of a batch normalisation
        with learned scale and offset, used by classifier, triplet losses and distances (as in BiCnet-TKS's released
        code).
      dtype: data type of the computation of the branches, and of the frames.
      axis_name: mesh axis over which batch statistics are computed in training under ``shard_map``; no effect in
        evaluation.

    For any neck, running mean and variance of every dimension of f_a and f_p are kept in ``batch_stats`` (BatchNorm
    momentum 0.9) as ``statistics_appearance`` and ``statistics_pose``; ``feature_statistics`` reads them.
    """

    appearance: nn.Module | None
    pose: nn.Module | None
    readout: nn.Module | None
    num_identities: int
    pose_input: str = "centred"
    pose_fill: bool = False
    pose_norm: bool = False
    keypoint_embedding: int = 0
    neck: str = "none"
    aspect: float | None = None
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        frames: Float[ArrayLike, "b t h w 3"] | Float[ArrayLike, "b d"],
        keypoints: Float[ArrayLike, "b t 14 3"],
        frame_mask: Bool[ArrayLike, "b t"],
        train: bool = False,
    ) -> Features:
        """Compute ``Features`` from normalised RGB frames (or precomputed f_a), keypoints and the mask of valid frames.

        Raises:
          ValueError: the neck is unknown, only one of pose encoder and readout is given, or the aspect ratio of a crop
            is known neither from frames nor from ``aspect``.
          InputError: the pose input is unknown.
        """
        if self.neck not in NECKS:
            raise ValueError(f"unknown neck {self.neck!r}: expected one of {', '.join(NECKS)}.")
        if self.appearance is None and self.pose is None:
            raise ValueError("expected an appearance model or a pose encoder, found neither.")
        if (self.pose is None) != (self.readout is None):
            raise ValueError("expected both pose encoder and readout, or neither; found one of them.")
        frames, keypoints, frame_mask = map(jnp.asarray, (frames, keypoints, frame_mask))
        f_a, aux = keypoints[:, 0, 0, :0], {}
        standardised, seen = {}, []
        if self.appearance is not None:
            f_a, aux = self.appearance(frames, frame_mask, train=train)
            f_a, standardised["appearance"] = self._normalised("appearance", at_least_float32(f_a), train, seen)
        f_p, attention = jnp.zeros_like(f_a[:, :0]), {}
        if self.pose is not None and self.readout is not None:
            x = self._with_embedding(self._pose_input(keypoints, self._aspect(frames), frame_mask, train))
            f_p, attention = self.readout(self.pose(x, frame_mask, train=train), frame_mask)
            f_p, standardised["pose"] = self._normalised("pose", f_p, train, seen)
        logits = jnp.zeros_like(f_a[:, :0])
        if self.num_identities:
            logits = nn.Dense(self.num_identities, name=CLASSIFIER)(jnp.concatenate(seen, axis=-1))
        return Features(f_a, f_p, logits, attention, aux, standardised)

    def _aspect(self, frames: Array) -> float:
        if self.aspect is not None:
            return self.aspect
        if frames.ndim != 5:
            raise ValueError("without frames TwoBranch needs the aspect ratio of a crop: aspect=width / height.")
        return frames.shape[3] / frames.shape[2]

    def _pose_input(self, keypoints: Array, aspect: float, mask: Array, train: bool) -> Array:
        """X, filled and standardised according to the fields."""
        x = pose_input(keypoints, self.pose_input, aspect, mask, self.pose_fill)
        if not self.pose_norm:
            return x
        seen = detections(keypoints, mask)
        present = seen.any(axis=1, keepdims=True) & mask[:, :, None] if self.pose_fill else seen
        return PoseNorm(self.axis_name, name="pose_norm")(x, present, seen, train)

    def _with_embedding(self, x: Array) -> Array:
        """Append the learned channels of each keypoint to X, whether it was detected or not."""
        if not self.keypoint_embedding:
            return x
        # Scale of the coordinates of a standing person in torso lengths.
        shape = (x.shape[2], self.keypoint_embedding)
        e = self.param("keypoint_embedding", nn.initializers.normal(1.0), shape)
        return jnp.concatenate([x, jnp.broadcast_to(e, (*x.shape[:2], *shape)).astype(x.dtype)], axis=-1)

    def _normalised(self, branch: str, f: Array, train: bool, seen: list[Array]) -> tuple[Array, Array]:
        """The feature of a branch and its standardised form; appends the classifier's input to ``seen``."""
        if self.neck == "batchnorm_all":
            f = feature_norm(branch, name=f"neck_{branch}", axis_name=self.axis_name)(f, use_running_average=not train)
        standardised = feature_norm(
            branch, use_bias=False, use_scale=False, axis_name=self.axis_name, name=f"statistics_{branch}"
        )(f, use_running_average=not train)
        if self.neck == "batchnorm":
            seen.append(standardised * self.param(f"neck_{branch}", nn.initializers.ones, f.shape[-1:]))
        else:
            seen.append(f)
        return f, standardised


def feature_norm(branch: str, **settings: Any) -> nn.BatchNorm:
    """Batch normalisation of the feature of a branch, for its statistics and for the neck "batchnorm_all".

    In two passes (mean, then squared deviations): pose features vary by less than a hundredth of their mean.
    """
    return nn.BatchNorm(momentum=0.9, epsilon=EPSILON[branch], use_fast_variance=False, **settings)


def pose_features(
    model: TwoBranch,
    variables: Mapping[str, Any],
    keypoints: Float[ArrayLike, "b t 14 3"],
    frame_mask: Bool[ArrayLike, "b t"] | None = None,
) -> Float[Array, "b d_p"]:
    """f_p of clips from keypoints only, as in evaluation, without frames and appearance model.

    Args:
      model: a model with a pose branch and with ``aspect``; otherwise raises ValueError. Its appearance model is not
        used.
      variables: variables of the model; those of the appearance branch and of the classifier may be missing.
      keypoints: x and y in normalised coordinates of the crop, in [0, 1], and confidence, 0 where not detected.
      frame_mask: False for frames that pad a clip. None: all are valid.
    """
    keypoints = jnp.asarray(keypoints)
    frame_mask = jnp.ones(keypoints.shape[:2], bool) if frame_mask is None else jnp.asarray(frame_mask)
    alone: Any = model.clone(appearance=None, num_identities=0)
    return alone.apply(variables, jnp.zeros((len(keypoints), 0)), keypoints, frame_mask).pose


def feature_statistics(
    batch_stats: Mapping,
) -> tuple[
    tuple[Float[Array, "d_a"], Float[Array, "d_a"]],
    tuple[Float[Array, "d_p"], Float[Array, "d_p"]],
]:
    """((mean, std) of f_a, (mean, std) of f_p) over the training set, for the "standardized" distance.

    One value per dimension; zero dimensions for a missing branch. A constant dimension has standard deviation 0; the
    distance ignores it. ``batch_stats``: the collection of a ``TwoBranch``.
    """

    def read(branch: str) -> tuple[Array, Array]:
        kept = batch_stats.get(f"statistics_{branch}", {"mean": jnp.zeros(0), "var": jnp.zeros(0)})
        return jnp.asarray(kept["mean"]), jnp.sqrt(jnp.maximum(kept["var"], 0.0))

    return read("appearance"), read("pose")
