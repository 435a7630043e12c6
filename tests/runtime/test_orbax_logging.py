"""What Orbax's background tasks leave behind on a full disk is not printed; what others log and leave is."""

import logging
import sys

import pytest

from rgcn_jax.runtime.orbax_logging import suppress_orbax_logging


def raised_in(filename):
    try:
        exec(compile("raise OSError(28, 'No space left on device')", filename, "exec"), {})
    except OSError:
        return sys.exc_info()


@pytest.mark.parametrize(("filename", "logged"), [("/x/orbax/checkpoint/async_path.py", False), ("/x/mine.py", True)])
def test_a_future_that_nobody_asked_for_its_error(filename, logged):
    suppress_orbax_logging()
    reported = "Future exception was never retrieved"
    record = logging.LogRecord("asyncio", logging.ERROR, "events.py", 1, reported, None, raised_in(filename))
    assert bool(logging.getLogger("asyncio").filter(record)) == logged
