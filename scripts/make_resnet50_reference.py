"""Generator of files in tests/models/data/: PyTorch's results for ResNet-50, and two small weight files of PyTorch.

    python scripts/make_resnet50_reference.py

Requires PyTorch (made with 2.13 on the CPU), which is not a dependency of the project; the tests use only the files.
The network is implemented here following He et al., CVPR 2016, with the stride in the 3x3 convolution and torchvision's
names in the state dict. Weights and input come from `resnet50_reference_weights.py`.
"""

from pathlib import Path

import numpy as np
import torch
from resnet50_reference_weights import STAGES, draw_cotangent, draw_images, draw_weights
from torch import Tensor, nn

DATA = Path(__file__).parents[1] / "tests" / "models" / "data"
STORED = 8
"""Number of values stored of each gradient and of each running statistic."""


class Block(nn.Module):
    """Bottleneck block, d_in -> 4 * width channels."""

    def __init__(self, d_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(d_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or d_in != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(d_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: [N, d_in, h, w] -> [N, 4 * width, h', w']."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Trunk(nn.Module):
    """ResNet of bottlenecks, pooled over positions, without a classifier."""

    def __init__(self, stages: tuple[tuple[int, int], ...], last_stride: int):
        super().__init__()
        width = stages[0][1]
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        d_in = width
        for index, (blocks, inner) in enumerate(stages):
            stride = 1 if index == 0 else last_stride if index == len(stages) - 1 else 2
            stage = []
            for block in range(blocks):
                stage.append(Block(d_in, inner, stride if block == 0 else 1))
                d_in = 4 * inner
            self.add_module(f"layer{index + 1}", nn.Sequential(*stage))
        self.stages = len(stages)

    def forward(self, x: Tensor) -> Tensor:
        """Compute features [N, D] of images [N, 3, H, W]."""
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
        return x.mean((2, 3))


def reference_trunk(last_stride: int) -> Trunk:
    """Create ResNet-50 with the generated weights. Only BatchNorm's step counters may be missing."""
    trunk = Trunk(STAGES, last_stride)
    state = {name: torch.from_numpy(value) for name, value in draw_weights().items()}
    missing, unexpected = trunk.load_state_dict(state, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise SystemExit(f"the generated weights do not fit: missing {missing}, unexpected {unexpected}")
    return trunk


def write_reference(path: Path) -> None:
    """Write features in evaluation mode (both last strides); in training mode also statistics and gradients."""
    images = torch.from_numpy(draw_images().transpose(0, 3, 1, 2).copy())
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for last_stride in (1, 2):
            found[f"evaluation_last_stride_{last_stride}"] = reference_trunk(last_stride).eval()(images).numpy()
    # In float64, since float32 rounding differs between machines, and may change the sign of a ReLU's input near 0.
    trunk = reference_trunk(1).double().train()
    features = trunk(images.double())
    (features * torch.from_numpy(draw_cotangent()).double()).sum().backward()
    found["training"] = features.detach().numpy()
    for name, parameter in trunk.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        if gradient.ndim == 4:
            gradient = gradient.permute(2, 3, 1, 0)
        found[f"gradient/{name}"] = gradient.reshape(-1)[:STORED].numpy()
        found[f"gradient_norm/{name}"] = gradient.norm().numpy()
    for name, buffer in trunk.named_buffers():
        if not name.endswith("num_batches_tracked"):
            found[f"running/{name}"] = buffer[:STORED].numpy()
    # One array per group, since hundreds of small entries would have more overhead than content.
    groups: dict[str, np.ndarray] = {name: value for name, value in found.items() if "/" not in name}
    for group in ("gradient", "gradient_norm", "running"):
        names = [name for name in found if name.startswith(f"{group}/")]
        groups[group] = np.stack([found[name] for name in names])
        groups[f"{group}_names"] = np.array([name.removeprefix(f"{group}/") for name in names])
    np.savez_compressed(path, **groups)  # pyright: ignore[reportArgumentType]


def write_small_files(folder: Path) -> None:
    """Write a ResNet of one stage, width 4, by `torch.save`: plain, legacy, and a checkpoint with mixed types."""
    torch.manual_seed(0)
    trunk = Trunk(((1, 4),), 1)
    for name, buffer in trunk.named_buffers():
        if not name.endswith("num_batches_tracked"):
            buffer.uniform_(0.5, 1.5)
    state = trunk.state_dict()
    torch.save(state, folder / "small_trunk.pth")
    torch.save(state, folder / "small_trunk_legacy.pth", _use_new_zipfile_serialization=False)
    mixed = {f"module.{name}": value for name, value in state.items()}
    kernel = mixed["module.layer1.0.conv2.weight"]
    mixed["module.layer1.0.conv2.weight"] = kernel.contiguous(memory_format=torch.channels_last)
    mixed["module.conv1.weight"] = mixed["module.conv1.weight"].to(torch.bfloat16)
    mixed["module.bn1.weight"] = torch.arange(10, dtype=torch.float16)[2:10:2]
    mixed["module.layer1.0.bn1.bias"] = nn.Parameter(mixed["module.layer1.0.bn1.bias"].double())
    torch.save({"epoch": 3, "state_dict": mixed}, folder / "small_trunk_checkpoint.pth")
    np.savez_compressed(folder / "small_trunk.npz", **{name: value.numpy() for name, value in state.items()})


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    write_reference(DATA / "resnet50_reference.npz")
    write_small_files(DATA)
    for file in sorted(DATA.iterdir()):
        print(f"{file.name}: {file.stat().st_size:,} bytes")
