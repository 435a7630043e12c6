"""The pose branch alone on the generated data set: no frame is drawn, under a minute on one core.

python -m rgcn_jax.main --config=configs/walkers_pose.py
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The recipe for the pose branch, see docs/method.md."""
    c = packaged_config("walkers")
    c.model.appearance = "none"
    c.num_epochs = 60
    c.eval_every_epochs = 0
    c.log_every_steps = 100
    c.model.graph_self = True
    c.model.pose_fill = True
    c.model.pose_norm = True
    c.loss.margin = "soft"
    c.loss.pose_triplet = "neck"
    c.optimizer.learning_rate = 5e-3
    c.optimizer.schedule = "cosine"
    c.optimizer.warmup_epochs = 6
    return c
