"""Pose encoders and readouts on walkers, with precomputed features of AP: docs/walkers-results.md.

rgcn-jax sweep walkers_models --seeds=0:2 --out=runs/tables

"wide" has f_p of 256 dimensions, so that a node has 128 under DAM, as under the other readouts.
"""

from rgcn_jax.experiments.table import Column, Row, Table

POSES = ("RGCN", "LGCN", "GCNRNN", "GCNLSTM", "STGCN", "EvolveGCN-O", "EvolveGCN-H")
READOUTS = ("mean", "TAM", "NAM", "DAM")


def get_table() -> Table:
    """33 rows."""
    rows = [Row("AP", {"model.pose": "none"})]
    rows += [Row(f"{p} {r}", {"model.pose": p, "model.readout": r}) for p in POSES for r in READOUTS]
    rows += [Row(f"{p} DAM, wide", {"model.pose": p, "model.pose_features": 256}) for p in POSES[:4]]
    columns = tuple(Column("walkers", metric, of) for of in ("pose", "fused") for metric in ("rank1", "mAP"))
    return Table(
        "Pose models and readouts on walkers",
        (*columns, Column("walkers", "minutes")),
        tuple(rows),
        features_from={"walkers": "AP"},
    )
