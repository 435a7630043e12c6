r"""MARS (Zheng et al., 2016), the paper's recipe: ResNet-50 + AP + RGCN + DAM.

    python -m rgcn_jax.main --config=configs/mars.py --config.data.root=/path/to/MARS \
        --config.data.keypoints=/path/to/openpose \
        --config.model.pretrained=/path/to/resnet50.safetensors

Hardware: the paper trained 32.14 hours on two V100. Expected, the paper's results: mAP 82.6, Rank-1 87.9 (AP alone:
81.1, 85.2).
Not yet run here: this project has no results on MARS.

Which gallery the paper used is unknown, so all protocols are reported. The paper's pose input is "2D position", read
as normalised coordinates of the crop; the alternative, the default of this project, is
--config.model.pose_input=centred.
"""

from ml_collections import ConfigDict

from rgcn_jax.config import default_config


def get_config() -> ConfigDict:
    """The paper's recipe on MARS."""
    c = default_config()
    c.data.name = "mars"
    c.model.pose_input = "crop"
    c.model.batch_norm_variance = "unbiased"  # PyTorch's estimate, as in published code
    return c
