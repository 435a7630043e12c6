"""Runs an exported model in its own runtime: run.py FORMAT MODEL INPUTS.npz OUTPUTS.npz BATCH_SIZES."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[[dict[str, np.ndarray]], Any]


def load_stablehlo(model: str) -> Function:
    """Load a StableHLO function in JAX."""
    from jax import export

    with open(model, "rb") as file:
        function = export.deserialize(bytearray(file.read()))
    return lambda batch: function.call(*batch.values())


def load_onnx(model: str) -> Function:
    """Load an ONNX model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, batch)


def load_savedmodel(model: str) -> Function:
    """Load a SavedModel in TensorFlow."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model)

    def call(batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = loaded.signatures["serving_default"](**{name: tf.constant(array) for name, array in batch.items()})
        return [found[name] for name in ("appearance", "pose", "fused") if name in found]

    return call


def main(name: str, model: str, inputs: str, outputs: str, sizes: str) -> None:
    """Write the outputs of all clips, computed in batches of these sizes, as arrays "0", "1", ..."""
    call = {"stablehlo": load_stablehlo, "onnx": load_onnx, "savedmodel": load_savedmodel}[name](model)
    arrays = np.load(inputs, allow_pickle=False)
    ends = np.cumsum([int(size) for size in sizes.split(",")])
    parts = zip(*(np.split(array, ends[:-1]) for array in arrays.values()), strict=True)
    found = zip(*(call(dict(zip(arrays, part, strict=True))) for part in parts), strict=True)
    np.savez(outputs, *map(np.concatenate, found))


if __name__ == "__main__":
    main(*sys.argv[1:])
