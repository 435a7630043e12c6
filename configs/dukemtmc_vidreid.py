r"""DukeMTMC-VideoReID (Wu et al., 2018), the paper's recipe: ResNet-50 + AP + RGCN + DAM.

    python -m rgcn_jax.main --config=configs/dukemtmc_vidreid.py --config.data.root=/path/to/DukeMTMC-VideoReID \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

DukeMTMC was withdrawn by its authors in 2019, because the people in it had not agreed. This file is for those who must
compare with published numbers and may use the copy that they have; it is no invitation to look for one.

Hardware: the paper does not say. Expected: the paper has one number, mAP 96.5 and Rank-1 97.1, of BiC + LGCN (add
--config.model.appearance=BiC --config.model.pose=LGCN).
Not yet run here: no number of this project on DukeMTMC-VideoReID exists.

Its images are every twelfth of the video, so a clip of ten frames in a row spans two seconds.
"""

from ml_collections import ConfigDict

from rgcn_jax.config import default_config


def get_config() -> ConfigDict:
    """The paper's recipe on DukeMTMC-VideoReID."""
    c = default_config()
    c.data.name = "dukemtmc_vidreid"
    c.model.pose_input = "crop"
    c.model.batch_norm_variance = "unbiased"  # PyTorch's estimate, as in the field's code
    return c
