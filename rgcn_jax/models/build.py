"""Building the model of a config from plain values: tables of appearance models, pose encoders and readouts.

"MODULE:NAME" in place of a name is the import path of a custom class (docs/own-encoder.md). Combinations are validated
beforehand by ``config_rules.py``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rgcn_jax.errors import InputError
from rgcn_jax.models import cpu
from rgcn_jax.models.appearance import (
    AttentionAggregation,
    AveragePooling,
    ConvolutionalAttention,
    FrameAppearance,
    PrecomputedFeatures,
    RecurrentAggregation,
)
from rgcn_jax.models.bicnet import BiCnet
from rgcn_jax.models.evolve_gcn import EvolveGCN
from rgcn_jax.models.gcn_rnn import GCNLSTM, GCNRNN
from rgcn_jax.models.plugins import load_plugin
from rgcn_jax.models.pretrained import load_appearance
from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.resnet import ResNet50
from rgcn_jax.models.stgcn import STGCN
from rgcn_jax.models.two_branch import TwoBranch


def _recurrent(**trunk: Any) -> FrameAppearance:
    features = 4 * trunk["width"] * 2 ** (len(trunk["stage_sizes"]) - 1)
    return FrameAppearance(ResNet50(**trunk), RecurrentAggregation(features))


APPEARANCES: Mapping[str, Callable[..., nn.Module]] = {
    "AP": lambda **trunk: FrameAppearance(ResNet50(**trunk), AveragePooling()),
    "AA": lambda **trunk: FrameAppearance(ResNet50(**trunk), AttentionAggregation()),
    "AA-conv": lambda **trunk: ConvolutionalAttention(ResNet50(**trunk)),
    "RA": _recurrent,
    "BiC": lambda **trunk: BiCnet(ResNet50(**trunk)),
    "precomputed": lambda **_: PrecomputedFeatures(),
}
"""Appearance models: frames -> f_a; called with the fields of ``ResNet50``. All but "precomputed" have a ``ResNet50``,
``trunk``.
"""

RECURRENT_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {"RGCN": RGCN, "LGCN": LGCN}
"""The paper's pose encoders, without a product between graph convolution and recurrence."""

LAYERED_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    **RECURRENT_ENCODERS,
    "GCNRNN": GCNRNN,
    "GCNLSTM": GCNLSTM,
}
"""Pose encoders with a variable number of graph layers."""

NORMALISED_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    "STGCN": STGCN,
    "STGCN-compat": partial(STGCN, variant="spatial_compat"),
}
"""Pose encoders with batch normalisation and dropout; called with axis_name too."""

POSE_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    **LAYERED_ENCODERS,
    **NORMALISED_ENCODERS,
    "EvolveGCN-O": partial(EvolveGCN, variant="O"),
    "EvolveGCN-H": partial(EvolveGCN, variant="H"),
}
"""Keypoints -> node embeddings; called with features, dtype and the encoder's ``ENCODER_SETTINGS``."""

ENCODER_SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "graph_layers": ("num_layers", LAYERED_ENCODERS),
    "graph_relu_each_layer": ("relu_each_layer", LAYERED_ENCODERS),
    "graph_self": ("self_term", LAYERED_ENCODERS),
    "product": ("product", RECURRENT_ENCODERS),
    "dropout": ("dropout", NORMALISED_ENCODERS),
    "axis_name": ("axis_name", NORMALISED_ENCODERS),
}
"""Settings of some pose encoders only, fields of ``config.model`` and ``axis_name``: name of the argument, encoders."""

READOUTS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "DAM": (DualAttention, 2),
    "NAM": (NodeAttention, 1),
    "TAM": (TimeAttention, 1),
    "mean": (MeanReadout, 1),
}
"""Readouts: node embeddings -> f_p, and the number of vectors of the node's width that f_p consists of."""


