"""Threads in tests: those of a name, and waiting for a condition."""

import threading
import time


def named(name):
    """The threads of a name that are alive."""
    return [t for t in threading.enumerate() if t.name == name]


def settles(condition, seconds=5.0):
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()
