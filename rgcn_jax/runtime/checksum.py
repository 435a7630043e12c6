"""SHA-256 checksums of a checkpoint's arrays and records, to detect corruption on disk.

Orbax detects missing and truncated files, but not all flipped bits and zeroed blocks.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def path_name(path: tuple[Any, ...]) -> str:
    """Name of a leaf, such as ``params/pose/W_x``, from its path of keys of any kind."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def host_leaves(tree: Any) -> dict[str, np.ndarray]:
    """All leaves of a tree by name, as arrays in host memory; PRNG keys as their raw data."""
    leaves = {
        path_name(path): jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(leaves).items()}


def content_hash(leaves: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and bytes, in order; about 2 GB/s on processors with SHA instructions."""
    digest = hashlib.sha256()
    for name, leaf in leaves.items():
        digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def structure(tree: Any) -> dict[str, str]:
    """Type and shape of each leaf by name, without reading values."""
    return {path_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in jax.tree.leaves_with_path(tree)}


def json_hash(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def not_finite(leaves: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the leaves that contain NaN or Inf."""
    return [
        name for name, leaf in leaves.items() if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all()
    ]
