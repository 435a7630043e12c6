"""Figures 7 (MARS) and 8 (iLIDS-VID): clips of 4, 6, 8 and 10 frames, over AP.

rgcn-jax sweep figure7 --dataset=walkers --seeds=0:2 --out=runs/tables

The paper shows curves; the results for ten frames are in its table III. On walkers the pose branches are trained with
precomputed features of AP on ten frames.
"""

from rgcn_jax.experiments.table import Column, Row, Table, columns, published

TEN_FRAMES = {"RGCN": ((82.6, 87.9), (89.4, 84.7)), "LGCN": ((82.3, 88.0), (90.4, 86.0))}
"""The paper's mAP and Rank-1 on MARS and on iLIDS-VID."""


def get_table() -> Table:
    """Appearance only, followed by eight rows."""
    alone = Row("AP", {"model.pose": "none"}, published(mars=(81.1, 85.2), ilids_vid=(87.6, 82.0)))
    rows = [
        Row(
            f"{pose}, T = {frames}",
            {"model.pose": pose, "frames_per_clip": frames},
            published(mars=mars, ilids_vid=ilids_vid) if frames == 10 else {},
        )
        for pose, (mars, ilids_vid) in TEN_FRAMES.items()
        for frames in (4, 6, 8, 10)
    ]
    pose = (Column("walkers", "mAP", "pose"), Column("walkers", "rank1", "pose"))
    return Table(
        "Figures 7 and 8: impact of the frames of a clip",
        (*columns("mars", "ilids_vid", "walkers"), *pose),
        (alone, *rows),
        features_from={"walkers": "AP"},
    )
