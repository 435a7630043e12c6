"""A model and batches small enough for a test: a trunk of one block, 16 x 8 crops, 4 clips of 3 frames."""

import jax
import numpy as np

from rgcn_jax import parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.training.optim import adam_coupled_l2, step_schedule
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import make_train_step

FRAMES, HEIGHT, WIDTH, IDENTITIES = 3, 16, 8, 5

FIELDS = {
    "appearance": "AP",
    "pose": "RGCN",
    "readout": "DAM",
    "pose_features": 16,
    "graph_layers": 1,
    "graph_relu_each_layer": False,
    "pose_input": "centred",
    "keypoint_embedding": 0,
    "neck": "batchnorm",
    "stage_sizes": (1,),
    "width": 4,
    "last_stride": 1,
    "pooling": "mean",
    "remat": "none",
}


def batch(seed=0, clips=8):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 1, (clips, FRAMES, 14, 3)).astype(np.float32)
    keypoints[rng.random((clips, FRAMES, 14)) < 0.1] = 0
    mask = np.ones((clips, FRAMES), bool)
    mask[0, -1] = False
    return {
        "frames": rng.integers(0, 256, (clips, FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8),
        "keypoints": keypoints,
        "frame_mask": mask,
        "label": np.repeat(np.arange(clips // 2), 2).astype(np.int32) % IDENTITIES,
        "index": np.arange(clips, dtype=np.int32),
    }


def variables(seed=0, **changes):
    model = build_model(FIELDS | changes, IDENTITIES, aspect=WIDTH / HEIGHT)
    return initialise(model, seed, FRAMES, HEIGHT, WIDTH)


def start(devices, optimizer=None, batch_norm="global", micro_batches=1, platform="cpu", objective=None, **changes):
    """(state, step, mesh) on that many devices; Adam as in the recipe unless another optimizer is given. ``platform``:
    in whose form the model is.
    """
    mesh = parallel.make_mesh(devices)
    optimizer = optimizer or adam_coupled_l2(step_schedule(3e-3, 0.1, 0), 5e-4)
    axis = parallel.normalisation_axis(batch_norm)
    model = build_model(FIELDS | changes, IDENTITIES, axis_name=axis, aspect=WIDTH / HEIGHT, platform=platform)
    state = parallel.replicate(create_state(variables(**changes), optimizer, seed=0), mesh)
    return (
        state,
        make_train_step(model, optimizer, objective or LossConfig(), mesh, micro_batches=micro_batches),
        mesh,
    )


def leaves_close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def close_in_norm(a, b, relative):
    """Each leaf to a share of its norm: single elements may cancel to nothing."""
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        error = np.linalg.norm(np.asarray(x, np.float64) - y)
        assert error <= relative * np.linalg.norm(y) + 1e-7, (
            f"{jax.tree_util.keystr(path)}: {error / np.linalg.norm(y)}"
        )
