"""configs/walkers.py with persons who change clothes, where appearance fails but pose need not.

    python -m rgcn_jax.main --config=configs/walkers_clothes.py

Every person has two outfits, in training too; skin, hair and hairstyle are constant. The headline is the protocol in
which matches wear other clothes than the query. See docs/walkers-results.md for its results.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The run of configs/walkers.py on larger crops, with two outfits each."""
    c = packaged_config("walkers")
    c.image_height, c.image_width = 64, 32
    c.model.last_stride = 1
    c.data.walkers.outfits_per_identity = 2
    c.evaluation.protocol = "clothes_changed"
    return c
