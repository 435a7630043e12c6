"""The pose branch alone on the generated data set: no frame is drawn, under a minute on one core.

    python -m rgcn_jax.main --config=configs/walkers_pose.py

Not the paper's recipe: docs/method.md has the reason of each option, docs/walkers-results.md what it reaches.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The pose branch of configs/walkers.py, in larger batches and at its own learning rate."""
    c = packaged_config("walkers")
    c.model.appearance = "none"
    c.batch.identities = 16
    c.num_epochs = 128  # of seven steps
    c.eval_every_epochs = 0
    c.log_every_steps = 100
    c.optimizer.learning_rate = 5e-3
    c.optimizer.pose_factor = 1.0
    c.optimizer.warmup_epochs = 12
    return c
