"""Clip length in training and evaluation, pose only, on walkers: docs/pose-recipe.md.

rgcn-jax sweep recipe_length --seeds=0:3 --out=runs/recipe

The rows with T = 10 are those of the table recipe_models.
"""

from rgcn_jax.experiments.recipe import RECIPE
from rgcn_jax.experiments.table import Column, Row, Table

POSES = ("RGCN", "LGCN", "GCNRNN", "GCNLSTM")


def get_table() -> Table:
    """Seven rows."""
    rows = [Row(f"{pose}, T = 10", {"model.pose": pose}) for pose in POSES]
    rows += [Row(f"{pose}, T = 20", {"model.pose": pose, "frames_per_clip": 20}) for pose in POSES[:3]]
    columns = [
        Column("walkers", metric, "pose", clips)
        for metric in ("rank1", "mAP")
        for clips in ("even", "interleaved", "full")
    ]
    return Table("Clips and lengths with the recipe", tuple(columns), tuple(rows), base={"walkers": RECIPE})
