"""The paper's two branches on the embedded, generated data set: what docs/walkers-results.md compares.

    python -m rgcn_jax.main --config=configs/walkers_paper.py

No graph layer, loss or optimiser beyond the paper; but a small trunk on small crops, "centred" pose input with a
keypoint embedding, BN neck and standardised fusion. Every pose model, readout and input of the paper's tables is one
override away. configs/walkers.py adds what lifts the pose branch.
"""

from dataclasses import asdict

from ml_collections import ConfigDict

from rgcn_jax.config import default_config
from rgcn_jax.walkers import WalkersSpec


def get_config() -> ConfigDict:
    """The paper's pose branch beside a small trunk."""
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
