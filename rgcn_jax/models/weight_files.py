"""Reading of weight files, ``.safetensors`` or written by ``torch.save``, without executing anything in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.torch_files.reader import is_torch_file, read_torch_file

_NESTED = ("state_dict", "model")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read tensor name -> array, in the file's data types.

    ``.safetensors`` is recognised by its name, files of ``torch.save`` by content (``.pth``, ``.pth.tar``, ``.pt``,
    ``.bin``, ``.ckpt``), including those of PyTorch before 1.6. The latter contain a state dict, directly or under the
    key ``state_dict`` or ``model``; numbers and text next to tensors (epoch, best accuracy) are skipped.

    Raises:
      InputError: the file cannot be read, is of another kind, is damaged, or would execute code, which is never done.
    """
    with as_input_error(f"the weights {path} cannot be read"):
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if is_torch_file(path):
            return _state_dict(path, read_torch_file(path))
    raise InputError(f"{path} is neither a .safetensors file nor one of torch.save: expected one of these formats.")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except OSError:
        raise
    except Exception as error:  # SafetensorError, or NumPy's for impossible shapes
        what = f"{error}" if isinstance(error, SafetensorError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is not a safetensors file of known types, is damaged or truncated ({what[:200]})."
        ) from error


def _state_dict(path: Path, content: Any) -> dict[str, np.ndarray]:
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    entries = content.items() if isinstance(content, Mapping) else ()
    weights = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, np.ndarray)}
    if not weights:
        raise InputError(
            f"{path} contains no state dict (names and tensors), neither directly nor under 'state_dict' or 'model'."
        )
    return weights
