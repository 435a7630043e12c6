r"""Tracklets of one's own, in folders train, query and gallery (docs/data.md), with the recipe of mars.py.

    python -m rgcn_jax.main --config=configs/folder.py --config.data.root=/path/to/mine \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

An epoch is one pass over the people: with few of them, set the length by --config.num_steps, and shrink
--config.batch.identities to at most their number. Hardware and expected numbers: yours.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The paper's recipe on a folder of one's own."""
    c = packaged_config("mars")
    c.data.name = "folder"
    return c
