"""Silence for a library that prints pages about what is told in a sentence."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unraisable_dropped() -> Iterator[None]:
    """Drops the exceptions that Python can only print: those of coroutines that were given up, which come by the
    hundred where arrays cannot be read.

    Catch what the block raises within it, and collect the coroutines there (``gc.collect``): they tell when they go.
    """
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = before
