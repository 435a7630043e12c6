r"""MARS with a modern recipe instead of the paper's: the options of strong baselines.

    python -m rgcn_jax.main --config=configs/mars_strong.py --config.data.root=/path/to/MARS \
        --config.data.keypoints=/path/to/keypoints.npz \
        --config.model.pretrained=/path/to/resnet50.safetensors

Differences to the paper: neck "batchnorm" and distance "standardized", the cosine after the neck (Luo et al., 2019);
random erasing, p 0.5; max pooling of the last map; 16 persons x 4 clips of 8 frames; Adam at 3.5e-4 with a warm-up of
10 epochs; "centred" pose input with a learned keypoint embedding. Optimiser and length follow BiCnet-TKS's public
recipe, 150 epochs of 117 steps and x0.1 at 40, 80 and 120. Here an epoch, one pass over the identities, has 39 steps,
so these become 450, 120, 240 and 360.
Hardware: 64 clips x 8 frames of 256 x 128 in bfloat16 need a large GPU.
Not yet run here: this project has no results on MARS.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The modern recipe on MARS."""
    c = packaged_config("mars")
    c.num_epochs = 450
    c.eval_every_epochs = 50
    c.frames_per_clip = 8
    c.dtype = "bfloat16"
    c.batch.identities = 16
    c.augment.erase_probability = 0.5
    c.model.pooling = "max"
    c.model.neck = "batchnorm"
    c.model.pose_input = "centred"
    c.model.keypoint_embedding = 8
    c.optimizer.learning_rate = 3.5e-4
    c.optimizer.decay_every_epochs = 120
    c.optimizer.warmup_epochs = 10
    c.evaluation.distance = "standardized"
    return c
