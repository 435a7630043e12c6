"""Roofline bound of a training step on ResNet-50: arithmetic and memory traffic, and peak rates of devices.

Arithmetic counts two operations per multiplication of the convolutions, once forward and twice backward (for the input
and for the kernel). The missing input gradient of the first layer is counted too, as is customary.

Traffic assumes that convolutions are separate operations and normalisations separate passes, fused only with the
following ReLU and addition, as compilers do. It counts each activation whenever it must then pass through memory. A
kernel that fuses normalisation into the convolution needs less, so more than 100 % is possible. For i and o, the values
that a convolution reads and writes:

    convolution              forward i + o     backward (o + i) for the input, (o + i) for the kernel
    statistics               forward o         backward 2 o: gradient and normalised value, reduced
    normalise, ReLU, add     forward 2 o       backward 3 o: gradient and value in, gradient out
    shortcut                 forward o         backward o

Weights, optimiser and the rest of the model are ignored (below 1 % at 320 frames). The bound is the sum over passes of
the maximum of arithmetic and traffic time.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Layer(NamedTuple):
    """A convolution of the ResNet: kernel, stride, size of the input map, channels in and out."""

    kernel: int
    stride: int
    height: int
    width: int
    channels: int
    features: int
    shortcut: bool = False
    """Whether the block's addition follows its normalisation."""

    @property
    def inputs(self) -> int:
        """Values read per image."""
        return self.height * self.width * self.channels

    @property
    def outputs(self) -> int:
        """Values written per image."""
        return -(-self.height // self.stride) * -(-self.width // self.stride) * self.features

    @property
    def flop(self) -> int:
        """Operations of the forward pass per image."""
        return 2 * self.outputs * self.kernel**2 * self.channels


class Peak(NamedTuple):
    """Peak rates of a device as published by its maker (dense): FLOP/s by dtype, bytes/s of its memory."""

    flops: dict[str, float]
    bandwidth: float


PEAKS = {
    "H200": Peak({"bfloat16": 989.4e12, "float32": 494.7e12}, 4.8e12),
    "H100 PCIe": Peak({"bfloat16": 756e12, "float32": 378e12}, 2.0e12),
    "H100": Peak({"bfloat16": 989.4e12, "float32": 494.7e12}, 3.35e12),
    "A100-SXM4-80GB": Peak({"bfloat16": 312e12, "float32": 156e12}, 2.039e12),
    "A100": Peak({"bfloat16": 312e12, "float32": 156e12}, 1.555e12),
    "V100": Peak({"bfloat16": 15.7e12, "float32": 15.7e12}, 0.9e12),
}
"""Peaks by a substring of JAX's ``device_kind``; the first match applies. float32 is TF32 if supported. V100's tensor
cores do not support bfloat16.
"""


def peak_of(device_kind: str) -> Peak | None:
    """Return the published peak of a device; None if it is not in ``PEAKS``."""
    return next((peak for name, peak in PEAKS.items() if name.lower() in device_kind.lower()), None)


def trunk_layers(
    height: int, width: int, last_stride: int, stage_sizes: Sequence[int] = (3, 4, 6, 3), trunk_width: int = 64
) -> Iterator[Layer]:
    """Every convolution of the ResNet, in order, for images of ``height`` x ``width``."""
    yield Layer(7, 2, height, width, 3, trunk_width)
    h, w, channels = -(-height // 4), -(-width // 4), trunk_width
    for stage, blocks in enumerate(stage_sizes):
        inner = trunk_width * 2**stage
        for block in range(blocks):
            stride = 1 if stage == 0 or block else last_stride if stage == len(stage_sizes) - 1 else 2
            yield Layer(1, 1, h, w, channels, inner)
            yield Layer(3, stride, h, w, inner, inner)
            if block == 0:
                yield Layer(1, stride, h, w, channels, 4 * inner)
            h, w, channels = -(-h // stride), -(-w // stride), 4 * inner
            yield Layer(1, 1, h, w, inner, channels, shortcut=True)


def training_flop(layers: Sequence[Layer]) -> int:
    """Operations of forward and backward pass per image."""
    return 3 * sum(layer.flop for layer in layers)


def seconds_at_least(layers: Sequence[Layer], peak: Peak, dtype: str) -> float:
    """Lower bound in seconds, as described above, for one image of a training step."""
    size, flops = {"bfloat16": 2, "float32": 4}[dtype], peak.flops[dtype]
    total = 0.0
    for layer in layers:
        convolution = max(layer.flop / flops, size * (layer.inputs + layer.outputs) / peak.bandwidth)
        passes = 8 + 2 * layer.shortcut
        total += 3 * convolution + size * passes * layer.outputs / peak.bandwidth
    return total
