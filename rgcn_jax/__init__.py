"""Video person re-identification with a recurrent graph convolution over poses, in JAX and Flax.

``rgcn_jax.load(path)`` loads a trained model as an ``Embedder`` (``rgcn_jax/embedder.py``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgcn_jax.embedder import Embedder, Embedding, load

__version__ = "0.1.0"

__all__ = ["Embedder", "Embedding", "load"]


def __getattr__(name: str) -> Any:
    """The names of ``__all__``, imported when they are used: JAX takes seconds, which no help page should wait for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rgcn_jax import embedder

    return getattr(embedder, name)
