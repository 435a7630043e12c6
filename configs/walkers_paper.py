"""The paper's two branches on the synthetic walkers data set, as compared in docs/walkers-results.md.

    python -m rgcn_jax.main --config=configs/walkers_paper.py

Graph layer, losses and optimiser are the paper's; it has a small ResNet on small crops, "centred" pose input with a
keypoint embedding, a BN neck and standardised fusion. Overrides select any pose model, readout and input of the
paper's tables. configs/walkers.py adds options that improve the pose branch.
"""

from dataclasses import asdict

from ml_collections import ConfigDict

from rgcn_jax.config import default_config
from rgcn_jax.walkers import WalkersSpec


def get_config() -> ConfigDict:
    """The paper's pose branch with a small ResNet."""
    c = default_config()
    c.data.name = "walkers"
    # All fields of WalkersSpec can be overridden: --config.data.walkers.variation=1.5. Its seed determines persons,
    # cameras and motion; config.seed weights and batches.
    c.data.walkers = ConfigDict(asdict(WalkersSpec()))
    c.image_height, c.image_width = 64, 32
    c.num_epochs = 30
    c.eval_every_epochs = 15
    c.batch.max_frame_stride = 4
    c.model.stage_sizes, c.model.width = (1, 1, 1), 16
    c.model.pose_features = 128
    c.model.keypoint_embedding = 8  # best with "centred", see docs/walkers-results.md
    c.model.neck = "batchnorm"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.decay_every_epochs = 20
    c.evaluation.clips = "even"
    c.evaluation.distance = "standardized"
    c.evaluation.clips_per_batch = 32
    return c
