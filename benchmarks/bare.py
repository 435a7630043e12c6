"""Stand-in for jaxtyping if it is not installed; import this module before any module of ``rgcn_jax``.

Some GPU machines have jax, flax, optax, numpy and PyTorch, but nothing else can be installed. Benchmarks do not check
the annotations.
"""

import sys
import types
from importlib.util import find_spec


class _Annotation:
    """Replacement for annotations such as ``Float[Array, "b d"]``, without checks."""

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
