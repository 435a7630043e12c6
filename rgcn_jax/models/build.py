"""From names and numbers to a model: the visible lists of what there is. Names are read without regard to case."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rgcn_jax.errors import InputError
from rgcn_jax.models.appearance import (
    AttentionAggregation,
    AveragePooling,
    ConvolutionalAttention,
    FrameAppearance,
    GivenFeatures,
    RecurrentAggregation,
)
from rgcn_jax.models.bicnet import STAGES, BiCnet
from rgcn_jax.models.evolve_gcn import EvolveGCN
from rgcn_jax.models.gcn_rnn import GCNLSTM, GCNRNN
from rgcn_jax.models.pose_input import parse_mode
from rgcn_jax.models.pretrained import load_resnet50
from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN
from rgcn_jax.models.resnet import POOLINGS, RECOMPUTE, ResNet50
from rgcn_jax.models.stgcn import STGCN
from rgcn_jax.models.two_branch import NECKS, TwoBranch


def _recurrent(**trunk: Any) -> FrameAppearance:
    features = 4 * trunk["width"] * 2 ** (len(trunk["stage_sizes"]) - 1)
    return FrameAppearance(ResNet50(**trunk), RecurrentAggregation(features))


def _bicnet(**trunk: Any) -> BiCnet:
    if len(trunk["stage_sizes"]) != STAGES:
        raise InputError(
            f"model.stage_sizes is {trunk['stage_sizes']}, but the appearance model BiC has {STAGES} stages: give "
            f"{STAGES} numbers, or choose another appearance model."
        )
    if trunk["pooling"] != "mean":
        raise InputError(
            f"model.pooling is {trunk['pooling']!r}, but the appearance model BiC has a pooling of its own: leave it "
            "at 'mean', or choose another appearance model."
        )
    return BiCnet(**{name: value for name, value in trunk.items() if name != "pooling"})


APPEARANCES: Mapping[str, Callable[..., nn.Module]] = {
    "AP": lambda **trunk: FrameAppearance(ResNet50(**trunk), AveragePooling()),
    "AA": lambda **trunk: FrameAppearance(ResNet50(**trunk), AttentionAggregation()),
    "AA-conv": lambda **trunk: ConvolutionalAttention(ResNet50(**trunk)),
    "RA": _recurrent,
    "BiC": _bicnet,
    "precomputed": lambda **_: GivenFeatures(),
}
"""Frames -> f_a; called with the fields of ``ResNet50`` by name. Each but "given" has a ``ResNet50``, ``trunk``."""

LAYERED_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {
    "RGCN": RGCN,
    "LGCN": LGCN,
    "GCNRNN": GCNRNN,
    "GCNLSTM": GCNLSTM,
}
"""The pose encoders with a number of graph layers; called with num_layers and relu_each_layer too."""

POSE_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    **LAYERED_ENCODERS,
    "STGCN": STGCN,
    "STGCN-compat": partial(STGCN, variant="spatial_compat"),
    "EvolveGCN-O": partial(EvolveGCN, variant="O"),
    "EvolveGCN-H": partial(EvolveGCN, variant="H"),
}
"""Keypoints -> node embeddings; called with features and dtype. Add your own under a name of its own (README.md)."""

READOUTS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "DAM": (DualAttention, 2),
    "NAM": (NodeAttention, 1),
    "TAM": (TimeAttention, 1),
    "mean": (MeanReadout, 1),
}
"""Node embeddings -> f_p, and how many vectors of the node's width f_p consists of."""


