"""BiCnet-TKS appearance model (Hou et al., CVPR 2021): frames of a clip -> f_a (method section 2, "BiC").

One ResNet-50 processes two streams of a clip, detail frames at full resolution and context frames at half resolution.
Its components are in `rgcn_jax.models.bicnet_parts`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.bicnet_parts import (
    GROUP,
    CrossScalePropagation,
    DividedAttention,
    TemporalKernelSelection,
    diversity_loss,
    max_pool_2x2,
)
from rgcn_jax.models.masking import at_least_float32, masked_mean
from rgcn_jax.models.pooling import max_over_positions
from rgcn_jax.models.resnet import ResNet50

STAGES = 4

DIVERSITY_WEIGHT = 0.01
"""Weight of the diversity loss in the objective."""


class BiCnet(nn.Module):
    """BiCnet: two resolutions with shared weights, frames to (f_a, aux); a replacement for `FrameAppearance`.

    After the stem, frames 0, 4, 8 ... are detail frames; the others are context frames and are max-pooled 2x2. Each of
    the four stages runs on detail, then on context, with the same weights. In training BatchNorm normalises each by its
    own statistics and updates the running ones twice, in this order. After stages 1, 2 and 3 the detail frames add
    messages to their context frames (``propagation1`` ... ``propagation3``); ``kernel_selection`` follows stage 2,
    ``divided_attention`` stage 3. Maps are max-pooled over positions and averaged over the detail and over the context
    frames; f_a is the mean of both averages. It is not normalised: the normalisation and classifier of the original are
    the neck and classifier of ``TwoBranch``.

    ``trunk``: a `ResNet50` of four stages, whose ``pooling`` is not used; the same weights load into it. For
    ResNet-50 there are 29,270,304 parameters: 23,508,032 in the trunk, 4,128,768 in the propagation, 1,623,104 in the
    selection and 10,400 in the attention. The original with 625 identities has 30.56 million, including its BatchNorm
    and linear head.

    Number of frames: clips are padded to groups of four by repeating the last frame (the original: 8 frames), and a
    masked frame is replaced by the last valid one before it (at the beginning, by the first valid one). Such frames are
    excluded from means, temporal convolutions and the diversity loss. Without valid detail frames, or without valid
    context frames, f_a is the mean of the others; without any, 0. So in evaluation, masked frames at the end of a clip
    do not change f_a. In training, copies contribute to the statistics of BatchNorm.

    Images may have any size that the trunk accepts (see `rgcn_jax.models.bicnet_parts`).

    Raises ValueError unless there are four stages, or as raised by the trunk.
    """

    trunk: ResNet50

    @nn.compact
    def __call__(
        self, frames: Float[ArrayLike, "b t h w 3"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "b d"], dict[str, jax.Array]]:
        """Normalised RGB frames and mask of valid ones (None: all) to f_a and auxiliary outputs.

        These are ``attention_masks`` [B, G, 3, 8], the stripe weights of the context frames of G = ceil(T / 4) groups,
        and in training ``auxiliary_loss`` [], 0.01 times `diversity_loss`.
        """
        if len(self.trunk.stage_sizes) != STAGES:
            raise ValueError(f"expected {STAGES} stages for BiCnet, found {len(self.trunk.stage_sizes)}")
        frames, counts = complete_clips(frames, mask)
        b, t = frames.shape[:2]
        dtype, axis_name = self.trunk.dtype, self.trunk.axis_name

        def run_stage(stage: int, x: Array) -> Array:
            out = self.trunk.stage(stage, x.reshape(-1, *x.shape[-3:]), train)
            return out.reshape(*x.shape[:-3], *out.shape[1:])

        x = self.trunk.stem(frames.reshape(b * t, *frames.shape[2:]), train)
        x = x.reshape(b, t // GROUP, GROUP, *x.shape[1:])
        detail, context = x[:, :, 0], max_pool_2x2(x[:, :, 1:])
        masks = jnp.zeros(0)
        for stage in range(STAGES):
            detail = run_stage(stage, detail)
            context = run_stage(stage, context)
            if stage < STAGES - 1:
                context = CrossScalePropagation(dtype, name=f"propagation{stage + 1}")(detail, context)
            if stage == 1:
                select = TemporalKernelSelection(dtype, axis_name, name="kernel_selection")
                detail, context = select(detail, context, counts, train)
            if stage == 2:
                attend = DividedAttention(axis_name, name="divided_attention")
                detail, context, masks = attend(detail, context, train)
        grouped = counts.reshape(b, -1, GROUP)
        f_a = _mean_of_streams(detail, context, grouped)
        aux = {"attention_masks": masks}
        if train:
            aux["auxiliary_loss"] = DIVERSITY_WEIGHT * diversity_loss(masks, grouped[:, :, 1:])
        return f_a, aux


def complete_clips(
    frames: Float[ArrayLike, "b t h w 3"], mask: Bool[ArrayLike, "b t"] | None
) -> tuple[Float[Array, "b t_full h w 3"], Bool[Array, "b t_full"]]:
    """Pad clips to whole groups, and mark the valid frames of the original clip.

    Every other frame is a copy of the last valid one before it, or of the first valid one.
    """
    frames = jnp.asarray(frames)
    b, t = frames.shape[:2]
    counts = jnp.ones((b, t), bool) if mask is None else jnp.asarray(mask)
    counts = jnp.pad(counts, ((0, 0), (0, -t % GROUP)))
    last = jax.lax.cummax(jnp.where(counts, jnp.arange(counts.shape[1]), -1), axis=1)
    source = jnp.where(last < 0, counts.argmax(axis=1)[:, None], last)
    return jnp.take_along_axis(frames, source[:, :, None, None, None], axis=1), counts


def _mean_of_streams(detail: Array, context: Array, counts: Array) -> Array:
    """Mean of the averages over valid detail and over valid context frames; one of them if the other has no frames."""
    of_detail = masked_mean(at_least_float32(max_over_positions(detail)), counts[:, :, 0])
    context = at_least_float32(max_over_positions(context))
    counts_context = counts[:, :, 1:].reshape(counts.shape[0], -1)
    of_context = masked_mean(context.reshape(counts.shape[0], -1, context.shape[-1]), counts_context)
    has_detail = counts[:, :, 0].any(axis=1)[:, None]
    has_context = counts_context.any(axis=1)[:, None]
    return jnp.where(has_detail & has_context, 0.5, 1.0) * (of_detail + of_context)
