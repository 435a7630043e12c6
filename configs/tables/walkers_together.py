"""RGCN and LGCN on walkers with both branches trained together: docs/walkers-results.md.

rgcn-jax sweep walkers_together --seeds=0:2 --out=runs/tables
"""

from rgcn_jax.experiments.table import Column, Row, Table


def get_table() -> Table:
    """Two rows."""
    columns = tuple(Column("walkers", metric, of) for of in ("pose", "fused") for metric in ("rank1", "mAP"))
    rows = tuple(Row(f"{pose} DAM", {"model.pose": pose}) for pose in ("RGCN", "LGCN"))
    return Table("Both branches trained together on walkers", (*columns, Column("walkers", "minutes")), rows)
