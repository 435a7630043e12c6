"""configs/walkers.py on persons who change clothes: appearance must fail where pose need not.

    python -m rgcn_jax.main --config=configs/walkers_clothes.py

Everybody has two outfits, in training too; skin, hair and its style stay. The headline is the protocol in which a query
is searched in other clothes. What it reaches is in docs/walkers-results.md.
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
