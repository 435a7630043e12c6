"""Silence for Orbax, which prints pages, with tracebacks, about what it raises as well and we tell in a sentence."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging as absl_logging


def hush_orbax() -> None:
    """From now on what Orbax logs is dropped, and what asyncio logs of its coroutines."""
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").addFilter(_not_of_orbax)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.getMessage()


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
