"""Cross-field validation of a config: invalid combinations of settings."""

import re
from collections.abc import Iterator

from rgcn_jax.config import ADDITIONS, LAYERED_ENCODERS, POSITIONS, RECURRENT_ENCODERS, Config, ModelConfig

STEPS = re.compile(r"(\d{1,15}):(\d{1,15})")


def profiled_steps(config: Config) -> tuple[int, int] | None:
    """First and last step of ``profile_steps``, inclusive; None if it is empty."""
    found = STEPS.fullmatch(config.profile_steps)
    return (int(found[1]), int(found[2])) if found else None


def conflicts(config: Config) -> Iterator[str]:
    """Yield a message for each invalid combination of fields that are valid one by one."""
    if not config.num_steps and not config.num_epochs:
        yield "num_steps and num_epochs are both 0: set one of them, otherwise there is nothing to train"
    steps = profiled_steps(config)
    if config.profile_steps and (steps is None or not 1 <= steps[0] <= steps[1]):
        yield (
            f'profile_steps is {config.profile_steps!r}: expected "first:last", steps counted from 1, such as '
            '"100:110", or an empty string'
        )
    if config.model.pretrained and config.model.init_from:
        yield (
            f"model.pretrained is {config.model.pretrained!r} and model.init_from is {config.model.init_from!r}: set "
            "only one of them"
        )
    if config.model.pose_pretrained and config.model.init_from:
        yield (
            f"model.pose_pretrained is {config.model.pose_pretrained!r} and model.init_from is "
            f"{config.model.init_from!r}, which has its own pose branch: set only one of them"
        )
    if config.model.pose_pretrained and not config.with_pose:
        yield f"model.pose_pretrained is {config.model.pose_pretrained!r}, but model.pose is none: leave it empty"
    yield from _appearance(config)
    if config.with_pose:
        yield from _pose(config.model)


def _appearance(config: Config) -> Iterator[str]:
    model, data = config.model, config.data
    if model.appearance == "BiC" and len(model.stage_sizes) != 4:
        yield (
            f"model.stage_sizes is {model.stage_sizes}, but the appearance model BiC has four stages: set four "
            "numbers, or choose another appearance model"
        )
    if model.appearance == "BiC" and model.pooling != "mean":
        yield (
            f"model.pooling is {model.pooling!r}, but the appearance model BiC has its own pooling: leave it at 'mean'"
        )
    if model.appearance != "precomputed" and data.features:
        yield (
            f"data.features is {data.features}, but model.appearance is {model.appearance}: set model.appearance to "
            "precomputed to use the features, or leave data.features empty"
        )
    if model.appearance == "none" and not config.with_pose:
        yield "model.appearance and model.pose are both none: choose a model for at least one branch"
    if model.appearance == "none" and config.loss.appearance_triplet != "raw":
        yield (
            f"loss.appearance_triplet is {config.loss.appearance_triplet!r}, but model.appearance is none: leave it at "
            "'raw'"
        )
    if model.appearance not in ("precomputed", "none"):
        return
    if model.appearance == "precomputed" and not data.features:
        yield (
            "model.appearance is precomputed, but data.features is empty: set it to an .npz file of appearance "
            "features (docs/own-features.md), or choose an appearance model that takes frames"
        )
    for name, value, without in (("pretrained", model.pretrained, ""), ("remat", model.remat, "none")):
        if value != without:
            yield (
                f"model.{name} is {value!r}, but model.appearance={model.appearance} has no ResNet: leave it "
                f"at {without!r}"
            )


def _pose(model: ModelConfig) -> Iterator[str]:
    position, *additions = model.pose_input.split("+")
    if position not in POSITIONS or not set(additions) <= set(ADDITIONS) or len(set(additions)) < len(additions):
        choices = "".join(f"[+{name}]" for name in ADDITIONS)
        yield f"model.pose_input is {model.pose_input!r}: expected {' or '.join(POSITIONS)}, then {choices}"
    if model.readout == "DAM" and model.pose_features % 2:
        yield (
            f"model.pose_features is {model.pose_features}, which the readout DAM must split into two equal "
            "vectors: choose an even number"
        )
    if model.pose not in LAYERED_ENCODERS:
        for name, value, fixed in (
            ("graph_layers", model.graph_layers, 1),
            ("graph_relu_each_layer", model.graph_relu_each_layer, False),
        ):
            if value != fixed:
                yield (
                    f"model.{name} is {value}, but the depth of the pose encoder {model.pose} is fixed: leave it at "
                    f"{fixed}, or choose one of {', '.join(LAYERED_ENCODERS)}"
                )
        if model.graph_self:
            yield (
                f"model.graph_self is True, but the pose encoder {model.pose} has its own graph convolution: "
                f"leave it at False, or choose one of {', '.join(LAYERED_ENCODERS)}"
            )
    if model.product and model.pose not in RECURRENT_ENCODERS:
        yield (
            f"model.product is True, but it applies only to {' and '.join(RECURRENT_ENCODERS)}: leave it at False with "
            f"the pose encoder {model.pose}"
        )
    if model.dropout and not model.pose.startswith("STGCN"):
        yield f"model.dropout is {model.dropout}, but the pose encoder {model.pose} has no dropout: leave it at 0"
