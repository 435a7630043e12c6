r"""MARS with the released recipe of BiCnet-TKS (Hou et al., CVPR 2021), appearance only, to compare with its results.

    python -m rgcn_jax.main --config=configs/mars_bicnet_released.py --config.data.root=/path/to/MARS \
        --config.model.pretrained=/path/to/resnet50.safetensors

Objective: triplet loss by cosine distance with margin 0.5 on features after the BN neck, plain cross-entropy, and the
diversity loss; retrieval by cosine after the neck ("normalized" of the single branch). Batches of 16 persons x 4
clips of 8 frames; Adam at 3.5e-4, times 0.1 after 40, 80 and 120 of 150 epochs; flip and random erasing, no crop. Its
epoch is one pass over MARS's training tracklets, 117 steps; here an epoch is one pass over the identities, 39 steps.
Differences: the frame stride of a clip is drawn from 1 to 4 instead of being 4; a test tracklet is cut into clips of 8
frames.
Hardware: 64 clips x 8 frames of 256 x 128 need a large GPU. Expected, its authors' results: mAP 86.0, Rank-1 90.2.
Not yet run here: this project has no results on MARS.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """BiCnet-TKS's released recipe on MARS."""
    c = packaged_config("mars")
    c.num_epochs = 450
    c.eval_every_epochs = 50
    c.frames_per_clip = 8
    c.batch.identities = 16
    c.batch.max_frame_stride = 4
    c.augment.crop_probability = 0.0
    c.augment.erase_probability = 0.5
    c.model.appearance = "BiC"
    c.model.pose = "none"
    c.model.neck = "batchnorm_all"
    c.loss.triplet_distance = "cosine"
    c.loss.margin = 0.5
    c.loss.label_smoothing = 0.0
    c.optimizer.learning_rate = 3.5e-4
    c.optimizer.decay_every_epochs = 120
    c.evaluation.distance = "normalized"
    return c
