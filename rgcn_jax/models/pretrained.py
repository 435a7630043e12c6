"""Loading of pretrained PyTorch weights (ImageNet, person re-identification) into an appearance model.

Supported are ResNet-50s saved by torchvision, timm, torchreid (deep-person-reid), fast-reid, reid-strong-baseline (bag
of tricks), Video-Person-ReID and MoCo, and the published BiCnet-TKS. `torch_name` maps their different names. Kernels
are transposed from PyTorch's [d_out, d_in, ...] to [..., d_in, d_out]. Classifiers and heads are skipped and listed;
all other names must match. Nothing is downloaded.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rgcn_jax.errors import InputError, listed
from rgcn_jax.models.weight_files import read_weights

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_MODULES = {
    "downsample_conv": "downsample.0",
    "downsample_bn": "downsample.1",
    # Names of BiCnet-TKS.
    **{f"propagation{stage}.message": f"layer{stage}_h2l" for stage in (1, 2, 3)},
    "kernel_selection.dilation1": "TKS.conv1",
    "kernel_selection.dilation2": "TKS.conv2",
    "kernel_selection.squeeze": "TKS.fc1.0",
    "kernel_selection.squeeze_norm": "TKS.fc1.1",
    "kernel_selection.select": "TKS.fc2",
    "kernel_selection.norm": "TKS.W",
    **{f"divided_attention.score{frame}": f"DAO.conv.{frame - 2}" for frame in (2, 3)},
    **{f"divided_attention.mix{frame}": f"DAO.conv1.{frame - 2}.conv" for frame in (2, 3)},
    **{f"divided_attention.mix_norm{frame}": f"DAO.conv1.{frame - 2}.bn" for frame in (2, 3)},
    **{f"divided_attention.norm{frame}": f"DAO.W.{frame}" for frame in range(4)},
}
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""Positions of torchvision's children in the ``nn.Sequential`` of Video-Person-ReID."""
_ONE_BLOCK = {"layer1.0.conv1.weight": {}, "4.0.conv1.weight": _SEQUENTIAL}
"""Tensors that identify a ResNet, and the renaming of the first part of its names."""
_COPIES = {"encoder_k.": "encoder_q."}
"""Prefix of the momentum encoder of MoCo, which is skipped, and of the encoder."""
_TRUNK = re.compile(r"(conv1|bn1|layer\d+)\.")
_BICNET = re.compile(r"(layer\d_h2l|TKS|DAO)\.")
_HEAD = re.compile(
    r"(fc|classifier|heads?|bn|bnneck|bottleneck|neck|feat|embedding|proj)\w*\.|(attention_t?conv|lstm)\.|queue"
)
_COUNTER = ".num_batches_tracked"
_SHOWN = 4
"""Maximum number of names in an error message."""

Say = Callable[[str], object]


def load_resnet50(path: str | Path, variables: Mapping[str, Any], say: Say = print) -> dict[str, Any]:
    """Load a ResNet-50 file into the shape of ``variables``.

    Args:
      path: a file that `read_weights` supports. A common prefix of the names is detected (``module.``, ``backbone.``,
        ``base.``).
      variables: ``{"params": ..., "batch_stats": ...}`` of a `ResNet50`, initialised or abstract (`jax.eval_shape`);
        their shapes are expected, so other sizes can be loaded as well.
      say: called with a line that lists skipped tensors, if any.

    Returns:
      The same tree with the values of the file in float32.

    Raises:
      InputError: the file is missing or unreadable; names are missing or unexpected (a ResNet-101 has more blocks, a
        ResNet-50-D another stem); a shape differs; or a tensor contains values other than finite floats.
    """
    return _load(Path(path), variables, False, say)


def load_appearance(path: str | Path, variables: Mapping[str, Any], say: Say = print) -> dict[str, Any]:
    """Load a file into an appearance model with a ``trunk``: BiCnet-TKS into a whole `BiCnet`, others into the trunk.

    The attention logits of BiCnet-TKS have biases, which the following normalisation cancels. They are subtracted from
    its running mean, so that outputs in evaluation are the same.
    """
    return _load(Path(path), variables, True, say)


def torch_name(keys: Iterable[str]) -> str:
    """PyTorch's name of a variable: ``["params", "layer1_0", "downsample_conv", "kernel"]`` ->
    ``layer1.0.downsample.0.weight``.
    """
    _, *modules, leaf = keys
    modules = modules[1:] if modules[:1] == ["trunk"] else modules
    whole = _MODULES.get(".".join(modules))
    parts = [_MODULES.get(module, re.sub(r"^(layer\d+)_(\d+)$", r"\1.\2", module)) for module in modules]
    return f"{whole or '.'.join(parts)}.{_LEAVES.get(leaf, leaf)}"