DTYPES: Mapping[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What the trunk and the large matrix products may compute in."""


def _choose(table: Mapping[str, Any], name: str, field: str, *others: str) -> Any:
    by_name = {key.lower(): value for key, value in table.items()}
    if name.lower() not in by_name:
        raise InputError(f"{field} is {name!r}: expected one of {', '.join([*others, *table])}.")
    return by_name[name.lower()]


def compute_dtype(name: str) -> Any:
    """The dtype of the name "float32" or "bfloat16"; raises ``InputError`` for another name."""
    if name not in DTYPES:
        raise InputError(f"dtype is {name!r}: expected one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def _encoder_settings(fields: Mapping[str, Any], axis_name: str | None) -> dict[str, Any]:
    """The arguments that not every pose encoder has."""
    name, layers, relu = fields["pose"].lower(), fields["graph_layers"], fields["graph_relu_each_layer"]
    if name in (key.lower() for key in LAYERED_ENCODERS):
        return {"num_layers": layers, "relu_each_layer": relu}
    for field, value, default in (("graph_layers", layers, 1), ("graph_relu_each_layer", relu, False)):
        if value != default:
            raise InputError(
                f"model.{field} is {value}, but the depth of the pose encoder {fields['pose']} is fixed: leave it at "
                f"{default}, or choose one of {', '.join(LAYERED_ENCODERS)}."
            )
    return {"axis_name": axis_name} if name.startswith("stgcn") else {}


def build_model(
    fields: Mapping[str, Any],
    num_identities: int,
    dtype: str = "float32",
    axis_name: str | None = None,
    aspect: float | None = None,
) -> TwoBranch:
    """The two-branch model of ``config.model`` (rgcn_jax/config.py says what each field means).

    Args:
      fields: the fields of ``config.model``; ``pretrained`` is not read here.
      num_identities: outputs of the classifier.
      dtype: of the computation, a key of ``DTYPES``; parameters and statistics are float32.
      axis_name: set for the training step alone: normalisation statistics are then those of all devices' clips.
      aspect: width of a crop over its height, needed where the appearance is given and no frame shows it.

    Raises:
      InputError: a name is unknown, ``pose_features`` does not divide by the readout's number of vectors, a setting
        is not at its default that the pose encoder or the appearance model does not have, or BiCnet is asked for with
        other than four stages.
    """
    compute = compute_dtype(dtype)
    for field, choices in (("neck", NECKS), ("pooling", POOLINGS), ("remat", RECOMPUTE)):
        if fields[field] not in choices:
            raise InputError(f"model.{field} is {fields[field]!r}: expected one of {', '.join(choices)}.")
    if fields["remat"] != "none" and fields["appearance"].lower() == "precomputed":
        raise InputError(
            f'model.remat is {fields["remat"]!r}, but the appearance model "given" has no trunk: leave it at "none".'
        )
    parse_mode(fields["pose_input"])
    encoder = reader = None
    if fields["pose"].lower() != "none":
        encoder_class = _choose(POSE_ENCODERS, fields["pose"], "model.pose", "none")
        reader_class, vectors = _choose(READOUTS, fields["readout"], "model.readout")
        if fields["pose_features"] % vectors:
            raise InputError(
                f"model.pose_features is {fields['pose_features']}, which the readout {fields['readout']} cannot "
                f"divide into {vectors} equal vectors: choose a multiple of {vectors}."
            )
        encoder = encoder_class(
            features=fields["pose_features"] // vectors, dtype=compute, **_encoder_settings(fields, axis_name)
        )
        reader = reader_class()
    appearance = _choose(APPEARANCES, fields["appearance"], "model.appearance")(
        stage_sizes=tuple(fields["stage_sizes"]),
        width=fields["width"],
        last_stride=fields["last_stride"],
        pooling=fields["pooling"],
        recompute=fields["remat"],
        dtype=compute,
        axis_name=axis_name,
    )
    return TwoBranch(
        appearance=appearance,
        pose=encoder,
        readout=reader,
        num_identities=num_identities,
        pose_input=fields["pose_input"],
        keypoint_embedding=fields["keypoint_embedding"],
        neck=fields["neck"],
        aspect=aspect,
        axis_name=axis_name,
    )


def initialise(model: TwoBranch, seed: int, frames_per_clip: int, *shape: int) -> dict[str, Any]:
    """Fresh variables (params, batch_stats) of a model without ``axis_name``; a pure function of the seed.

    ``shape``: height and width of a frame in pixels; or the dimensions of f_a alone, where that is given.

    Compiled as a whole: a ResNet-50 takes a minute to initialise operation by operation.
    """
    frames = jnp.zeros((2, frames_per_clip, *shape, 3) if len(shape) == 2 else (2, *shape), jnp.float32)
    keypoints = jnp.zeros((2, frames_per_clip, 14, 3), jnp.float32)
    mask = jnp.ones((2, frames_per_clip), bool)
    init = jax.jit(lambda key: model.init(key, frames, keypoints, mask, train=False))
    return dict(init(jax.random.key(seed)))


def with_pretrained_trunk(variables: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The variables of a model with its trunk's taken from a ResNet-50 file (``pretrained.load_resnet50``)."""
    trunk = {kind: variables[kind]["appearance"]["trunk"] for kind in ("params", "batch_stats")}
    loaded = load_resnet50(path, trunk)
    return {
        kind: {**variables[kind], "appearance": {**variables[kind]["appearance"], "trunk": loaded[kind]}}
        for kind in ("params", "batch_stats")
    }
