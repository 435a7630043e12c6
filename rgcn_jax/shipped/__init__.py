"""Packaged models, by name: ``rgcn_jax.load("walkers-gait")``.

Each is a model folder as written by ``rgcn-jax export``, with a model card (README.md). They were trained only on
synthetic pedestrians, with the config of the same name in configs/, and contain no personal data.
"""

from pathlib import Path

SHIPPED = ("walkers-gait",)
"""Names of the packaged models."""


def model_path(path: str | Path) -> Path:
    """Resolve a path: the packaged model's folder for a name of ``SHIPPED``, unless the path exists; else the path."""
    path = Path(path).expanduser()
    return Path(__file__).parent / path if is_shipped(path) else path


def is_shipped(path: str | Path) -> bool:
    """Whether a path names a packaged model."""
    return str(path) in SHIPPED and not Path(path).exists()
