"""The pose branch only, on the synthetic walkers data set: no frames, under a minute on one core.

    python -m rgcn_jax.main --config=configs/walkers_pose.py

Not the paper's recipe: see docs/method.md for the reasons of its options, and docs/walkers-results.md for its results.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The pose branch of configs/walkers.py, with larger batches and its own learning rate."""
    c = packaged_config("walkers")
    c.model.appearance = "none"
    c.batch.identities = 16
    c.num_epochs = 128  # seven steps each
    c.eval_every_epochs = 0
    c.log_every_steps = 100
    c.optimizer.learning_rate = 5e-3
    c.optimizer.pose_factor = 1.0
    c.optimizer.warmup_epochs = 12
    return c
