"""ST-GCN and EvolveGCN with the recipe, pose alone, on walkers: docs/pose-recipe.md. ST-GCN takes ten times as long as
RGCN.

rgcn-jax sweep recipe_others --seeds=0:1 --out=runs/recipe-others

Their graph convolutions are their own: no self term. ST-GCN also without the standardised input, for its first layer
is such a normalisation.
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE, WITHOUT
from rgcn_jax.experiments.table import Row, Table

POSES = ("STGCN", "EvolveGCN-O", "EvolveGCN-H")


def get_table() -> Table:
    """Six rows."""
    rows = tuple(Row(f"{p} {r}", {"model.pose": p, "model.readout": r}) for p in POSES for r in ("mean", "DAM"))
    return Table("Other graph networks with the recipe", COLUMNS, rows, base={"walkers": RECIPE | WITHOUT["self term"]})
