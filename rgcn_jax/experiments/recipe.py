"""Overrides shared by the tables ``configs/tables/recipe_*.py``: the pose branch alone on walkers.

All train 600 steps of 8 x 4 clips of ten frames, with f_p of 128 dimensions, and score all frames of a test tracklet.
``RECIPE`` has the options of docs/method.md with one graph layer; ``configs/walkers_pose.py`` has two, a product, twice
the clips and more steps.
"""

from typing import Any

from rgcn_jax.experiments.table import Column

COLUMNS = tuple(Column("walkers", metric, "pose", clips) for clips in ("even", "full") for metric in ("rank1", "mAP"))
"""Metrics of the pose row, with one clip of ten frames and with all frames."""

ALONE: dict[str, Any] = {
    "model.appearance": "none",
    "num_epochs": 40,  # 15 steps each
    "eval_every_epochs": 0,
    "log_every_steps": 100,
    "evaluation.clips": "full",
}
"""Training without frames, with the schedule of ``configs/walkers_paper.py``."""

SCHEDULE: dict[str, Any] = {
    "optimizer.learning_rate": 5e-3,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_epochs": 4,
}

OPTIONS: dict[str, dict[str, Any]] = {
    "self term": {"model.graph_self": True},
    "standardised input": {"model.pose_norm": True},
    "gaps filled": {"model.pose_fill": True},
    "triplet on the neck": {"loss.pose_triplet": "neck"},
    "soft margin": {"loss.margin": "soft"},
    "schedule": SCHEDULE,
}
"""Options of the recipe that are not in the paper, by name."""

WITHOUT: dict[str, dict[str, Any]] = {
    "self term": {"model.graph_self": False},
    "standardised input": {"model.pose_norm": False},
    "gaps filled": {"model.pose_fill": False},
    "triplet on the neck": {"loss.pose_triplet": "raw"},
    "soft margin": {"loss.margin": 0.3},
    "schedule": {
        "optimizer.learning_rate": 1e-3,
        "optimizer.schedule": "step",
        "optimizer.warmup_epochs": 0,
        "optimizer.decay_every_epochs": 27,
    },
}
"""Values of the same options in the paper, or in ``configs/walkers_paper.py`` if the paper does not state them."""

TWO_LAYERS: dict[str, Any] = {"model.graph_layers": 2, "model.graph_relu_each_layer": True}

RECIPE: dict[str, Any] = ALONE | {name: value for option in OPTIONS.values() for name, value in option.items()}
"""The recipe with one graph layer and no product."""

LITERAL: dict[str, Any] = ALONE | {name: value for option in WITHOUT.values() for name, value in option.items()}
"""The paper's pose branch."""

BESIDE: dict[str, Any] = {name: value for name, value in RECIPE.items() if name not in ALONE} | {
    "num_epochs": 60,  # 15 steps each
    "eval_every_epochs": 0,
    "optimizer.learning_rate": 1e-3,
    "optimizer.pose_factor": 5.0,
    "optimizer.warmup_epochs": 6,
}
"""The recipe with appearance features: 900 steps, the pose branch at 5e-3 as in ``RECIPE``."""
