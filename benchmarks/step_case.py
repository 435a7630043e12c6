"""A training step of ``configs/mars.py`` on synthetic clips, in JAX, for ``benchmarks.train_step``.

Needs only jax, flax, optax and NumPy. A test keeps ``RECIPE`` equal to the config.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import bare  # noqa: F401  before rgcn_jax
from rgcn_jax import parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.evaluation.embed_step import make_embed_step
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.models.two_branch import TwoBranch
from rgcn_jax.training.optim import adam_coupled_l2
from rgcn_jax.training.state import TrainState, create_state
from rgcn_jax.training.step import make_train_step

IDENTITIES = 625
"""Number of MARS's training identities, the outputs of the classifier."""

RECIPE: Mapping[str, Any] = MappingProxyType(
    {
        "appearance": "AP",
        "pose": "RGCN",
        "readout": "DAM",
        "pose_features": 512,
        "graph_layers": 1,
        "graph_relu_each_layer": False,
        "pose_input": "crop",
        "keypoint_embedding": 0,
        "neck": "none",
        "stage_sizes": (3, 4, 6, 3),
        "width": 64,
        "last_stride": 1,
        "pooling": "mean",
        "remat": "none",
        "pose_fill": False,
        "pose_norm": False,
        "graph_self": False,
        "product": False,
    }
)
"""``config.model`` of ``configs/mars.py``, without the origin of weights and the estimator of running variances."""

LEARNING_RATE, WEIGHT_DECAY = 3e-4, 5e-4


@dataclass(frozen=True)
class Sizes:
    """Sizes of a measured step; ``model`` overrides ``RECIPE``."""

    clips: int
    frames: int = 10
    height: int = 256
    width: int = 128
    dtype: str = "float32"
    micro_batches: int = 1
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of frames per step."""
        return self.clips * self.frames

    def fields(self, pose: str) -> dict[str, Any]:
        """Return ``config.model`` with a pose model."""
        return {**RECIPE, **self.model, "pose": pose}


def make_batch(sizes: Sizes, seed: int = 0) -> dict[str, np.ndarray]:
    """Create noise in the shapes of a training batch.

    There are four clips per identity (two if there are fewer than eight clips), and 5 % of the keypoints are missing.
    """
    rng = np.random.default_rng(seed)
    shape = (sizes.clips, sizes.frames)
    keypoints = rng.random((*shape, 14, 3), np.float32)
    keypoints[rng.random((*shape, 14)) < 0.05] = 0
    return {
        "frames": rng.integers(0, 256, (*shape, sizes.height, sizes.width, 3), dtype=np.uint8),
        "keypoints": keypoints,
        "frame_mask": np.ones(shape, bool),
        "label": (np.arange(sizes.clips) // (4 if sizes.clips >= 8 else 2)).astype(np.int32),
        "index": np.arange(sizes.clips, dtype=np.int32),
    }


def make_model(pose: str, sizes: Sizes) -> TwoBranch:
    """Create the model in the form for this machine's devices."""
    platform = jax.default_backend()
    return build_model(sizes.fields(pose), IDENTITIES, sizes.dtype, axis_name=parallel.AXIS, platform=platform)


def make_variables(pose: str, sizes: Sizes, seed: int = 0) -> dict[str, Any]:
    """Initialise the variables, as NumPy arrays."""
    return jax.device_get(initialise(make_model(pose, sizes), seed, sizes.frames, sizes.height, sizes.width))


def adam() -> optax.GradientTransformation:
    """The recipe's optimiser, with the learning rate before its first decay."""
    return adam_coupled_l2(optax.constant_schedule(LEARNING_RATE), WEIGHT_DECAY)


def train_step(pose: str, sizes: Sizes, devices: int = 1, optimizer: optax.GradientTransformation | None = None) -> Any:
    """Return the compiled step of ``rgcn_jax.training.step``."""
    model, mesh = make_model(pose, sizes), parallel.make_mesh(devices)
    return make_train_step(
        model, optimizer or adam(), LossConfig(), mesh, model.dtype, micro_batches=sizes.micro_batches
    )


def make_state(variables: Any, optimizer: optax.GradientTransformation | None = None) -> TrainState:
    """Return the state before the first step."""
    return create_state(jax.tree.map(jnp.asarray, variables), optimizer or adam(), 0)


