"""Modules without their type, where Linen's annotations say too little of what a method gives."""

from typing import Any

import flax.linen as nn


def untyped(module: nn.Module) -> Any:
    """The module as it is. ``apply`` is said to give a tuple with the variables that changed, ``mutable`` or not."""
    return module
