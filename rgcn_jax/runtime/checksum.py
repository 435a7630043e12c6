"""SHA-256 checksums of a checkpoint's arrays and records, to detect corruption on disk.

Orbax detects missing and truncated files, but not all flipped bits and zeroed blocks.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def _leaves(tree: Any) -> dict[str, Any]:
    """Leaves by name, such as ``params/pose/W_x``."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }


def host_leaves(tree: Any) -> dict[str, np.ndarray]:
    """All leaves of a tree by name, as arrays in host memory; PRNG keys as their raw data."""
    leaves = {
        name: jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for name, leaf in _leaves(tree).items()
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
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _leaves(tree).items()}


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """A clause for each name that only one ``structure`` has, or whose type or shape differs."""
    return [
        f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'no such parameter')}"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]


def json_hash(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def not_finite(leaves: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the leaves that contain NaN or Inf."""
    return [
        name for name, leaf in leaves.items() if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all()
    ]
