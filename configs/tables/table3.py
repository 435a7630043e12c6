"""Table III: RGCN and LGCN with four appearance models.

rgcn-jax sweep table3 --dataset=walkers --seeds=0:2 --out=runs/tables

Both branches are trained together, as in the paper; on walkers the pose branch is trained with precomputed features of
the row's own appearance model. There all rows have the same small ResNet of four stages, as BiCnet-TKS requires, and
few steps: 36 runs (three seeds) take a quarter of an hour on one CPU core.
"""

from rgcn_jax.experiments.table import Row, Table, columns, published

WALKERS = {
    "model.stage_sizes": (1, 1, 1, 1),
    "model.width": 8,
    "frames_per_clip": 6,
    "num_epochs": 4,
    "checkpoint_every_steps": 30,
    "optimizer.decay_every_epochs": 3,
    "optimizer.pose_factor": 5.0,
    "data.walkers.cameras": 3,
    "data.walkers.min_frames": 8,
    "data.walkers.max_frames": 10,
}

PUBLISHED = {
    "AP": ((81.1, 85.2), (87.6, 82.0)),
    "AP+RGCN": ((82.6, 87.9), (89.4, 84.7)),
    "AP+LGCN": ((82.3, 88.0), (90.4, 86.0)),
    "AA": ((73.0, 80.8), (85.2, 78.7)),
    "AA+RGCN": ((76.4, 83.6), (87.3, 81.3)),
    "AA+LGCN": ((76.4, 83.5), (87.8, 80.7)),
    "RA": ((80.7, 85.5), (87.0, 80.7)),
    "RA+RGCN": ((81.8, 86.8), (88.7, 83.3)),
    "RA+LGCN": ((81.9, 87.5), (89.3, 84.7)),
    "BiC": ((86.0, 90.2), (91.1, 88.3)),
    "BiC+RGCN": ((86.0, 90.7), (91.5, 89.6)),
    "BiC+LGCN": ((86.5, 91.1), (91.6, 90.2)),
}
"""The paper's mAP and Rank-1 on MARS and on iLIDS-VID."""


def _row(name: str) -> Row:
    appearance, _, pose = name.partition("+")
    mars, ilids_vid = PUBLISHED[name]
    overrides = {"model.appearance": appearance, "model.pose": pose or "none"}
    return Row(name, overrides, published(mars=mars, ilids_vid=ilids_vid))


def get_table() -> Table:
    """Twelve rows."""
    return Table(
        "Table III: comparison with the appearance models",
        columns("mars", "ilids_vid", "walkers"),
        tuple(map(_row, PUBLISHED)),
        base={"walkers": WALKERS},
        features_from={"walkers": {name: name.partition("+")[0] for name in PUBLISHED}},
    )
