"""Runs an exported StableHLO function in JAX: run_stablehlo.py MODEL INPUTS.npz OUTPUTS.npz BATCH_SIZES."""

import sys

import numpy as np


def main(model: str, inputs: str, outputs: str, sizes: str) -> None:
    """Write the outputs of all clips, computed in batches of these sizes, as arrays "0", "1", ..."""
    from jax import export

    with open(model, "rb") as file:
        function = export.deserialize(bytearray(file.read()))
    arrays = list(np.load(inputs, allow_pickle=False).values())
    ends = np.cumsum([int(size) for size in sizes.split(",")])
    batches = zip(*(np.split(array, ends[:-1]) for array in arrays), strict=True)
    found = zip(*(function.call(*batch) for batch in batches), strict=True)
    np.savez(outputs, *(np.concatenate(parts) for parts in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
