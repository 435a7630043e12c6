r"""LS-VID (Li et al., 2019), with the recipe of mars.py.

    python -m rgcn_jax.main --config=configs/ls_vid.py --config.data.root=/path/to/LS-VID \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

The paper does not use this data set. Hardware and expected numbers: not yet run here.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe on LS-VID."""
    c = packaged_config("mars")
    c.data.name = "ls_vid"
    return c
