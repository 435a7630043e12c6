"""Recurrent pose encoders and readouts with the same recipe, pose only, on walkers: docs/pose-recipe.md.

rgcn-jax sweep recipe_models --seeds=0:3 --out=runs/recipe

f_p has 128 dimensions in every row. RGCN with one layer and a product is GCN&RNN.
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE
from rgcn_jax.experiments.table import Column, Row, Table

POSES = ("RGCN", "LGCN", "GCNRNN", "GCNLSTM")
READOUTS = ("mean", "TAM", "NAM", "DAM")


def get_table() -> Table:
    """17 rows."""
    rows = [Row(f"{p} {r}", {"model.pose": p, "model.readout": r}) for r in reversed(READOUTS) for p in POSES]
    rows += [Row("LGCN DAM, product", {"model.pose": "LGCN", "model.product": True})]
    return Table(
        "Pose encoders and readouts with the recipe",
        (*COLUMNS, Column("walkers", "minutes")),
        tuple(rows),
        base={"walkers": RECIPE},
    )
