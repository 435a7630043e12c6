"""The packaged pose encoder "walkers-gait", trained on synthetic pedestrians in views from all directions.

    rgcn-jax train --config=configs/walkers_gait.py --workdir=runs/gait

Pose only, without frames; some minutes on one core. See docs/gait.md for its results and limits.
"""

from ml_collections import ConfigDict

from rgcn_jax.config_io import packaged_config


def get_config() -> ConfigDict:
    """The recipe of configs/walkers_pose.py with more persons, more views, a worse detector and longer clips."""
    c = packaged_config("walkers_pose")
    c.model.last_stride = 1  # without effect; equals the packaged model's config
    w = c.data.walkers
    w.train_identities, w.test_identities, w.group_size = 240, 60, 1
    w.cameras, w.views = 8, "round"
    w.min_frames, w.max_frames = 24, 60
    w.speed_variation, w.slowing, w.turning = 0.1, 0.1, 5.0
    w.posture_changes = 0.1
    w.self_occlusion, w.keypoint_noise, w.swaps = 1.0, 0.4, 0.04
    w.neck_from_shoulders = 0.5
    c.frames_per_clip = 20
    c.batch.max_frame_stride = 3
    c.augment.crop_probability = 0.0  # "centred" removes position and size
    k = c.augment.keypoints
    k.drop_probability, k.drop_share = 0.3, 0.15
    k.jitter_probability, k.jitter = 0.3, 0.005
    k.aspect_probability, k.aspect = 0.3, 0.05
    k.swap_probability = 0.05
    k.stretch_probability, k.stretch = 0.5, 1.3
    c.num_epochs = 140  # 15 steps each
    c.optimizer.warmup_epochs = 8
    return c
