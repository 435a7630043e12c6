"""Network, losses and training step of ``configs/mars.py`` in PyTorch, to compare results and speed.

Implemented for speed: ``channels_last``, optional ``autocast`` to bfloat16 around the network (losses in float32),
fused Adam on a GPU, cuDNN's algorithm search, optional ``torch.compile``. The pose models are those of
``benchmarks.torch_pose``. Frames are uint8 and normalised on the device. The running statistics of f_a and f_p are
omitted: these are two small normalisations whose results the step does not use.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import torch_pose

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

MARGIN, SMOOTHING = 0.3, 0.1


class Bottleneck(nn.Module):
    """torchvision's block, version 1.5."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample_conv = self.downsample_bn = None
        if stride != 1 or channels != 4 * width:
            self.downsample_conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample_bn = nn.BatchNorm2d(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to a map."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.downsample_conv is not None and self.downsample_bn is not None:
            x = self.downsample_bn(self.downsample_conv(x))
        return torch.relu_(y + x)


class ResNet(nn.Module):
    """ResNet: images [N, 3, H, W] to pooled features [N, D]."""

    def __init__(self, stage_sizes: tuple[int, ...], width: int, last_stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        channels, blocks = width, []
        for stage, count in enumerate(stage_sizes):
            stride = 1 if stage == 0 else last_stride if stage == len(stage_sizes) - 1 else 2
            for block in range(count):
                name = f"layer{stage + 1}_{block}"
                blocks.append(name)
                self.add_module(name, Bottleneck(channels, width * 2**stage, 1 if block else stride))
                channels = 4 * width * 2**stage
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        """Compute features from images."""
        x = nn.functional.max_pool2d(torch.relu_(self.bn1(self.conv1(x))), 3, 2, 1)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


class TwoBranch(nn.Module):
    """Network of AP, a recurrent pose model or none, dual attention and classifier; all frames are valid."""

    mean: Tensor
    std: Tensor

    def __init__(self, fields: Mapping[str, Any], params: Mapping[str, Any]):
        super().__init__()
        self.trunk = ResNet(tuple(fields["stage_sizes"]), fields["width"], fields["last_stride"])
        self.pose = None
        if fields["pose"] != "none":
            self.pose = torch_pose.reference(fields["pose"], params["pose"])
            width = params["readout"]["w_n"].shape
            self.w_n, self.w_t = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.classifier = nn.Linear(*params["classifier"]["kernel"].shape)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, 255.0 * torch.tensor(values), persistent=False)

    def forward(self, frames: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Compute (f_a, f_p, logits) from frames [B, T, H, W, 3], uint8 or normalised, and keypoints [B, T, 14, 3]."""
        images = frames.flatten(0, 1)
        if not frames.is_floating_point():
            images = (images.float() - self.mean) / self.std
        f = self.trunk(images.permute(0, 3, 1, 2))  # [N, H, W, 3] in memory: channels last as it is
        f_a = f.unflatten(0, frames.shape[:2]).mean(1)
        if self.pose is None:
            return f_a, None, self.classifier(f_a)
        x = torch.where(keypoints[..., 2:] > 0, keypoints[..., :2], 0.0)
        h = self.pose(x)
        of_nodes, of_frames = h.mean(1), h.mean(2)
        h_n = ((of_nodes @ self.w_n).softmax(1)[..., None] * of_nodes).sum(1)
        h_t = ((of_frames @ self.w_t).softmax(1)[..., None] * of_frames).sum(1)
        f_p = torch.cat((h_n, h_t), 1)
        return f_a, f_p, self.classifier(torch.cat((f_a, f_p.to(f_a.dtype)), 1))


def triplet(features: Tensor, labels: Tensor) -> Tensor:
    """Compute the batch-hard triplet loss."""
    features = features if features.dtype == torch.float64 else features.float()
    centred = features - features.mean(0).detach()
    squares = centred.square().sum(1)
    squared = (squares[:, None] + squares[None] - 2 * centred @ centred.T).clamp(min=0)
    same = labels[:, None] == labels[None]
    positive = torch.where(same, squared, 0.0).amax(1).clamp(min=1e-12).sqrt()
    negative = torch.where(same, torch.inf, squared).amin(1).clamp(min=1e-12).sqrt()
    return (MARGIN + positive - negative).clamp(min=0).mean()


def objective(features: tuple[Tensor, Tensor | None, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Compute the loss of eq. 19 with adaptive weight, and its terms by JAX's names, from (f_a, f_p, logits)."""
    f_a, f_p, logits = features
    logits = logits if logits.dtype == torch.float64 else logits.float()
    identity = nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    appearance = triplet(f_a, labels)
    if f_p is None:
        return {"loss": identity + appearance, "loss_id": identity, "loss_appearance": appearance}
    pose = triplet(f_p, labels)
    both = appearance + pose
    weight = torch.where(both > 0, appearance / both.where(both > 0, 1.0), 0.5).detach()
    total = identity + weight * appearance + (1 - weight) * pose
    return {"loss": total, "loss_id": identity, "loss_appearance": appearance, "loss_pose": pose}


def in_torch_layout(params: Mapping[str, Any], pose: str) -> dict[str, np.ndarray]:
    """Convert parameters, or gradients, of the JAX model to the names and the layout of ``TwoBranch``."""

    def trunk(at: str, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = {}
        for name, value in tree.items():
            if isinstance(value, Mapping):
                found |= trunk(f"{at}.{name}", value)
            elif name == "kernel":
                found[f"{at}.weight"] = np.transpose(value, (3, 2, 0, 1))
            else:
                found[f"{at}.{'weight' if name == 'scale' else name}"] = np.asarray(value)
        return found

    found = trunk("trunk", params["appearance"]["trunk"])
    found["classifier.weight"], found["classifier.bias"] = (
        params["classifier"]["kernel"].T,
        params["classifier"]["bias"],
    )
    if pose != "none":
        found |= {f"pose.{k}": v for k, v in torch_pose.in_torch_layout(pose, params["pose"]).items()}
        found |= {name: params["readout"][name] for name in ("w_n", "w_t")}
    return found


def build(fields: Mapping[str, Any], params: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> TwoBranch:
    """Build the network with the JAX model's parameters, on the GPU if there is one, in training mode.

    Raises:
      RuntimeError: names or shapes of the parameters differ.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = TwoBranch(fields, params)
    values = {name: torch.tensor(np.asarray(v)) for name, v in in_torch_layout(params, fields["pose"]).items()}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if trained.keys() != values.keys():
        raise RuntimeError(f"parameters that only one of PyTorch and JAX has: {sorted(trained.keys() ^ values.keys())}")
    with torch.no_grad():
        for name, parameter in trained.items():
            if parameter.shape != values[name].shape:
                raise RuntimeError(f"{name} is {list(parameter.shape)} in PyTorch, {list(values[name].shape)} in JAX")
            parameter.copy_(values[name])
    model.to(device, dtype)
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def on_device(batch: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Copy frames, keypoints and labels of a batch to the device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    frames, keypoints = torch.tensor(batch["frames"]), torch.tensor(batch["keypoints"], dtype=dtype)
    return frames.to(device), keypoints.to(device), torch.tensor(batch["label"]).long().to(device)


def train_task(
    model: TwoBranch,
    batch: Mapping[str, np.ndarray],
    learning_rate: float,
    weight_decay: float,
    half: bool,
    compiled: bool,
) -> Callable[[], dict[str, Tensor]]:
    """Return a task that takes one step of Adam with coupled L2, blocks and returns the loss terms.

    ``half``: whether to use autocast to bfloat16.
    """
    frames, keypoints, labels = on_device(batch)
    cuda = frames.is_cuda
    torch.backends.cudnn.benchmark = True
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, weight_decay=weight_decay, fused=cuda or None)
    forward = torch.compile(model) if compiled else model

    def step() -> dict[str, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=half):
            features = forward(frames, keypoints)
        terms = objective(features, labels)
        terms["loss"].backward()
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        return terms

    return step


def extraction_task(model: TwoBranch, batch: Mapping[str, np.ndarray], half: bool, compiled: bool) -> Callable[[], Any]:
    """Return a task that computes features and blocks. It leaves the model in evaluation mode."""
    frames, keypoints, _ = on_device(batch)
    model.eval()
    forward = torch.compile(model) if compiled else model

    def embed() -> Any:
        with torch.inference_mode(), torch.autocast(frames.device.type, torch.bfloat16, enabled=half):
            features = forward(frames, keypoints)
        if frames.is_cuda:
            torch.cuda.synchronize()
        return features

    return embed


def loss_and_gradients(
    model: TwoBranch, batch: Mapping[str, np.ndarray], dtype: torch.dtype
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Compute the loss terms and the gradient of every parameter."""
    frames, keypoints, labels = on_device(batch, dtype)
    model.zero_grad(set_to_none=True)
    terms = objective(model(frames, keypoints), labels)
    terms["loss"].backward()
    gradients = {n: p.grad.cpu().numpy() for n, p in model.named_parameters() if p.grad is not None}
    return {name: float(value.detach()) for name, value in terms.items()}, gradients
