"""ResNet-50 weights of torchvision or timm -> the variables of this project's trunk (method section 2: ImageNet
weights).

Nothing is downloaded. Both libraries name the tensors alike; kernels are turned from PyTorch's [d_out, d_in, kh, kw]
to [kh, kw, d_in, d_out]. The classifier (``fc``) and BatchNorm's step counters are left out; everything else has to
match, name by name.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rgcn_jax.errors import InputError, listed
from rgcn_jax.models.weight_files import read_weights

_LEAF_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_PREFIX = re.compile(r"^((module|model|backbone)\.)+")
_LEFT_OUT = re.compile(r"^fc\.(weight|bias)$|\.num_batches_tracked$")
_SHOWN = 4
"""How many names an error message lists."""


def load_resnet50(path: str | Path, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The weights at ``path`` in the shape of ``variables``.

    ``path``: a ``.safetensors`` file, or what torch.save made of a state dict (``.pth``, ``.pt``, ``.bin``); names
    may begin with ``module.``, ``model.`` or ``backbone.``. ``variables``: ``{"params": ..., "batch_stats": ...}`` of
    a `ResNet50`, freshly initialised or abstract (`jax.eval_shape`); its shapes say what is expected, so trunks of
    other sizes load as well. Returns the same tree with the file's numbers in float32.

    Raises InputError where the file is missing or unreadable, where names are missing or left over (a ResNet-101 has
    more blocks, a ResNet-50-D another stem), where a shape differs, and where a tensor holds anything but finite
    floating-point numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no ResNet-50 weights at {path.absolute()}, and nothing is downloaded. Get them once, from torchvision's "
            "ResNet-50 page (ResNet50_Weights, a .pth file) or as timm's resnet50.a1_in1k (model.safetensors), "
            "and name the file here."
        )
    found = {_PREFIX.sub("", name): value for name, value in read_weights(path).items()}
    found = {name: value for name, value in found.items() if not _LEFT_OUT.search(name)}
    leaves, tree = jax.tree_util.tree_flatten_with_path(dict(variables))
    expected = {torch_name([entry.key for entry in keys]): leaf.shape for keys, leaf in leaves}
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise InputError(
            f"{path} does not fit this trunk: missing {listed(missing, _SHOWN) or 'nothing'}; not expected "
            f"{listed(unexpected, _SHOWN) or 'nothing'}."
        )
    return jax.tree_util.tree_unflatten(
        tree, [_converted(path, name, found[name], shape) for name, shape in expected.items()]
    )


def torch_name(keys: list[str]) -> str:
    """PyTorch's name of a variable: ``["params", "layer1_0", "downsample_conv", "kernel"]`` ->
    ``layer1.0.downsample.0.weight``.
    """
    _, *modules, leaf = keys
    renamed = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
    parts = [renamed.get(module, re.sub(r"^(layer\d+)_(\d+)$", r"\1.\2", module)) for module in modules]
    return ".".join([*parts, _LEAF_NAMES[leaf]])


def _converted(path: Path, name: str, value: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"{path}: {name} holds {value.dtype} numbers; weights are floating-point numbers.")
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
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
