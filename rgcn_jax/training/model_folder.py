"""The weights file of a model folder, ``model.safetensors``.

It holds parameters and running statistics by name ("params/pose/W_x"); its metadata hold format, step and hash.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import save

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.runtime.files import atomic_file, writing
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.training.state import COLLECTIONS, variables_hash
from rgcn_jax.training.weights import Weights

WEIGHTS_FILE = "model.safetensors"
FORMAT, VERSION = "rgcn_jax model", "1"


def read_model_folder(folder: Path) -> Weights:
    """Read step, variables and hash. Raises InputError if the file is of another kind, or damaged."""
    path, todo = folder / WEIGHTS_FILE, "copy the model folder again"
    with as_input_error(f"{path} cannot be read", todo, (OSError, SafetensorError)):
        open_file(path).close()  # rejects special files, such as a pipe that would block
        opened = safetensors.safe_open(path, framework="numpy")
    with opened as file:
        metadata: Mapping[str, str] = file.metadata() or {}
        if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
            raise InputError(
                f"{path} is not a model of rgcn_jax, version {VERSION}: its metadata are {dict(metadata)}. Weights of "
                "other programs are loaded by model.pretrained."
            )
        with as_input_error(f"{path} is damaged", todo, Exception):  # NumPy's for impossible shapes, conflicting names
            leaves = {name: file.get_tensor(name) for name in sorted(file.keys())}
            step = int(metadata.get("step", "0"))
            variables: dict[str, Any] = {name: {} for name in COLLECTIONS} | unflatten_dict(leaves, sep="/")
            if set(variables) != set(COLLECTIONS) or not all(isinstance(of, dict) for of in variables.values()):
                raise ValueError(f"found {', '.join(sorted(variables))}, expected {' and '.join(COLLECTIONS)}")
    found = variables_hash(host_leaves(variables))
    if found != metadata.get("hash"):
        raise InputError(f"{path} is damaged: checksum mismatch. Copy the model folder again.")
    return Weights(step, variables, found)


def write_model_folder(folder: Path, weights: Weights) -> None:
    """Write ``model.safetensors`` to an existing folder. Raises InputError if it cannot be written."""
    metadata = {"format": FORMAT, "version": VERSION, "step": str(weights.step), "hash": weights.hash}
    leaves = {name: np.ascontiguousarray(leaf) for name, leaf in host_leaves(weights.variables).items()}
    # Not by save_file, whose file other users cannot read.
    with writing(folder / WEIGHTS_FILE), atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(save(leaves, metadata))
