"""Pretrained PyTorch weights (ImageNet, person re-identification) -> the variables of an appearance model.

Read are ResNet-50s as torchvision, timm, torchreid (deep-person-reid), fast-reid, bag of tricks (reid-strong-baseline),
Video-Person-ReID and MoCo save them, and BiCnet-TKS whole, as its authors publish it. They name the same tensors in
different ways; `torch_name` is the table. Kernels are turned from PyTorch's [d_out, d_in, ...] to [..., d_in, d_out].
Classifiers and heads are left out and listed; everything else has to match, name by name. Nothing is downloaded.
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
    # BiCnet-TKS's own names.
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
"""torchvision's children in order, as Video-Person-ReID keeps them in an ``nn.Sequential``."""
_ONE_BLOCK = {"layer1.0.conv1.weight": {}, "4.0.conv1.weight": _SEQUENTIAL}
"""A tensor that every trunk has, and how the first part of its names is translated."""
_COPIES = {"encoder_k.": "encoder_q."}
"""Beside a network its moving average (MoCo), which is left out: the end of either prefix."""
_TRUNK = re.compile(r"(conv1|bn1|layer\d+)\.")
_BICNET = re.compile(r"(layer\d_h2l|TKS|DAO)\.")
_HEAD = re.compile(
    r"(fc|classifier|heads?|bn|bnneck|bottleneck|neck|feat|embedding|proj)\w*\.|(attention_t?conv|lstm)\.|queue"
)
_COUNTER = ".num_batches_tracked"
_SHOWN = 4
"""How many names an error message lists."""

Say = Callable[[str], object]


def load_resnet50(path: str | Path, variables: Mapping[str, Any], say: Say = print) -> dict[str, Any]:
    """The weights of a ResNet-50 file in the shape of ``variables``.

    Args:
      path: a file that `read_weights` takes. Any prefix of the names is found (``module.``, ``backbone.``, ``base.``).
      variables: ``{"params": ..., "batch_stats": ...}`` of a `ResNet50`, freshly initialised or abstract
        (`jax.eval_shape`); its shapes are what is expected, so trunks of other sizes load as well.
      say: called with a line that lists what of the file was left out, if anything was.

    Returns:
      The same tree with the file's numbers in float32.

    Raises:
      InputError: the file is missing or unreadable; names are missing or left over (a ResNet-101 has more blocks, a
        ResNet-50-D another stem); a shape differs; a tensor holds anything but finite floating-point numbers.
    """
    return _load(Path(path), variables, False, say)


def load_appearance(path: str | Path, variables: Mapping[str, Any], say: Say = print) -> dict[str, Any]:
    """The same for an appearance model with a ``trunk``: a BiCnet-TKS file fills a whole `BiCnet`, any other the trunk.

    BiCnet-TKS's attention logits have biases, which the normalisation behind them takes out again. They are subtracted
    from its running mean, so that the outputs in evaluation are the same.
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
            f"no ResNet-50 weights at {path.absolute()}, and nothing is downloaded. Get them once, from torchvision's "
            "ResNet-50 page (ResNet50_Weights, a .pth file) or as timm's resnet50.a1_in1k (model.safetensors), "
            "and name the file here."
        )
    found, heads, others = _sorted_by_part(path, read_weights(path))
    leaves, tree = jax.tree_util.tree_flatten_with_path(dict(variables))
    paths = [tuple(entry.key for entry in keys) for keys, _ in leaves]
    names = {keys: torch_name(keys) for keys in paths}
    whole = "TKS.conv1.weight" in found
    if whole and "TKS.conv1.weight" not in names.values():
        raise InputError(f"{path} is BiCnet-TKS whole: set model.appearance to BiC to use it.")
    if whole:
        _fold_biases(found)
    filled = {keys for keys in paths if not has_trunk or whole or keys[1] == "trunk"}
    expected = {names[keys] for keys in filled}
    missing, unexpected = sorted(expected - found.keys()), sorted((found.keys() - expected) | others)
    if missing or unexpected:
        raise InputError(
            f"{path} does not fit this trunk: missing {listed(missing, _SHOWN) or 'nothing'}; not expected "
            f"{listed(unexpected, _SHOWN) or 'nothing'}."
        )
    if heads:
        groups = Counter(heads)
        say(f"{path}: left out {', '.join(f'{name} ({groups[name]})' for name in groups)}")
    return jax.tree_util.tree_unflatten(
        tree,
        [
            _converted(path, names[keys], found[names[keys]], leaf.shape) if keys in filled else leaf
            for keys, (_, leaf) in zip(paths, leaves, strict=True)
        ],
    )


def _sorted_by_part(path: Path, weights: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str], set[str]]:
    """The tensors of the network under torchvision's or BiCnet-TKS's names; for each tensor of a head, its owner; and
    the names that are neither.
    """
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
    """What the trunk's names begin with, and how their first part is translated."""
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
            f"{path} holds several ResNet-50s, {listed([p or 'one without a prefix' for p in prefixes])}: save the "
            "state dict of one of them."
        )
    return next(iter(prefixes.items()), ("", {}))


def _fold_biases(weights: dict[str, np.ndarray]) -> None:
    """Moves the biases of BiCnet-TKS's attention logits into the running mean of the normalisation that follows.

    With the stripes' scores s, their bias c, the mixture M and its bias b, and the running mean m:
    M (s + c 1) + b - m = M s - (m - c M 1 - b).
    """
    for i in (0, 1):
        score, mix, mean = (f"DAO.{name}" for name in (f"conv.{i}", f"conv1.{i}.conv", f"conv1.{i}.bn.running_mean"))
        constant, bias = weights.pop(f"{score}.bias", None), weights.pop(f"{mix}.bias", None)
        if mean in weights and f"{mix}.weight" in weights and constant is not None and bias is not None:
            shift = weights[f"{mix}.weight"].reshape(len(bias), -1).sum(axis=1) * constant + bias
            weights[mean] = weights[mean] - shift


def _converted(path: Path, name: str, value: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    """The tensor in float32 and in this project's layout. Axes of a kernel that have one entry come and go."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"{path}: {name} holds {value.dtype} numbers; weights are floating-point numbers.")
    if value.ndim > 1:
        value = np.moveaxis(value, (1, 0), (-2, -1))
        if _without_ones(value.shape) == _without_ones(shape):
            value = value.reshape(shape)
    if value.shape != shape:
        raise InputError(
            f"{path}: {name} has shape {list(value.shape)}, this trunk needs {list(shape)} "
            "(kernels as [kh, kw, d_in, d_out]); it is another network or another width."
        )
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite and is refused
        value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise InputError(f"{path}: {name} holds numbers that are not finite (in float32); the file is damaged.")
    return jnp.asarray(value)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(size for size in shape[:-2] if size != 1), *shape[-2:])