@dataclass
class Prepared:
    """A compiled step, with its compile times and memory."""

    run: Callable[[], dict[str, Any]]
    """Takes one step, blocks, and returns the metrics; the state is kept between calls."""
    cold: float
    """Seconds to trace and compile, without a cache."""
    warm: float
    """Seconds to trace and read the compiled program from the cache."""
    memory: int
    """Bytes by XLA's count: arguments, results and temporaries."""


def prepare(pose: str, sizes: Sizes, batch: Mapping[str, np.ndarray], variables: Any) -> Prepared:
    """Compile a step on one device twice, cold and warm. The persistent cache must be enabled and empty."""
    mesh = parallel.make_mesh(1)
    state = parallel.replicate(make_state(variables), mesh)
    on_device = parallel.shard(dict(batch), mesh)

    def timed() -> tuple[Any, float]:
        jax.clear_caches()
        start = time.perf_counter()
        compiled = train_step(pose, sizes).lower(state, on_device).compile()
        return compiled, time.perf_counter() - start

    (_, cold), (compiled, warm) = timed(), timed()
    return Prepared(run_of(compiled, state, on_device), cold, warm, memory_of(compiled))


def run_of(compiled: Any, state: TrainState, on_device: Any) -> Callable[[], dict[str, Any]]:
    """Return a function that takes one step, blocks, and returns the metrics; the state is kept between calls."""

    def run() -> dict[str, Any]:
        nonlocal state
        state, metrics = compiled(state, on_device)
        jax.block_until_ready((state, metrics))
        return metrics

    return run


def memory_of(compiled: Any) -> int:
    """Bytes of a compiled program by XLA's count: arguments, results that do not reuse an argument's buffer, and
    temporaries.
    """
    m = compiled.memory_analysis()
    return m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes


def memory_on_paper(pose: str, sizes: Sizes) -> int:
    """Bytes of a step by XLA's count for this backend; nothing of that size is allocated."""
    small = Sizes(2, 1, sizes.height, sizes.width, model=sizes.model)
    state = jax.eval_shape(lambda: make_state(make_shapes(pose, small)))
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.zeros_like, shapes_of_batch(sizes)))
    return memory_of(train_step(pose, sizes).lower(state, batch).compile())


def make_shapes(pose: str, sizes: Sizes) -> Any:
    """Create zeros in the shapes of the variables; call it under ``jax.eval_shape``."""
    return initialise(make_model(pose, sizes), 0, sizes.frames, sizes.height, sizes.width)


def shapes_of_batch(sizes: Sizes) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the arrays of ``make_batch``."""
    shape = (sizes.clips, sizes.frames)
    return {
        "frames": jax.ShapeDtypeStruct((*shape, sizes.height, sizes.width, 3), np.uint8),
        "keypoints": jax.ShapeDtypeStruct((*shape, 14, 3), np.float32),
        "frame_mask": jax.ShapeDtypeStruct(shape, np.bool_),
        "label": jax.ShapeDtypeStruct(shape[:1], np.int32),
        "index": jax.ShapeDtypeStruct(shape[:1], np.int32),
    }


def extraction(pose: str, sizes: Sizes, batch: Mapping[str, np.ndarray], variables: Any) -> Callable[[], Any]:
    """Return a function that computes the features of the batch's clips and blocks."""
    mesh, model = parallel.make_mesh(1), make_model(pose, sizes)
    embed = make_embed_step(model, mesh, model.dtype)
    placed = parallel.replicate(jax.tree.map(jnp.asarray, variables), mesh)
    on_device = parallel.shard(dict(batch), mesh)
    return lambda: jax.block_until_ready(embed(placed, on_device))


def losses_on_devices(pose: str, sizes: Sizes, devices: int, steps: int) -> list[float]:
    """Compute the loss of each of ``steps`` steps on ``devices`` devices, with a new batch per step."""
    mesh = parallel.make_mesh(devices)
    state = parallel.replicate(make_state(make_variables(pose, sizes)), mesh)
    step = train_step(pose, sizes, devices)
    found = []
    for seed in range(steps):
        state, metrics = step(state, parallel.shard(make_batch(sizes, seed), mesh))
        found.append(float(metrics["loss"]))
    return found
