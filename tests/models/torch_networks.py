"""A residual trunk and BiCnet-TKS in PyTorch, as functions of their weights, and the names that projects give these.

Written from the papers and the published networks' names and shapes. Needs PyTorch to run, not to be imported.
"""

from typing import Any

import numpy as np

STAGES, WIDTH = (1, 1, 1, 1), 2


def trunk_shapes(stages=STAGES, width=WIDTH, kernel=()):
    """Torchvision's names -> shapes. ``kernel``: (1,) for the three-dimensional kernels of an inflated trunk."""
    shapes, d_in = {}, width

    def conv(name, d_out, d_in, size):
        shapes[f"{name}.weight"] = (d_out, d_in, *kernel, size, size)

    def norm(name, d):
        shapes.update({f"{name}.{part}": (d,) for part in ("weight", "bias", "running_mean", "running_var")})

    conv("conv1", width, 3, 7)
    norm("bn1", width)
    for stage, blocks in enumerate(stages, 1):
        inner = width * 2 ** (stage - 1)
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for i, (d_out, d, size) in enumerate(((inner, d_in, 1), (inner, inner, 3), (4 * inner, inner, 1)), 1):
                conv(f"{name}.conv{i}", d_out, d, size)
                norm(f"{name}.bn{i}", d_out)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * inner, d_in, 1)
                norm(f"{name}.downsample.1", 4 * inner)
            d_in = 4 * inner
    return shapes


