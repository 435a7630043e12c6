r"""PRID2011 (Hirzer et al., 2011), with the recipe of ilids_vid.py, on one of the ten usual splits.

    python -m rgcn_jax.main --config=configs/prid2011.py --config.data.root=/path/to/PRID2011 \
        --config.data.keypoints=/path/to/openpose --config.data.split=1 \
        --config.model.pretrained=/path/to/resnet50.safetensors

The paper does not use this data set. Hardware and expected numbers: not yet run here.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe on PRID2011."""
    c = packaged_config("ilids_vid")
    c.data.name = "prid2011"
    return c
