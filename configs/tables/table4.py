"""Tables IV (MARS) and V (iLIDS-VID): RGCN and LGCN compared with other temporal graph networks, with AP.

rgcn-jax sweep table4 --dataset=walkers --seeds=0:2 --out=runs/tables

The paper trained MARS on two V100, iLIDS-VID on one. On walkers the pose branches are trained with precomputed features
of AP.
"""

from rgcn_jax.experiments.table import Column, Row, Table, columns

ROWS = (
    ("AP", "none", (81.1, 85.2, 28.30), (87.6, 82.0, 3.00)),
    ("AP+RGCN", "RGCN", (82.6, 87.9, 32.14), (89.4, 84.7, 3.25)),
    ("AP+GCN&RNN", "GCNRNN", (82.3, 87.7, 41.55), (88.5, 84.0, 4.30)),
    ("AP+LGCN", "LGCN", (82.3, 88.0, 38.82), (90.4, 86.0, 3.33)),
    ("AP+GCN&LSTM", "GCNLSTM", (81.8, 86.1, 47.60), (90.3, 85.8, 4.23)),
    ("AP+ST-GCN", "STGCN", (82.3, 86.6, 32.25), (89.3, 84.0, 3.22)),
    ("AP+EvolveGCN-O", "EvolveGCN-O", None, None),
    ("AP+EvolveGCN-H", "EvolveGCN-H", None, None),
    ("AP+EvolveGCN (variant unknown)", None, (81.7, 86.8, 37.36), (86.0, 81.3, 3.30)),
)
"""Name, pose encoder, mAP, Rank-1 and hours of training on MARS and on iLIDS-VID."""

MINUTES = 60


def _row(name: str, pose: str | None, *by_data_set: tuple[float, float, float] | None) -> Row:
    numbers = {
        (data_set, metric): value
        for data_set, values in zip(("mars", "ilids_vid"), by_data_set, strict=True)
        if values
        for metric, value in zip(("mAP", "rank1", "minutes"), (*values[:2], values[2] * MINUTES), strict=True)
    }
    return Row(name, None if pose is None else {"model.appearance": "AP", "model.pose": pose}, numbers)


def get_table() -> Table:
    """Nine rows, including the paper's EvolveGCN, whose variant (-O or -H) it does not state."""
    minutes = (Column("mars", "minutes"), Column("ilids_vid", "minutes"), Column("walkers", "minutes"))
    return Table(
        "Tables IV and V: comparison with the other temporal GCN models",
        (*columns("mars"), minutes[0], *columns("ilids_vid"), minutes[1], *columns("walkers"), minutes[2]),
        tuple(_row(*row) for row in ROWS),
        features_from={"walkers": "AP"},
    )
