"""Pose inputs of RGCN on walkers, with precomputed features of AP: docs/walkers-results.md.

rgcn-jax sweep walkers_inputs --seeds=0:2 --out=runs/tables
"""

from rgcn_jax.experiments.table import Column, Row, Table

INPUTS = (
    ("crop", 0),
    ("centred", 0),
    ("centred+confidence", 0),
    ("centred+velocity", 0),
    ("centred+bones", 0),
    ("centred+confidence+bones", 0),
    ("centred", 8),
    ("centred+confidence", 8),
    ("centred+confidence+bones", 8),
    ("centred", 16),
)
"""``model.pose_input`` and ``model.keypoint_embedding``."""


def get_table() -> Table:
    """Appearance only, followed by ten rows."""
    rows = [Row("AP", {"model.pose": "none"})]
    for place, embedding in INPUTS:
        name = f"RGCN {place}" + (f" embedding {embedding}" if embedding else "")
        rows.append(Row(name, {"model.pose_input": place, "model.keypoint_embedding": embedding}))
    columns = tuple(Column("walkers", metric, of) for of in ("pose", "fused") for metric in ("rank1", "mAP"))
    return Table("Pose inputs on walkers", columns, tuple(rows), features_from={"walkers": "AP"})
