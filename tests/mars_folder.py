"""A folder in MARS's layout: a few walkers with their OpenPose files; and a run small enough for it."""

from pathlib import Path

from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.write import write as write_walkers

SPEC = WalkersSpec(
    train_identities=4,
    test_identities=4,
    group_size=2,
    cameras=2,
    tracklets_per_camera=2,
    min_frames=3,
    max_frames=5,
    distractors=1,
    junk=1,
)

TINY = (
    "--config.image_height=32",
    "--config.image_width=16",
    "--config.frames_per_clip=3",
    "--config.batch.identities=2",
    "--config.batch.clips_per_identity=2",
    "--config.model.stage_sizes=(1,)",
    "--config.model.width=4",
    "--config.model.pose_features=16",
    "--config.evaluation.clips_per_batch=8",
    "--config.parallel.num_devices=1",
    "--config.num_steps=4",
    "--config.log_every_steps=1",
)


def write(root: Path) -> Path:
    """The data set; returns the folder."""
    write_walkers(generate(SPEC), root, "mars")
    return root


def arguments(root: Path, *others: str) -> list[str]:
    """The command line of a tiny run, of ``rgcn_jax.main`` but for --workdir; what comes later overrides."""
    data = (f"--config.data.root={root}", f"--config.data.keypoints={root}/openpose")
    return ["--config=configs/mars_mini.py", *data, *TINY, *others]