DTYPES: Mapping[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""Data types of the ResNet and of large matrix products."""


def _choose(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise ValueError(f"unknown name {name!r}: expected one of {', '.join(table)}, or MODULE:NAME.")
    return table[name]


def build_encoder(name: str, platform: str = "", **settings: Any) -> nn.Module:
    """Build the pose encoder of a name in ``POSE_ENCODERS`` or at an import path.

    ``platform``: as for ``build_model``. ``settings``: ``features``, ``dtype`` and settings of the encoder. Raises
    InputError if the encoder does not exist, or does not take the settings.
    """
    if ":" in name:
        return load_plugin(name, "model.pose", settings)(**settings)
    encoder = _choose(POSE_ENCODERS, name)
    form = cpu.ENCODERS.get(getattr(encoder, "func", encoder), {}) if platform == "cpu" else {}
    return encoder(**settings, **form)


def _build_readout(name: str) -> tuple[nn.Module, int]:
    """Build the readout; return it with the number of vectors of the node's width that f_p consists of."""
    if ":" in name:
        readout = load_plugin(name, "model.readout", ())
        return readout(), getattr(readout, "vectors", 1)
    readout, vectors = _choose(READOUTS, name)
    return readout(), vectors


def build_model(
    fields: Mapping[str, Any],
    num_identities: int,
    dtype: str = "float32",
    axis_name: str | None = None,
    aspect: float | None = None,
    platform: str = "",
) -> TwoBranch:
    """Build the two-branch model of ``config.model``, for training and evaluation.

    Args:
      fields: fields of ``config.model`` (see rgcn_jax/config.py), except ``pretrained``; options that are not in the
        paper may be missing.
      num_identities: outputs of the classifier; 0: none.
      dtype: data type of the computation, a key of ``DTYPES``; parameters and statistics are float32.
      axis_name: mesh axis over which normalisation statistics are computed in training; no effect in evaluation.
      aspect: width of a crop over its height; required if the appearance is precomputed.
      platform: platform of the devices. "cpu" selects the fast implementations of ``models.cpu``, others the default
        ones. Parameters are the same.

    Raises:
      InputError: a plug-in cannot be used.
      ValueError: a name is unknown, or ``pose_features`` is not a multiple of the readout's number of vectors.
    """
    compute = DTYPES[dtype]
    encoder = readout = None
    if fields["pose"] != "none":
        readout, vectors = _build_readout(fields["readout"])
        if fields["pose_features"] % vectors:
            raise ValueError(
                f"model.pose_features is {fields['pose_features']}, which the readout {fields['readout']} cannot "
                f"divide into {vectors} equal vectors: choose a multiple of {vectors}."
            )
        given = {**fields, "axis_name": axis_name}
        settings = {
            argument: given[name]
            for name, (argument, encoders) in ENCODER_SETTINGS.items()
            if fields["pose"] in encoders and name in given
        }
        width = fields["pose_features"] // vectors
        encoder = build_encoder(fields["pose"], platform, features=width, dtype=compute, **settings)
    trunk = {
        "stage_sizes": tuple(fields["stage_sizes"]),
        **{name: fields[name] for name in ("width", "last_stride", "pooling", "remat")},
        "dtype": compute,
        "axis_name": axis_name,
        **(cpu.TRUNK if platform == "cpu" else {}),
    }
    name = fields["appearance"]
    appearance = None
    if name != "none":
        build = load_plugin(name, "model.appearance", trunk) if ":" in name else _choose(APPEARANCES, name)
        appearance = build(**trunk)
    return TwoBranch(
        appearance=appearance,
        pose=encoder,
        readout=readout,
        num_identities=num_identities,
        pose_input=fields["pose_input"],
        **{name: fields[name] for name in ("pose_fill", "pose_norm") if name in fields},
        keypoint_embedding=fields["keypoint_embedding"],
        neck=fields["neck"],
        aspect=aspect,
        dtype=compute,
        axis_name=axis_name,
    )


QUICK_COMPILE: Mapping[str, bool | int] = {"xla_backend_optimization_level": 0}
"""XLA options for a program that runs once on a CPU, which cut its compile time by two thirds."""


def initialise(model: TwoBranch, seed: int, frames_per_clip: int, *shape: int, platform: str = "") -> dict[str, Any]:
    """Initialise variables (params, batch_stats), as a pure function of the seed.

    ``shape``: height and width of a frame in pixels; or the dimension of f_a if it is precomputed (0 without an
    appearance branch). ``platform``: as for ``build_model``; on a "cpu" LLVM's optimisations are disabled, which
    changes values by rounding only.

    Compiled as a whole, since a ResNet-50 takes a minute to initialise operation by operation.
    """
    frames = jnp.zeros((2, frames_per_clip, *shape, 3) if len(shape) == 2 else (2, *shape), jnp.float32)
    keypoints = jnp.zeros((2, frames_per_clip, 14, 3), jnp.float32)
    mask = jnp.ones((2, frames_per_clip), bool)
    init = jax.jit(
        lambda key: model.init(key, frames, keypoints, mask, train=False),
        compiler_options=dict(QUICK_COMPILE) if platform == "cpu" else None,
    )
    return dict(init(jax.random.key(seed)))


def with_pretrained(variables: Mapping[str, Any], path: Path, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Load the ResNet of a model, or a whole BiCnet-TKS, from a file (``pretrained.load_appearance``).

    ``say``: called with a line that lists unused tensors of the file, if any. Raises InputError if the appearance model
    has no ``trunk``, or the file does not fit it.
    """
    appearance = {kind: variables[kind].get("appearance", {}) for kind in ("params", "batch_stats")}
    if not all("trunk" in of_kind for of_kind in appearance.values()):
        raise InputError(
            f"model.pretrained is {path}, but the appearance model has no ResNet50 named trunk: leave model.pretrained "
            "empty, or choose another appearance model."
        )
    loaded = load_appearance(path, appearance, say)
    return {kind: {**variables[kind], "appearance": loaded[kind]} for kind in ("params", "batch_stats")}
