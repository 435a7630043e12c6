"""Pretrained pose branch: initialise the pose branch from a trained one (``model.pose_pretrained``)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rgcn_jax.config import ModelConfig
from rgcn_jax.config_io import CONFIG_FILE, load_config_json, typed
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.checksum import differences, structure
from rgcn_jax.shipped import SHIPPED, model_path
from rgcn_jax.training.model_folder import WEIGHTS_FILE, read_model_folder
from rgcn_jax.training.weights import Weights, read_weights, saved_steps

TAKEN = ("params/pose/", "params/readout/", "params/keypoint_embedding", "batch_stats/pose/", "batch_stats/pose_norm/")
"""Name prefixes that are copied: encoder, readout, keypoint embedding, and the statistics of the encoder and of the
standardised input. The neck and the statistics of f_p depend on the training persons and are not.
"""

UNSEEN = ("pose", "pose_input", "pose_fill", "graph_relu_each_layer")
"""Fields of ``model`` that affect the pose branch but no shape, so a difference cannot be detected from shapes."""


def init_pose_branch(
    variables: Mapping[str, Any], source: str, model: ModelConfig, say: Callable[[str], object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy parameters and statistics of a trained pose branch, by name.

    Args:
      variables: freshly initialised variables of the model.
      source: a packaged model ("walkers-gait"), a model folder, or a run (its best checkpoint, else its latest).
      model: config section of the model; differences to the source that no shape shows are reported.
      say: called with each line of the report.

    Returns:
      The variables, and their origin: ``checkpoint`` ("best", "latest" or "folder"), ``step`` and ``sha256``.

    Raises:
      InputError: the source is not a model, has no pose branch, or has other parameters; all are listed.
      DamagedError: the checkpoint is damaged.
    """
    kind, found, theirs_model = _read(model_path(source), source)
    ours, theirs = _pose_branch(variables), _pose_branch(found.variables)
    if not theirs:
        raise InputError(f"model.pose_pretrained is {source}, which has no pose branch: choose a model with one.")
    if wrong := differences(structure(theirs), structure(ours)):
        raise InputError(
            f"model.pose_pretrained is {source}, but its pose branch differs: {listed(wrong, 4, separator='; ')}"
            f". Set the fields of that model: {_fields(theirs_model)}."
        )
    for name in UNSEEN:
        if (here := getattr(model, name)) != (there := getattr(theirs_model, name)):
            say(f"doubtful: model.{name} is {here!r}, but the pose branch of {source} was trained with {there!r}")
    say(f"pose branch: {len(theirs)} parameters and statistics from {source} ({kind}, step {found.step})")
    filled: dict[str, Any] = flatten_dict(dict(variables), sep="/")
    filled |= {name: jnp.asarray(value) for name, value in theirs.items()}
    return unflatten_dict(filled, sep="/"), {"checkpoint": kind, "step": found.step, "sha256": found.hash}


def _read(folder: Path, source: str) -> tuple[str, Weights, ModelConfig]:
    is_folder = (folder / WEIGHTS_FILE).is_file()
    if not is_folder and not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"model.pose_pretrained is {source}: expected {' or '.join(SHIPPED)}, a model folder ({CONFIG_FILE}, "
            f"{WEIGHTS_FILE}), or a run folder ({CONFIG_FILE}, checkpoints); found none of them."
        )
    model = typed(load_config_json(folder / CONFIG_FILE)).model
    if is_folder:
        return "folder", read_model_folder(folder), model
    kind = "best" if saved_steps(folder, "best") else "latest"
    return kind, read_weights(folder, kind), model


def _pose_branch(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: leaf for name, leaf in flatten_dict(dict(variables), sep="/").items() if name.startswith(TAKEN)}


def _fields(model: ModelConfig) -> str:
    """The fields that define a pose branch, as command-line arguments."""
    names = ("pose", "readout", "pose_features", "graph_layers", "graph_relu_each_layer", "graph_self", "product")
    names += ("pose_input", "pose_fill", "pose_norm", "keypoint_embedding")
    return " ".join(f"--config.model.{name}={getattr(model, name)}" for name in names)
