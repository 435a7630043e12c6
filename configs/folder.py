r"""A custom data set in the folders train, query and gallery (docs/data.md), with the recipe of mars.py.

    python -m rgcn_jax.main --config=configs/folder.py --config.data.root=/path/to/mine \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

An epoch is one pass over the persons: if there are few, set the length by --config.num_steps, and reduce
--config.batch.identities to at most their number. Hardware and expected results depend on the data.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe on a custom folder."""
    c = packaged_config("mars")
    c.data.name = "folder"
    return c
