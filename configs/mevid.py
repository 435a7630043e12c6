r"""MEVID (Davila et al., 2023), in which persons change clothes, with the recipe of mars.py.

    python -m rgcn_jax.main --config=configs/mevid.py --config.data.root=/path/to/MEVID \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

The paper does not use this data set. Hardware and expected numbers: not yet run here.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe on MEVID."""
    c = packaged_config("mars")
    c.data.name = "mevid"
    return c
