"""Figures 5 (MARS) and 6 (iLIDS-VID): one to four graph layers, over AP.

rgcn-jax sweep figure5 --dataset=walkers --seeds=0:2 --out=runs/tables

The paper shows curves; the results for one layer are in its table III. On walkers the pose branches are trained with
precomputed features of AP.
"""

from rgcn_jax.experiments.table import Column, Row, Table, columns, published

ONE_LAYER = {"RGCN": ((82.6, 87.9), (89.4, 84.7)), "LGCN": ((82.3, 88.0), (90.4, 86.0))}
"""The paper's mAP and Rank-1 on MARS and on iLIDS-VID."""


def get_table() -> Table:
    """Appearance only, followed by eight rows."""
    alone = Row("AP", {"model.pose": "none"}, published(mars=(81.1, 85.2), ilids_vid=(87.6, 82.0)))
    rows = [
        Row(
            f"{pose}, {layers} layer{'s' if layers > 1 else ''}",
            {"model.pose": pose, "model.graph_layers": layers},
            published(mars=mars, ilids_vid=ilids_vid) if layers == 1 else {},
        )
        for pose, (mars, ilids_vid) in ONE_LAYER.items()
        for layers in (1, 2, 3, 4)
    ]
    pose = (Column("walkers", "mAP", "pose"), Column("walkers", "rank1", "pose"))
    return Table(
        "Figures 5 and 6: impact of the graph convolutional layers",
        (*columns("mars", "ilids_vid", "walkers"), *pose),
        (alone, *rows),
        features_from={"walkers": "AP"},
    )
