"""The whole path of MARS on a small set in its layout, on a CPU in a minute: a test of the program on real input.

    python -m rgcn_jax.main --config=configs/mars_mini.py --config.data.root=DIR --config.data.keypoints=DIR/openpose

Not a benchmark: a handful of people say nothing about quality. Expected: nothing.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe, shrunk."""
    c = packaged_config("mars")
    c.num_epochs = 0
    c.num_steps = 60
    c.eval_every_epochs = 0
    c.image_height, c.image_width = 64, 32
    c.frames_per_clip = 6
    c.batch.identities = 4
    c.model.stage_sizes, c.model.width = (1, 1, 1), 16
    c.optimizer.decay_every_epochs = 0
    return c
