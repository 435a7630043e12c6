"""BiCnet-TKS, an appearance model of its own: frames of a clip -> f_a (method section 2, "BiC").

Hou et al., CVPR 2021. One ResNet-50 runs over two streams of the same clip, the detail frames at full resolution and
the context frames at half of it; its parts are in `rgcn_jax.models.bicnet_parts`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
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
from rgcn_jax.models.resnet import PLAIN_CONV, PLAIN_NORM, ResNet50

STAGES = 4

DIVERSITY_WEIGHT = 0.01
"""Weight of the diversity loss in the objective."""


class BiCnet(nn.Module):
    """Two resolutions, one trunk: frames to (f_a, aux), to be used where `FrameAppearance` is.

    After the stem, frames 0, 4, 8 ... are detail; the others are context and max-pooled 2x2. Each of the four stages
    runs over detail, then over context, with the same weights; in training BatchNorm normalises either by its own
    statistics and updates the running ones twice, in this order. After stages 1, 2 and 3 the detail frames add
    messages to their context frames (``propagation1`` ... ``propagation3``), after stage 2 comes
    ``kernel_selection``, after stage 3 ``divided_attention``. f_a is the mean of two means, over the detail and over
    the context frames, of the maps' maxima over the positions. It is raw: the normalisation and the classifier that
    follow in the original are the neck and the classifier of ``TwoBranch``.

    Fields as `ResNet50`'s. ``trunk`` is a `ResNet50` in name and shape, so the same weights load into it. With the
    paper's fields there are 29,270,304 parameters: 23,508,032 of the trunk, 4,128,768 of the propagation, 1,623,104 of
    the selection and 10,400 of the attention. The original with 625 identities has 30.56 million, the difference being
    its head, BatchNorm and linear.

    Any number of frames: the clip is completed to groups of four by repeating its last frame (the original: 8
    frames), and a frame that the mask leaves out is replaced by the last one before it that counts (by the first one,
    at the beginning). Such frames are left out of the means, the temporal convolutions and the diversity loss; where
    no detail frame counts, or no context frame, f_a is the mean of the others; where none counts at all, it is 0. So in
    evaluation a clip with frames left out at its end has the f_a of the clip without them. In training such copies
    remain a part of the statistics of BatchNorm.

    Any size of image that the trunk accepts: `rgcn_jax.models.bicnet_parts` says how maps are cut into cells.

    Raises ValueError where there are not four stages, or as the trunk does.
    """

    stage_sizes: Sequence[int] = (3, 4, 6, 3)
    width: int = 64
    last_stride: int = 1
    remat: str = "none"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv: Callable[..., Any] = PLAIN_CONV
    norm: Callable[..., Any] = PLAIN_NORM

    @nn.compact
    def __call__(
        self, frames: Float[ArrayLike, "b t h w 3"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "b d"], dict[str, jax.Array]]:
        """Normalised RGB frames and the mask of those that count (None: all) to f_a and what else there is.

        That is ``attention_masks`` [B, G, 3, 8], the stripes' weights of the context frames of G = ceil(T / 4) groups,
        and in training ``auxiliary_loss`` [], 0.01 times `diversity_loss`, which the objective adds.
        """
        if len(self.stage_sizes) != STAGES:
            raise ValueError(f"BiCnet has {STAGES} stages, not {len(self.stage_sizes)}")
        frames, counts = complete_clips(frames, mask)
        b, t = frames.shape[:2]
        trunk = ResNet50(
            self.stage_sizes,
            self.width,
            self.last_stride,
            remat=self.remat,
            dtype=self.dtype,
            axis_name=self.axis_name,
            conv=self.conv,
            norm=self.norm,
            name="trunk",
        )

        def run_stage(stage: int, x: Array) -> Array:
            out = trunk.stage(stage, x.reshape(-1, *x.shape[-3:]), train)
            return out.reshape(*x.shape[:-3], *out.shape[1:])

        x = trunk.stem(frames.reshape(b * t, *frames.shape[2:]), train)
        x = x.reshape(b, t // GROUP, GROUP, *x.shape[1:])
        detail, context = x[:, :, 0], max_pool_2x2(x[:, :, 1:])
        masks = jnp.zeros(0)
        for stage in range(STAGES):
            detail = run_stage(stage, detail)
            context = run_stage(stage, context)
            if stage < STAGES - 1:
                context = CrossScalePropagation(self.dtype, name=f"propagation{stage + 1}")(detail, context)
            if stage == 1:
                select = TemporalKernelSelection(self.dtype, self.axis_name, name="kernel_selection")
                detail, context = select(detail, context, counts, train)
            if stage == 2:
                attend = DividedAttention(self.axis_name, name="divided_attention")
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
    """Clips of whole groups, and their frames that count: the clip's own, as far as the mask has them.

    Every other frame is a copy of the last one before it that counts, or of the first one that counts.
    """
    frames = jnp.asarray(frames)
    b, t = frames.shape[:2]
    counts = jnp.ones((b, t), bool) if mask is None else jnp.asarray(mask)
    counts = jnp.pad(counts, ((0, 0), (0, -t % GROUP)))
    last = jax.lax.cummax(jnp.where(counts, jnp.arange(counts.shape[1]), -1), axis=1)
    source = jnp.where(last < 0, counts.argmax(axis=1)[:, None], last)
    return jnp.take_along_axis(frames, source[:, :, None, None, None], axis=1), counts


def _mean_of_streams(detail: Array, context: Array, counts: Array) -> Array:
    """Half the mean of the detail maps' maxima plus half that of the context maps', over the frames that count; the
    whole of one mean where the other has no frames.
    """
    of_detail = masked_mean(at_least_float32(max_over_positions(detail)), counts[:, :, 0])
    context = at_least_float32(max_over_positions(context))
    counts_context = counts[:, :, 1:].reshape(counts.shape[0], -1)
    of_context = masked_mean(context.reshape(counts.shape[0], -1, context.shape[-1]), counts_context)
    has_detail = counts[:, :, 0].any(axis=1)[:, None]
    has_context = counts_context.any(axis=1)[:, None]
    return jnp.where(has_detail & has_context, 0.5, 1.0) * (of_detail + of_context)
