"""End-to-end test on a small data set in MARS's layout: real input, on a CPU in a minute.

    python -m rgcn_jax.main --config=configs/mars_mini.py --config.data.root=DIR --config.data.keypoints=DIR/openpose

Not a benchmark: a handful of persons do not measure quality.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe, reduced in size."""
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
