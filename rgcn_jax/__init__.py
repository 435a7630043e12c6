"""Video person re-identification with a recurrent graph convolution over poses, in JAX and Flax.

``rgcn_jax.load(path)`` loads a trained model as an ``Embedder`` (``rgcn_jax/embedder.py``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgcn_jax.embedder import Embedder, Embedding, load

__version__ = "0.1.0"

__all__ = ["Embedder", "Embedding", "load"]


def __getattr__(name: str) -> Any:
    """Import the names of ``__all__`` on first use, so that ``import rgcn_jax`` does not import JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rgcn_jax import embedder

    return getattr(embedder, name)