def _load(path: Path, variables: Mapping[str, Any], has_trunk: bool, say: Say) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"no ResNet-50 weights at {path.absolute()}, and nothing is downloaded automatically: download "
            "torchvision's ResNet50_Weights (a .pth file) or timm's resnet50.a1_in1k (model.safetensors), and set "
            "model.pretrained to the file."
        )
    found, heads, others = _sorted_by_part(path, read_weights(path))
    leaves, tree = jax.tree_util.tree_flatten_with_path(dict(variables))
    paths = [tuple(entry.key for entry in keys) for keys, _ in leaves]
    names = {keys: torch_name(keys) for keys in paths}
    whole = "TKS.conv1.weight" in found
    if whole and "TKS.conv1.weight" not in names.values():
        raise InputError(f"{path} is a whole BiCnet-TKS: set model.appearance to BiC to use it.")
    if whole:
        _fold_biases(found)
    filled = {keys for keys in paths if not has_trunk or whole or keys[1] == "trunk"}
    expected = {names[keys] for keys in filled}
    missing, unexpected = sorted(expected - found.keys()), sorted((found.keys() - expected) | others)
    if missing or unexpected:
        raise InputError(
            f"{path} does not fit the ResNet: missing {listed(missing, _SHOWN) or 'nothing'}; unexpected "
            f"{listed(unexpected, _SHOWN) or 'nothing'}."
        )
    if heads:
        groups = Counter(heads)
        say(f"{path}: not used: {', '.join(f'{name} ({groups[name]})' for name in groups)}")
    return jax.tree_util.tree_unflatten(
        tree,
        [
            _converted(path, names[keys], found[names[keys]], leaf.shape) if keys in filled else leaf
            for keys, (_, leaf) in zip(paths, leaves, strict=True)
        ],
    )


def _sorted_by_part(path: Path, weights: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str], set[str]]:
    """Tensors by torchvision's or BiCnet-TKS's names; the owner of each head's tensor; and all other names."""
    prefix, translated = _trunk_prefix(path, weights)
    found, heads, others = {}, [], set()
    for name, value in weights.items():
        inner = name.removeprefix(prefix)
        first, dot, rest = inner.partition(".")
        inner = translated.get(first, first) + dot + rest
        if not name.startswith(prefix):
            heads.append(re.sub(r"^((?:module|model)\.)?([^.]+).*", r"\2", name))
        elif _TRUNK.match(inner) or _BICNET.match(inner):
            found[inner] = value
        elif _HEAD.match(inner):
            heads.append(first)
        else:
            others.add(name)
    return {name: value for name, value in found.items() if not name.endswith(_COUNTER)}, heads, others


def _trunk_prefix(path: Path, names: Iterable[str]) -> tuple[str, Mapping[str, str]]:
    """Prefix of the ResNet's names, and the renaming of their first part."""
    prefixes = {
        name.removesuffix(end): translated
        for name in names
        for end, translated in _ONE_BLOCK.items()
        if name == end or name.endswith(f".{end}")
    }
    for copy, network in _COPIES.items():
        prefixes = {
            p: t for p, t in prefixes.items() if p.removesuffix(copy) + network not in prefixes or p.endswith(network)
        }
    if len(prefixes) > 1:
        raise InputError(
            f"{path} contains several ResNet-50s, {listed([p or 'one without a prefix' for p in prefixes])}: save the "
            "state dict of one of them."
        )
    return next(iter(prefixes.items()), ("", {}))


def _fold_biases(weights: dict[str, np.ndarray]) -> None:
    """Move the biases of BiCnet-TKS's attention logits into the running mean of the following normalisation.

    For the stripes' scores s with bias c, the mixing matrix M with bias b, and the running mean m: M (s + c 1) + b - m
    = M s - (m - c M 1 - b).
    """
    for i in (0, 1):
        score, mix, mean = (f"DAO.{name}" for name in (f"conv.{i}", f"conv1.{i}.conv", f"conv1.{i}.bn.running_mean"))
        constant, bias = weights.pop(f"{score}.bias", None), weights.pop(f"{mix}.bias", None)
        if mean in weights and f"{mix}.weight" in weights and constant is not None and bias is not None:
            shift = weights[f"{mix}.weight"].reshape(len(bias), -1).sum(axis=1) * constant + bias
            weights[mean] = weights[mean] - shift


def _converted(path: Path, name: str, value: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    """Convert a tensor to float32 and this project's layout; axes of size 1 in a kernel may differ."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"{path}: {name} contains {value.dtype} values: expected floating-point numbers.")
    if value.ndim > 1:
        value = np.moveaxis(value, (1, 0), (-2, -1))
        if _without_ones(value.shape) == _without_ones(shape):
            value = value.reshape(shape)
    if value.shape != shape:
        raise InputError(
            f"{path}: {name} has shape {list(value.shape)}, expected {list(shape)} (kernels as [kh, kw, d_in, d_out]): "
            "the file is of another network or width."
        )
    with np.errstate(over="ignore"):  # values too large for float32 become infinite and are rejected
        value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise InputError(f"{path}: {name} contains values that are not finite in float32: the file is damaged.")
    return jnp.asarray(value)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(size for size in shape[:-2] if size != 1), *shape[-2:])
