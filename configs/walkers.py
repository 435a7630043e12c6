"""The embedded, generated data set (rgcn_jax/walkers): no download, no GPU, about five minutes on two CPU cores.

    python -m rgcn_jax.main --config=configs/walkers.py

Not the paper's recipe: a small trunk on small crops, BN neck and standardised fusion, so that a laptop shows what the
method does. What it reaches is measured in README.md.
"""

from dataclasses import asdict

from ml_collections import ConfigDict

from rgcn_jax.config import default_config
from rgcn_jax.walkers import WalkersSpec


def get_config() -> ConfigDict:
    """The five-minute run."""
    c = default_config()
    c.data.name = "walkers"
    # Every field of WalkersSpec, at its default: --config.data.walkers.variation=1.5 and the like. Its seed draws the
    # people, cameras and walks; config.seed draws weights and batches.
    c.data.walkers = ConfigDict(asdict(WalkersSpec()))
    c.image_height, c.image_width = 64, 32
    c.num_epochs = 30
    c.eval_every_epochs = 15
    c.batch.max_frame_stride = 4
    c.model.stage_sizes, c.model.width = (1, 1, 1), 16
    c.model.pose_features = 128
    c.model.keypoint_embedding = 8  # beside "centred": what worked best, docs/walkers-results.md
    c.model.neck = "batchnorm"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.decay_every_epochs = 20
    c.evaluation.clips = "even"
    c.evaluation.distance = "standardized"
    c.evaluation.clips_per_batch = 32
    return c
