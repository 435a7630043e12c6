"""Silence for a library that prints pages about what is told in a sentence."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unraisable_dropped() -> Iterator[None]:
    """Drops the exceptions that Python can only print: those of coroutines that were given up, which come by the
    hundred where arrays cannot be read.

    Catch what the block raises within it: coroutines are collected at its end, where there were any.
    """
    dropped = []
    before, sys.unraisablehook = sys.unraisablehook, lambda _: dropped.append(True)
    try:
        yield
    finally:
        if dropped:
            gc.collect()
        sys.unraisablehook = before
