"""Pose inputs with the recipe: RGCN with dual attention, pose only, on walkers: docs/pose-recipe.md.

rgcn-jax sweep recipe_inputs --seeds=0:2 --out=runs/recipe-options
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE
from rgcn_jax.experiments.table import Row, Table

INPUTS = (
    ("crop", 8),
    ("centred", 0),
    ("centred", 8),
    ("centred", 16),
    ("centred+confidence", 8),
    ("centred+velocity", 8),
    ("centred+bones", 8),
)
"""``model.pose_input`` and ``model.keypoint_embedding``; the recipe has "centred" and 8."""


def get_table() -> Table:
    """Seven rows."""
    rows = [
        Row(f"{place}, embedding {size}", {"model.pose_input": place, "model.keypoint_embedding": size})
        for place, size in INPUTS
    ]
    return Table("Pose inputs with the recipe", COLUMNS, tuple(rows), base={"walkers": RECIPE})
