"""One to four graph layers with and without the self term, a ReLU after each, pose alone, on walkers:
docs/pose-recipe.md.

rgcn-jax sweep recipe_depth --seeds=0:2 --out=runs/recipe-options
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE
from rgcn_jax.experiments.table import Row, Table


def _row(layers: int, self_term: bool) -> Row:
    name = f"{layers} layer{'s' if layers > 1 else ''}, {'self term' if self_term else 'no self term'}"
    more = {"model.graph_relu_each_layer": layers > 1}  # of one layer it is the same, and the run of another table
    return Row(name, {"model.graph_layers": layers, "model.graph_self": self_term, **more})


def get_table() -> Table:
    """Eight rows."""
    rows = tuple(_row(layers, self_term) for self_term in (True, False) for layers in (1, 2, 3, 4))
    return Table("Graph layers of RGCN with the recipe", COLUMNS, rows, base={"walkers": RECIPE})
