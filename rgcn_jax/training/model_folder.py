"""The weights of a model folder, ``model.safetensors``: parameters and running statistics by name ("params/pose/W_x"),
and in its metadata the format, the step and the hash of the weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.runtime.files import atomic_file, writing
from rgcn_jax.runtime.handed_over import open_file
from rgcn_jax.training.state import COLLECTIONS, variables_hash
from rgcn_jax.training.weights import Weights

WEIGHTS_FILE = "model.safetensors"
FORMAT, VERSION = "rgcn_jax model", "1"


def read_model_folder(folder: Path) -> Weights:
    """Step, variables and hash of a model folder. Raises InputError: the file is of another kind, or damaged."""
    path = folder / WEIGHTS_FILE
    try:
        open_file(path).close()  # nobody waits for a pipe
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
                raise InputError(
                    f"{path} is not a model of rgcn_jax, version {VERSION}: its metadata are {dict(metadata)}. "
                    "Weights of other programs go into model.pretrained."
                )
            leaves = {name: file.get_tensor(name) for name in sorted(file.keys())}
        step = int(metadata.get("step", "0"))
        variables: dict[str, Any] = {name: {} for name in COLLECTIONS} | unflatten_dict(leaves, sep="/")
        if set(variables) != set(COLLECTIONS) or not all(isinstance(of, dict) for of in variables.values()):
            raise ValueError(f"it has {', '.join(sorted(variables))}, expected {' and '.join(COLLECTIONS)}")
    except InputError:
        raise
    except Exception as error:  # SafetensorError; NumPy's, for shapes that it cannot have; names that hold each other
        raise InputError(f"{path} cannot be read ({error}): copy the model folder again.") from error
    found = variables_hash(host_leaves(variables))
    if found != metadata.get("hash"):
        raise InputError(f"{path} is damaged: checksum mismatch. Copy the model folder again.")
    return Weights(step, variables, found)


def write_model_folder(folder: Path, weights: Weights) -> None:
    """Writes ``model.safetensors``; the folder must exist. Raises InputError: it cannot be written."""
    metadata = {"format": FORMAT, "version": VERSION, "step": str(weights.step), "hash": weights.hash}
    leaves = {name: np.ascontiguousarray(leaf) for name, leaf in host_leaves(weights.variables).items()}
    # By save, for save_file would make it unreadable to others.
    with writing(folder / WEIGHTS_FILE), atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(save(leaves, metadata))
