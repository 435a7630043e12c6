"""Number of graph layers, 1 to 4, with and without the self term, pose only, on walkers: docs/pose-recipe.md.

With a ReLU after every layer.

rgcn-jax sweep recipe_depth --seeds=0:2 --out=runs/recipe-options
"""

from rgcn_jax.experiments.recipe import COLUMNS, RECIPE
from rgcn_jax.experiments.table import Row, Table


def _row(layers: int, self_term: bool) -> Row:
    name = f"{layers} layer{'s' if layers > 1 else ''}, {'self term' if self_term else 'no self term'}"
    more = {
        "model.graph_relu_each_layer": layers > 1
    }  # no effect with one layer, whose run is shared with another table
    return Row(name, {"model.graph_layers": layers, "model.graph_self": self_term, **more})


def get_table() -> Table:
    """Eight rows."""
    rows = tuple(_row(layers, self_term) for self_term in (True, False) for layers in (1, 2, 3, 4))
    return Table("Graph layers of RGCN with the recipe", COLUMNS, rows, base={"walkers": RECIPE})
