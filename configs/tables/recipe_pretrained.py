"""Short training of the pose branch of configs/walkers_pose.py from random weights and from "walkers-gait".

With cameras in all directions: docs/pose-recipe.md.

rgcn-jax sweep recipe_pretrained --seeds=100:102 --out=runs/recipe-pretrained

The seeds differ from those with which "walkers-gait" was trained.
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE, TWO_LAYERS
from rgcn_jax.experiments.table import Row, Table

BASE = (
    RECIPE
    | TWO_LAYERS
    | {"model.product": True, "batch.identities": 16, "data.walkers.views": "round", "data.walkers.cameras": 8}
)
STEPS = {30: 1, 100: 2, 300: 4}
"""Steps, and epochs of warm-up among them; an epoch has seven steps."""

START = {"random": "", "walkers-gait": "walkers-gait"}


def get_table() -> Table:
    """Six rows."""
    rows = [
        Row(
            f"{steps} steps from {start}",
            {"num_steps": steps, "num_epochs": 200, "optimizer.warmup_epochs": warmup, "model.pose_pretrained": of},
        )
        for steps, warmup in STEPS.items()
        for start, of in START.items()
    ]
    return Table("Training initialised with walkers-gait", COLUMNS, tuple(rows), base={"walkers": BASE})
