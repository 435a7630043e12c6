"""Recurrent pose encoders with every readout and the same recipe, pose alone, on walkers: docs/pose-recipe.md.

rgcn-jax sweep recipe_models --seeds=0:3 --out=runs/recipe

f_p has 128 dimensions unless a row says otherwise. RGCN with one layer and a product is GCN&RNN.
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE
from rgcn_jax.experiments.table import Column, Row, Table

POSES = ("RGCN", "LGCN", "GCNRNN", "GCNLSTM")
READOUTS = ("mean", "TAM", "NAM", "DAM")


def get_table() -> Table:
    """19 rows."""
    rows = [Row(f"{p} {r}", {"model.pose": p, "model.readout": r}) for r in reversed(READOUTS) for p in POSES]
    rows += [Row("LGCN DAM, product", {"model.pose": "LGCN", "model.product": True})]
    rows += [Row(f"{p} DAM, f_p of 256", {"model.pose": p, "model.pose_features": 256}) for p in ("RGCN", "GCNRNN")]
    return Table(
        "Pose encoders and readouts with the recipe",
        (*COLUMNS, Column("walkers", "minutes")),
        tuple(rows),
        base={"walkers": RECIPE},
    )
