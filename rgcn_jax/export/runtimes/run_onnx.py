"""Runs an exported ONNX model in ONNX Runtime: run_onnx.py MODEL INPUTS.npz OUTPUTS.npz BATCH_SIZES."""

import sys

import numpy as np


def main(model: str, inputs: str, outputs: str, sizes: str) -> None:
    """Write the outputs of all clips, computed in batches of these sizes, as arrays "0", "1", ..."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    arrays = dict(np.load(inputs, allow_pickle=False))
    ends = np.cumsum([int(size) for size in sizes.split(",")])
    parts = {name: np.split(array, ends[:-1]) for name, array in arrays.items()}
    batches = [{name: part[i] for name, part in parts.items()} for i in range(len(ends))]
    found = zip(*(session.run(None, batch) for batch in batches), strict=True)
    np.savez(outputs, *(np.concatenate(each) for each in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
