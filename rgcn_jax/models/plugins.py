"""Plug-ins: custom model parts, named in the config by import path ("package.module:Name")."""

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from rgcn_jax.errors import InputError, as_input_error


def load_plugin(path: str, field: str, arguments: Iterable[str]) -> Callable[..., Any]:
    """Import the class or function at a path such as "my_package.my_encoder:EveryFrameAlone".

    The module must be on the Python path (in the current directory, or installed). ``field``: config field that holds
    the path. ``arguments``: keyword arguments that it will be called with. Raises InputError if the module cannot be
    imported or lacks the name, or the object cannot be called with the arguments.
    """
    module, _, name = path.partition(":")
    wrong = f"{field} is {path!r}, an import path MODULE:NAME"
    todo = "its folder must be on the Python path (PYTHONPATH)"
    with as_input_error(f"{wrong}, but importing {module!r} fails", todo, Exception):
        found = getattr(importlib.import_module(module), name, None)
    if found is None:
        raise InputError(f"{wrong}, but the module {module!r} has no {name!r}.")
    if not callable(found):
        raise InputError(f"{wrong}, but that is a {type(found).__name__}: expected a class or a function.")
    try:
        inspect.signature(found).bind(**dict.fromkeys(arguments))
    except TypeError as error:
        raise InputError(f"{wrong}, but it cannot be called with {', '.join(arguments)}: {error}.") from error
    return found
