"""Ablation of the recipe: RGCN with dual attention, pose only, on walkers: docs/pose-recipe.md.

rgcn-jax sweep recipe_options --seeds=0:2 --out=runs/recipe-options

Each option added to the paper's pose branch, and removed from the recipe.
"""

from rgcn_jax.experiments.recipe import COLUMNS, LITERAL, OPTIONS, RECIPE, TWO_LAYERS, WITHOUT
from rgcn_jax.experiments.table import Row, Table

PRODUCT = {"model.product": True}


def get_table() -> Table:
    """20 rows."""
    more = {"product": PRODUCT, "two layers, a ReLU each": TWO_LAYERS}
    rows = [Row("paper", LITERAL)]
    rows += [Row(f"paper + {name}", LITERAL | option) for name, option in (OPTIONS | more).items()]
    rows += [Row("recipe", {})]
    rows += [Row(f"recipe - {name}", option) for name, option in WITHOUT.items()]
    rows += [Row(f"recipe + {name}", option) for name, option in more.items()]
    rows += [
        Row("recipe + both", PRODUCT | TWO_LAYERS),
        Row("recipe + both - self term", PRODUCT | TWO_LAYERS | WITHOUT["self term"]),
    ]
    return Table("Ablation of the pose branch's recipe", COLUMNS, tuple(rows), base={"walkers": RECIPE})
