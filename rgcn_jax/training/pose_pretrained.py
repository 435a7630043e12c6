"""Pretrained pose branch: initialise a pose branch from a trained one (``model.pose_pretrained``)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rgcn_jax.config import ModelConfig
from rgcn_jax.config_io import CONFIG_FILE, load_config_json, typed
from rgcn_jax.errors import InputError, listed
from rgcn_jax.shipped import SHIPPED, model_path
from rgcn_jax.training.model_folder import WEIGHTS_FILE, read_model_folder
from rgcn_jax.training.weights import Weights, read_weights, saved_steps

TAKEN = ("params/pose/", "params/readout/", "params/keypoint_embedding", "batch_stats/pose/", "batch_stats/pose_norm/")
"""What is taken, by the beginnings of its names: encoder, readout, keypoint embedding, and the statistics of the
encoder and of the standardised input. The neck and the statistics of f_p stay new, being of the new people."""

UNSEEN = ("pose", "pose_input", "pose_fill", "graph_relu_each_layer")
"""Fields of ``model`` that may differ although all shapes are the same."""


def init_pose_branch(
    variables: Mapping[str, Any], source: str, model: ModelConfig, say: Callable[[str], object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and statistics of a pose branch, by their names.

    Args:
      variables: of the model, freshly initialised.
      source: a model of the package ("walkers-gait"), a model folder, or a run: its best checkpoint, else its latest.
      model: the config's section, compared with that of the source: what differs but shows in no shape is said.
      say: is called with a line.

    Returns:
      The variables, and where they come from: ``checkpoint`` ("best", "latest" or "folder"), ``step`` and ``sha256``
      of the weights.

    Raises:
      InputError: there is no model, it has no pose branch, or a parameter is missing or has another shape on one of
        the sides; all are named.
      DamagedError: the checkpoint is not what was saved.
    """
    kind, found, theirs_model = _read(model_path(source), source)
    ours, theirs = _pose_branch(variables), _pose_branch(found.variables)
    if not theirs:
        raise InputError(f"model.pose_pretrained is {source}, which has no pose branch: name a model with one.")
    wrong = [
        f"{name} is {_shape(theirs, name)} there, {_shape(ours, name)} here"
        for name in sorted({*ours, *theirs})
        if _shape(ours, name) != _shape(theirs, name)
    ]
    if wrong:
        raise InputError(
            f"model.pose_pretrained is {source}, but its pose branch is another one: {listed(wrong, 4, separator='; ')}"
            f". Give the model its fields: {_fields(theirs_model)}."
        )
    for name in UNSEEN:
        if (here := getattr(model, name)) != (there := getattr(theirs_model, name)):
            say(f"doubtful: model.{name} is {here!r}, the pose branch of {source} was trained with {there!r}")
    say(f"pose branch: {len(theirs)} parameters and statistics from {source} ({kind}, step {found.step})")
    filled: dict[str, Any] = flatten_dict(dict(variables), sep="/")
    filled |= {name: jnp.asarray(value) for name, value in theirs.items()}
    return unflatten_dict(filled, sep="/"), {"checkpoint": kind, "step": found.step, "sha256": found.hash}


def _read(folder: Path, source: str) -> tuple[str, Weights, ModelConfig]:
    is_folder = (folder / WEIGHTS_FILE).is_file()
    if not is_folder and not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"model.pose_pretrained is {source}: expected {' or '.join(SHIPPED)}, a model folder ({CONFIG_FILE}, "
            f"{WEIGHTS_FILE}), or the folder of a run ({CONFIG_FILE}, checkpoints); there is none."
        )
    model = typed(load_config_json(folder / CONFIG_FILE)).model
    if is_folder:
        return "folder", read_model_folder(folder), model
    kind = "best" if saved_steps(folder, "best") else "latest"
    return kind, read_weights(folder, kind), model


def _pose_branch(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: leaf for name, leaf in flatten_dict(dict(variables), sep="/").items() if name.startswith(TAKEN)}


def _shape(leaves: Mapping[str, Any], name: str) -> str:
    return str(list(leaves[name].shape)) if name in leaves else "absent"


def _fields(model: ModelConfig) -> str:
    """The fields that make a pose branch, as a command line gives them."""
    names = ("pose", "readout", "pose_features", "graph_layers", "graph_relu_each_layer", "graph_self", "product")
    names += ("pose_input", "pose_fill", "pose_norm", "keypoint_embedding")
    return " ".join(f"--config.model.{name}={getattr(model, name)}" for name in names)
