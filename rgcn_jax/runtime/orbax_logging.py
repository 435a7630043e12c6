"""Suppress Orbax's logging of errors that it also raises and that we report ourselves."""

import logging
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from absl import logging as absl_logging


def suppress_orbax_logging() -> None:
    """Suppress Orbax's logging, and Python's messages about its abandoned coroutines: hundreds of lines if arrays
    cannot be read or written.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").addFilter(_is_not_from_orbax)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    raised_at = record.exc_info[2] if record.exc_info else None
    return "orbax" not in record.getMessage() and not _passes_orbax(raised_at)


def _passes_orbax(trace: TracebackType | None) -> bool:
    return any(f"{os.sep}orbax{os.sep}" in frame.filename for frame in traceback.extract_tb(trace))


class _Hook:
    """Hook for unraisable exceptions that ignores those from Orbax or its closed event loop."""

    def __init__(self, before: Any):
        self._before = before

    def __call__(self, unraisable: Any) -> None:
        if _passes_orbax(unraisable.exc_traceback) or str(unraisable.exc_value) == "Event loop is closed":
            return
        self._before(unraisable)
