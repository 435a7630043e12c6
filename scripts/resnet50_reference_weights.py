"""Random ResNet-50 weights that are reproducible on every machine, with NumPy only.

`make_resnet50_reference.py` runs PyTorch on them, and a test compares this project's ResNet-50 with the results. Names
and shapes are those of torchvision's state dict, without the classifier.
"""

import numpy as np

SEED = 2209
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Number of blocks and inner width of each stage."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Map names to shapes, of every convolution's weight [d_out, d_in, kh, kw] and of BatchNorm's four vectors."""
    found: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, norm: str, d_in: int, d_out: int, kernel: int) -> None:
        found[f"{name}.weight"] = (d_out, d_in, kernel, kernel)
        for vector in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{vector}"] = (d_out,)

    convolution("conv1", "bn1", 3, 64, 7)
    d_in = 64
    for stage, (blocks, width) in enumerate(STAGES, start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            convolution(f"{name}.conv1", f"{name}.bn1", d_in, width, 1)
            convolution(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            convolution(f"{name}.conv3", f"{name}.bn3", width, 4 * width, 1)
            if block == 0:
                convolution(f"{name}.downsample.0", f"{name}.downsample.1", d_in, 4 * width, 1)
            d_in = 4 * width
    return found


def draw_weights() -> dict[str, np.ndarray]:
    """Draw all tensors in float32, each from its own generator.

    The last norm of a block is small, so that the activations of 16 blocks do not diverge.
    """
    weights = {}
    for index, (name, shape) in enumerate(shapes().items()):
        rng = np.random.default_rng([SEED, index])
        if len(shape) == 4:
            value = rng.standard_normal(shape) * np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape) * (0.4 if "bn3" in name else 1.0)
        elif name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        weights[name] = value.astype(np.float32)
    return weights


def draw_images() -> np.ndarray:
    """Draw two normalised images [2, 64, 32, 3]."""
    return np.random.default_rng([SEED, 10_000]).standard_normal((2, 64, 32, 3)).astype(np.float32)


def draw_cotangent() -> np.ndarray:
    """Draw the cotangent [2, 2048]. Gradients are those of the sum of its product with the pooled features."""
    return np.random.default_rng([SEED, 10_001]).standard_normal((2, 2048)).astype(np.float32)
