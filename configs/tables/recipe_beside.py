"""The pose recipe with precomputed appearance features of AP, on walkers: docs/pose-recipe.md.

rgcn-jax sweep recipe_beside --seeds=0:2 --out=runs/recipe-beside

The learning rate of the pose branch is five times that of the rest.
"""

from rgcn_jax.experiments.recipe import BESIDE
from rgcn_jax.experiments.table import Column, Row, Table

LARGE = {"batch.identities": 16, "num_epochs": 128, "optimizer.warmup_epochs": 12}
"""The same number of steps with twice the clips."""


def get_table() -> Table:
    """Appearance only, followed by six rows."""
    rows = [
        Row("AP", {"model.pose": "none"}),
        Row("paper, RGCN", {}),
        Row("RGCN", BESIDE),
        Row("RGCN, lambda 0.5", BESIDE | {"loss.appearance_weight": 0.5}),
        Row("RGCN, lambda 1.0", BESIDE | {"loss.appearance_weight": 1.0}),
        Row("GCNRNN", BESIDE | {"model.pose": "GCNRNN"}),
        Row("GCNRNN, 16 x 4 clips", BESIDE | LARGE | {"model.pose": "GCNRNN"}),
    ]
    columns = [
        Column("walkers", metric, of, clips)
        for of in ("pose", "fused")
        for clips in ("", "full")
        for metric in ("rank1", "mAP")
    ]
    return Table("The recipe with appearance features", tuple(columns), tuple(rows), features_from={"walkers": "AP"})
