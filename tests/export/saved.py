"""Saved models of a tiny config with random weights and statistics: what an export begins with."""

from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np

from rgcn_jax.config import Config, DataConfig, EvaluationConfig, ModelConfig
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.saved_model import SavedModel, save_model
from rgcn_jax.training.state import variables_hash


def write(folder: Path, distance="euclidean", pose_weight=1.0, dtype="float32", f_a=12, **model) -> SavedModel:
    """A model folder with a model of these fields."""
    fields = {"stage_sizes": (1,), "width": 4, "pose_features": 16, **model}
    config = Config(
        data=DataConfig(name="mars", root="/home/somebody/mars", keypoints="/home/somebody/poses"),
        model=ModelConfig(**fields),
        evaluation=EvaluationConfig(distance=distance, pose_weight=pose_weight),
        image_height=32,
        image_width=16,
        frames_per_clip=3,
        dtype=dtype,
    )
    shape = config.frame_size
    if config.model.appearance == "precomputed":
        config, shape = replace(config, data=replace(config.data, features="/home/somebody/f_a.npz")), (f_a,)
    variables = jax.device_get(initialise(build_model(asdict(config.model), 0, aspect=0.5), 0, 3, *shape))
    rng = np.random.default_rng(0)
    for name, of_branch in variables["batch_stats"].items():
        if name.startswith("statistics"):
            of_branch["mean"] = rng.normal(0, 0.1, of_branch["mean"].shape).astype(np.float32)
            of_branch["var"] = rng.uniform(0.1, 1, of_branch["var"].shape).astype(np.float32)
            of_branch["var"][0] = 0  # does not vary
    saved = SavedModel(folder, config, 7, variables, variables_hash(host_leaves(variables)))
    folder.mkdir()
    save_model(folder, saved)
    return saved
