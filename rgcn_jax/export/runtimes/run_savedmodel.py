"""Runs an exported SavedModel in TensorFlow: run_savedmodel.py MODEL INPUTS.npz OUTPUTS.npz BATCH_SIZES."""

import sys

import numpy as np


def main(model: str, inputs: str, outputs: str, sizes: str) -> None:
    """Write the outputs of all clips, computed in batches of these sizes, as arrays "0", "1", ..."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    arrays = dict(np.load(inputs, allow_pickle=False))
    ends = np.cumsum([int(size) for size in sizes.split(",")])
    parts = {name: np.split(array, ends[:-1]) for name, array in arrays.items()}
    batches = [{name: tf.constant(part[i]) for name, part in parts.items()} for i in range(len(ends))]
    found = [loaded.signatures["serving_default"](**batch) for batch in batches]
    names = [name for name in ("appearance", "pose", "fused") if name in found[0]]
    np.savez(outputs, *(np.concatenate([each[name] for each in found]) for name in names))


if __name__ == "__main__":
    main(*sys.argv[1:])