def bicnet_shapes(width=WIDTH):
    """The released network's names -> shapes, its head for 5 people among them."""
    d = {stage: 4 * width * 2 ** (stage - 1) for stage in (1, 2, 3, 4)}
    shapes = trunk_shapes(width=width, kernel=(1,))
    for stage in (1, 2, 3):
        shapes[f"layer{stage}_h2l.weight"] = (3 * d[stage], d[stage], 1, 1, 1)
    squeezed = max(d[2] // 16, 1)
    shapes |= {f"TKS.conv{i}.weight": (d[2], d[2], 3, 1, 1) for i in (1, 2)}
    shapes |= {"TKS.fc1.0.weight": (squeezed, d[2], 1, 1, 1), "TKS.fc2.weight": (2 * d[2], squeezed, 1, 1, 1)}
    norms = {"TKS.fc1.1": squeezed, "TKS.W": d[2], "bn": d[4]} | {f"DAO.W.{i}": d[3] for i in range(4)}
    for i in (0, 1):
        shapes |= {f"DAO.conv.{i}.weight": (1, d[3], 1, 1, 1), f"DAO.conv.{i}.bias": (1,)}
        shapes |= {f"DAO.conv1.{i}.conv.weight": (8, 8, 1, 1, 1), f"DAO.conv1.{i}.conv.bias": (8,)}
        norms[f"DAO.conv1.{i}.bn"] = 8
    for name, size in norms.items():
        shapes |= {f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {"classifier.weight": (5, d[4]), "classifier.bias": (5,)}


def drawn(shapes, seed=0):
    """Weights of these shapes away from any initial value, exact in half precision."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape)
        if len(shape) > 1:
            value = noise / np.sqrt(np.prod(shape[1:]))
        else:
            value = np.exp(0.3 * noise) if name.endswith(("var", "weight")) else 0.3 * noise
        found[name] = value.astype(np.float16).astype(np.float32)
    return found


def drawn_clips():
    """Two clips of 8 frames, of a size that BiCnet-TKS's cells divide."""
    return np.random.default_rng(1).standard_normal((2, 8, 256, 64, 3)).astype(np.float32)


def sequential(name):
    """Torchvision's name -> that of Video-Person-ReID: children by their place."""
    places = {"conv1": "0", "bn1": "1", **{f"layer{i}": str(3 + i) for i in (1, 2, 3, 4)}}
    first, _, rest = name.partition(".")
    return f"base.{places[first]}.{rest}"


PROJECTS: dict[str, tuple[Any, dict[str, tuple[int, ...]], list[str]]] = {
    "torchvision": (lambda name: name, {"fc.weight": (7, 16), "fc.bias": (7,)}, ["fc (2)"]),
    "torchreid": (
        lambda name: f"module.{name}",
        {"module.fc.0.weight": (9, 16), "module.fc.1.running_var": (9,), "module.classifier.weight": (7, 9)},
        ["fc (2)", "classifier (1)"],
    ),
    "fast-reid": (
        lambda name: f"backbone.{name}",
        {"pixel_mean": (1, 3, 1, 1), "heads.weight": (7, 16), "heads.bottleneck.0.running_mean": (16,)},
        ["pixel_mean (1)", "heads (2)"],
    ),
    "bag of tricks": (
        lambda name: f"base.{name}",
        {"bottleneck.weight": (16,), "classifier.weight": (7, 16)},
        ["bottleneck (1)", "classifier (1)"],
    ),
    "Video-Person-ReID": (
        lambda name: f"module.{sequential(name)}",
        {"module.attention_conv.weight": (4, 16, 7, 4), "module.classifier.bias": (7,)},
        ["attention_conv (1)", "classifier (1)"],
    ),
    "MoCo": (
        lambda name: f"module.encoder_q.{name}",
        {
            "module.encoder_k.layer1.0.conv1.weight": (1, 1),
            "module.encoder_k.conv1.weight": (1, 1),
            "module.encoder_q.fc.0.weight": (16, 16),
            "module.queue": (8, 4),
        },
        ["encoder_k (2)", "fc (1)", "queue (1)"],
    ),
}
"""Project -> how it names a tensor of torchvision's ResNet, tensors of its heads, and what is reported of these."""


def run_trunk(weights, x, between=lambda stage, x: x):
    """Maps after the last stage, [N, d, T, h, w] from [N, 3, T, H, W] with kernels [d_out, d_in, 1, kh, kw].

    ``between``: is called after each stage, from 1, and after the stem, 0; x may be a list of maps from there on.
    """
    import torch
    from torch.nn import functional as f

    w = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}

    def conv(name, x, stride=1):
        kernel = w[f"{name}.weight"]
        kernel = kernel[:, :, None] if kernel.ndim == 4 else kernel
        return f.conv3d(x, kernel, None, (1, stride, stride), (0, kernel.shape[-2] // 2, kernel.shape[-1] // 2))

    def norm(name, x):
        return batch_norm(w, name, x)

    def block(name, x, stride):
        y = norm(f"{name}.bn1", conv(f"{name}.conv1", x)).relu()
        y = norm(f"{name}.bn2", conv(f"{name}.conv2", y, stride)).relu()
        y = norm(f"{name}.bn3", conv(f"{name}.conv3", y))
        if f"{name}.downsample.0.weight" in w:
            x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
        return (x + y).relu()

    x = norm("bn1", conv("conv1", x, 2)).relu()
    x = between(0, f.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
    stages = sorted({name.split(".")[0] for name in w if name.startswith("layer") and name[6] == "."})
    for stage, layer in enumerate(stages, 1):
        for i in range(len({name.split(".")[1] for name in w if name.startswith(f"{layer}.")})):
            stride = 2 if i == 0 and 1 < stage < len(stages) else 1
            x = (
                [block(f"{layer}.{i}", y, stride) for y in x]
                if isinstance(x, list)
                else block(f"{layer}.{i}", x, stride)
            )
        x = between(stage, x)
    return x


def batch_norm(w, name, x):
    """In evaluation."""
    from torch.nn import functional as f

    parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return f.batch_norm(x, *parts)


def trunk_features(weights, images):
    """[N, H, W, 3] -> [N, d], the mean over positions."""
    import torch

    x = torch.from_numpy(images).permute(0, 3, 1, 2)[:, :, None]
    return run_trunk(weights, x).mean((2, 3, 4)).numpy()


def bicnet_features(weights, frames):
    """Clips of 8 frames [B, 8, H, W, 3] -> f_a [B, d]; height 256 and a width that 64 divides, as the cells need."""
    import torch
    from torch.nn import functional as f

    w = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}

    def frames_in_order(detail, context):
        return torch.cat((detail[:, :, :1], context[:, :, :3], detail[:, :, 1:], context[:, :, 3:]), 2)

    def select(detail, context):
        clip = frames_in_order(f.avg_pool3d(detail, (1, 8, 8)), f.avg_pool3d(context, (1, 4, 4)))
        short = f.conv3d(clip, w["TKS.conv1.weight"], padding=(1, 0, 0))
        long = f.conv3d(clip, w["TKS.conv2.weight"], padding=(2, 0, 0), dilation=(2, 1, 1))
        mean = (short + long).mean((2, 3, 4), keepdim=True)
        hidden = batch_norm(w, "TKS.fc1.1", f.conv3d(mean, w["TKS.fc1.0.weight"])).relu()
        scores = f.conv3d(hidden, w["TKS.fc2.weight"]).reshape(len(clip), 2, -1, 1, 1, 1).softmax(1)
        chosen = scores[:, 0] * short + scores[:, 1] * long
        back = []
        for x, places, size in ((detail, [0, 4], 8), (context, [1, 2, 3, 5, 6, 7], 4)):
            cells = chosen[:, :, places].repeat_interleave(size, 3).repeat_interleave(size, 4)
            back.append(x + batch_norm(w, "TKS.W", cells))
        return back

    def attend(detail, context):
        out = [detail.clone(), context.clone()]
        pooled = f.avg_pool3d(detail, (1, 2, 2)).mean(-1)  # [B, d, 2, 8]
        for kind in range(4):
            stripes = pooled if kind == 0 else context.mean(-1)[:, :, [kind - 1, kind + 2]]
            if kind < 2:
                logits = stripes.mean(1)
            else:
                kernel, bias = (w[f"DAO.conv.{kind - 2}.{part}"] for part in ("weight", "bias"))
                logits = torch.einsum("bdgk,d->bgk", stripes, kernel.flatten()) + bias
                mixture, bias = (w[f"DAO.conv1.{kind - 2}.conv.{part}"] for part in ("weight", "bias"))
                logits = torch.einsum("bgk,lk->bgl", logits, mixture.reshape(8, 8)) + bias
                logits = batch_norm(w, f"DAO.conv1.{kind - 2}.bn", logits.transpose(1, 2)).transpose(1, 2)
            vector = torch.einsum("bgk,bdgk->bdg", logits.softmax(-1), stripes)
            vector = batch_norm(w, f"DAO.W.{kind}", vector)[..., None, None]
            if kind == 0:
                out[0] = out[0] + vector
            else:
                out[1][:, :, [kind - 1, kind + 2]] += vector
        return out

    def between(stage, x):
        if stage == 0:
            return [x[:, :, [0, 4]], f.max_pool3d(x[:, :, [1, 2, 3, 5, 6, 7]], (1, 2, 2))]
        detail, context = x
        if stage < 4:
            messages = f.conv3d(f.max_pool3d(detail, (1, 2, 2)), w[f"layer{stage}_h2l.weight"])
            b, _, g, *size = messages.shape  # channels: three frames' messages, one behind another
            messages = messages.reshape(b, 3, -1, g, *size).permute(0, 2, 3, 1, 4, 5).reshape(b, -1, 3 * g, *size)
            context = context + messages
        return (
            [detail, context]
            if stage in (1, 4)
            else (select if stage == 2 else attend)(detail, context)
            if stage < 4
            else x
        )

    x = torch.from_numpy(frames).permute(0, 4, 1, 2, 3)
    detail, context = run_trunk(weights, x, between)
    return (0.5 * (detail.amax((3, 4)).mean(2) + context.amax((3, 4)).mean(2))).numpy()
