r"""DukeMTMC-VideoReID (Wu et al., 2018), the paper's recipe: ResNet-50 + AP + RGCN + DAM.

    python -m rgcn_jax.main --config=configs/dukemtmc_vidreid.py --config.data.root=/path/to/DukeMTMC-VideoReID \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

DukeMTMC was withdrawn by its authors in 2019, since the people in it had not consented. This file is for those who must
compare with published results and are allowed to use their copy; it is not an invitation to look for one.

Hardware: not stated in the paper. Expected: the paper has one result, mAP 96.5 and Rank-1 97.1, for BiC + LGCN (add
--config.model.appearance=BiC --config.model.pose=LGCN).
Not yet run here: this project has no results on DukeMTMC-VideoReID.

Its images are every twelfth frame of the video, so ten consecutive frames span two seconds.
"""

from ml_collections import ConfigDict

from rgcn_jax.config import default_config


def get_config() -> ConfigDict:
    """The paper's recipe on DukeMTMC-VideoReID."""
    c = default_config()
    c.data.name = "dukemtmc_vidreid"
    c.model.pose_input = "crop"
    c.model.batch_norm_variance = "unbiased"  # PyTorch's estimate, as in published code
    return c
