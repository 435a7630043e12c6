"""The synthetic walkers data set (rgcn_jax/walkers): no download, no GPU, two minutes on one CPU core.

    python -m rgcn_jax.main --config=configs/walkers.py

Based on configs/walkers_paper.py, reduced to run on a laptop, with options for the pose branch that are not in the
paper (docs/method.md gives the reasons). See README.md for its results.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """A first run for demonstration."""
    c = packaged_config("walkers_paper")
    c.image_height, c.image_width = 48, 24  # with the stride, half the time of 64 x 32
    c.model.last_stride = 2
    c.model.graph_layers = 2
    c.model.graph_relu_each_layer = True
    c.model.graph_self = True
    c.model.product = True
    c.model.pose_fill = True
    c.model.pose_norm = True
    c.loss.margin = "soft"
    c.loss.pose_triplet = "neck"
    c.optimizer.schedule = "cosine"
    c.optimizer.warmup_epochs = 3
    c.optimizer.pose_factor = 5.0
    c.eval_every_epochs = 0  # only at the end: an evaluation takes as long as 25 steps
    c.evaluation.clips = "full"
    c.evaluation.pose_weight = 2.0
    return c
