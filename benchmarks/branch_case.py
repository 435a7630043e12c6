"""Benchmark task of the pose branch: pose input, model and readout, forward and backward. Needs jax, flax and optax."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rgcn_jax.models.pose_input import pose_input
from rgcn_jax.models.two_branch import TwoBranch


def branch_task(model: TwoBranch, batch: Mapping[str, Any], kind: str, aspect: float) -> Callable[[], object]:
    """Return a task that computes f_p and the gradient of the pose branch's parameters for a given dL/df_p, and blocks.

    ``kind``: the config's ``model.pose_input``. ``aspect``: width of a crop over its height.
    """
    encoder: Any = model.pose
    readout: Any = model.readout
    keypoints, mask = jax.device_put((batch["keypoints"], batch["frame_mask"]))

    def embed(params: Any, stats: Any, keypoints: Any, mask: Any) -> tuple[Any, Any]:
        x = pose_input(keypoints, kind, aspect, mask)
        h, new = encoder.apply({"params": params["pose"], **stats}, x, mask, train=True, mutable=["batch_stats"])
        return readout.apply({"params": params["readout"]}, h, mask)[0], new

    @jax.jit
    def forward_backward(params: Any, stats: Any, keypoints: Any, mask: Any, df: Any) -> tuple[Any, Any, Any]:
        f, pullback, new = jax.vjp(lambda params: embed(params, stats, keypoints, mask), params, has_aux=True)
        return f, pullback(df)[0], new

    key = jax.random.key(0)
    x = pose_input(keypoints, kind, aspect, mask)
    variables = dict(jax.jit(encoder.init)(key, x))
    h = jnp.zeros((*mask.shape, 14, encoder.features))
    read = jax.jit(readout.init)(key, h, mask)
    params = {"pose": variables.pop("params"), "readout": read.get("params", {})}
    width = jax.eval_shape(lambda: readout.apply(read, h, mask)[0]).shape
    df = jnp.ones(width, jnp.float32)
    return lambda: jax.block_until_ready(forward_backward(params, variables, keypoints, mask, df))
