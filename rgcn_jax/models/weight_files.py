"""Named tensors of a weight file, ``.safetensors`` or ``torch.save``'s, without running anything that it contains."""

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
    """Tensor name -> array, in the file's own types.

    ``.safetensors`` is read by that name, whatever ``torch.save`` wrote by its content (``.pth``, ``.pth.tar``,
    ``.pt``, ``.bin``, ``.ckpt``), also in the form of before PyTorch 1.6. The latter holds a state dict, plain or under
    the key ``state_dict`` or ``model``; numbers and text beside the tensors (epoch, best accuracy) are left out.

    Raises:
      InputError: the file cannot be read, is of another kind, damaged, or asks for code to be run; nothing of it is
        run.
    """
    with as_input_error(f"the weights {path} cannot be read"):
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if is_torch_file(path):
            return _state_dict(path, read_torch_file(path))
    raise InputError(
        f"{path} is neither a .safetensors file nor one that torch.save wrote: weights are read from these."
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except OSError:
        raise
    except Exception as error:  # SafetensorError; and NumPy's, for shapes that it cannot have
        what = f"{error}" if isinstance(error, SafetensorError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is no safetensors file of known types, is damaged or was cut off ({what[:200]})."
        ) from error


def _state_dict(path: Path, content: Any) -> dict[str, np.ndarray]:
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    entries = content.items() if isinstance(content, Mapping) else ()
    weights = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, np.ndarray)}
    if not weights:
        raise InputError(
            f"{path} holds no state dict (names and tensors), neither plain nor under 'state_dict' or 'model'."
        )
    return weights
