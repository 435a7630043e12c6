"""The recipe that the tables of docs/pose-recipe.md share, against the configs that it is taken from."""

from rgcn_jax.config_io import packaged_config
from rgcn_jax.experiments.recipe import LITERAL, OPTIONS, RECIPE, TWO_LAYERS, WITHOUT


def values(config, names):
    return {name: config[section][field] for name in names for section, _, field in [name.partition(".")]}


def test_the_recipe_is_that_of_walkers_pose_and_the_literal_branch_that_of_walkers_paper():
    shorter = {"optimizer.warmup_epochs", "optimizer.decay_every_epochs"}  # with other numbers of steps
    chosen = {name for option in OPTIONS.values() for name in option} - shorter
    pose = values(packaged_config("walkers_pose"), [*chosen, *TWO_LAYERS])
    assert pose == {name: (RECIPE | TWO_LAYERS)[name] for name in pose}
    without = {name for option in WITHOUT.values() for name in option} - shorter
    paper = values(packaged_config("walkers_paper"), without)
    assert paper == {name: LITERAL[name] for name in paper}
    assert chosen <= without


def test_each_option_has_its_opposite():
    assert OPTIONS.keys() == WITHOUT.keys()
    for name, option in OPTIONS.items():
        assert all(WITHOUT[name][field] != value for field, value in option.items())
