"""What Orbax's background tasks leave behind on a full disk is not printed; what others log and leave is."""

import logging

import pytest

from rgcn_jax.runtime.orbax_logging import hush_orbax


def raised_in(filename):
    try:
        exec(compile("raise OSError(28, 'No space left on device')", filename, "exec"), {})
    except OSError as error:
        return error


@pytest.mark.parametrize(("filename", "logged"), [("/x/orbax/checkpoint/async_path.py", 0), ("/x/mine.py", 1)])
def test_a_future_that_nobody_asked_for_its_error(filename, logged, caplog):
    hush_orbax()
    with caplog.at_level(logging.ERROR, "asyncio"):
        logging.getLogger("asyncio").error("Future exception was never retrieved", exc_info=raised_in(filename))
    assert len(caplog.records) == logged
