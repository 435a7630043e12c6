"""``ReadAhead``: items are computed from construction on, in order, a few in advance; errors, end and closing."""

import gc
import threading
import time

import pytest

from rgcn_jax.data.clips.ahead import ReadAhead
from tests.threads import named, settles


def numbers(count, computed):
    for number in range(count):
        computed.append(number)
        yield number


def test_it_starts_before_it_is_asked_and_keeps_a_few_ready():
    computed = []
    ahead = ReadAhead(numbers(100, computed), 3, "counter")
    assert settles(lambda: len(computed) == 4)  # three wait, one is in hand
    time.sleep(0.05)
    assert len(computed) == 4
    assert list(ahead) == list(range(100))
    assert next(ahead, None) is None
    assert settles(lambda: not named("counter"))


def test_an_error_comes_in_its_place_and_ends_it():
    def broken():
        yield 1
        raise KeyError("no such frame")

    ahead = ReadAhead(broken(), 2, "counter")
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="no such frame"):
        next(ahead)
    assert next(ahead, None) is None


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_closed_or_dropped_it_ends_the_thread_and_the_generator(end, asked):
    ended = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            ended.set()

    ahead = ReadAhead(endless(), 1, "counter")
    for _ in range(asked):
        next(ahead)
    if end == "closed":
        ahead.close()
        assert next(ahead, None) is None
    else:
        del ahead
        gc.collect()
    assert ended.wait(5)
    assert settles(lambda: not named("counter"))
