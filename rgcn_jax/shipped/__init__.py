"""Models that are part of the package, by their names: ``rgcn_jax.load("walkers-gait")``.

Each is a model folder as ``rgcn-jax export`` writes it, with a model card, README.md. They were trained on generated
people alone, by the config of the same name in configs/; no real person's data are in them.
"""

from pathlib import Path

SHIPPED = ("walkers-gait",)
"""The names."""


def model_path(path: str | Path) -> Path:
    """The folder that is meant: the path itself; or, for a name of ``SHIPPED`` where the current folder has nothing of
    that name, the model folder in the package.
    """
    path = Path(path).expanduser()
    return Path(__file__).parent / path if is_shipped(path) else path


def is_shipped(path: str | Path) -> bool:
    """Whether a path means a model of the package."""
    return str(path) in SHIPPED and not Path(path).exists()
