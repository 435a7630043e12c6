"""Lets the models be imported where jaxtyping is not installed: import this module before anything of ``rgcn_jax``.

Some machines with a GPU have jax, flax, optax, numpy and PyTorch and no way to install more. The annotations are not
checked by a benchmark anyhow, so a stand-in of the names that the package uses will do.
"""

import sys
import types
from importlib.util import find_spec


class _Annotation:
    """``Float[Array, "b d"]`` and its like: anything may be asked of it, nothing is checked."""

    def __class_getitem__(cls, _: object) -> type:
        return cls


def _name(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Annotation


if find_spec("jaxtyping") is None:
    stand_in = types.ModuleType("jaxtyping")
    stand_in.__getattr__ = _name
    sys.modules["jaxtyping"] = stand_in
