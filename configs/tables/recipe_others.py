"""EvolveGCN and ST-GCN with the recipe, pose only, on walkers: docs/pose-recipe.md.

Slow: ST-GCN has ten blocks. They have their own graph convolutions, so there is no self term.

rgcn-jax sweep recipe_others --seeds=0:1 --out=runs/recipe-others
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE, WITHOUT
from rgcn_jax.experiments.table import Row, Table

POSES = ("EvolveGCN-O", "EvolveGCN-H", "STGCN")


def get_table() -> Table:
    """Three rows, with dual attention."""
    rows = tuple(Row(p, {"model.pose": p, "model.readout": "DAM"}) for p in POSES)
    return Table("Other graph networks with the recipe", COLUMNS, rows, base={"walkers": RECIPE | WITHOUT["self term"]})
