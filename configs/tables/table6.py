"""Table VI: the readouts mean, time attention, node attention and dual attention, over AP.

rgcn-jax sweep table6 --dataset=walkers --seeds=0:2 --out=runs/tables

f_p has the same dimension in every row, so a node has half of it under DAM. On walkers the pose branches are trained
with precomputed features of AP.
"""

from rgcn_jax.experiments.table import Row, Table, columns, published

PUBLISHED = {
    "RGCN+mean": ((82.1, 86.3), (88.6, 83.3)),
    "RGCN+TAM": ((82.4, 87.1), (88.3, 82.3)),
    "RGCN+NAM": ((82.2, 86.9), (88.6, 84.0)),
    "RGCN+DAM": ((82.6, 87.9), (89.4, 84.7)),
    "LGCN+mean": ((81.5, 86.4), (87.7, 82.3)),
    "LGCN+TAM": ((81.7, 86.8), (90.2, 84.5)),
    "LGCN+NAM": ((81.6, 85.9), (89.0, 84.7)),
    "LGCN+DAM": ((82.3, 88.0), (90.4, 86.0)),
}
"""The paper's mAP and Rank-1 on MARS and on iLIDS-VID."""


def _row(name: str) -> Row:
    pose, _, readout = name.partition("+")
    mars, ilids_vid = PUBLISHED[name]
    return Row(name, {"model.pose": pose, "model.readout": readout}, published(mars=mars, ilids_vid=ilids_vid))


def get_table() -> Table:
    """Appearance only, followed by eight rows."""
    alone = Row("AP", {"model.pose": "none"}, published(mars=(81.1, 85.2), ilids_vid=(87.6, 82.0)))
    return Table(
        "Table VI: validation of the dual-attention mechanism",
        columns("mars", "ilids_vid", "walkers"),
        (alone, *map(_row, PUBLISHED)),
        features_from={"walkers": "AP"},
    )
