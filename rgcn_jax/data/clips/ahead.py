"""Iterator whose items a thread computes in advance, from the moment it is made."""

import os
import queue
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")

_NICENESS = 10
"""A tenth of the share of a thread that does not give way, where both want a core."""


class ReadAhead(Generator[Item, None, None]):
    """The items of a generator, of which a thread keeps ``ahead`` ready and has one more in hand.

    With ``gives_way`` the thread, and all threads that it starts, run at lower priority than the process (Linux): where
    the training step runs on the same cores, items are computed in its gaps and do not hold it up.

    An error in the thread is raised where its item is asked for. ``close`` ends the thread and waits for it; dropped,
    the iterator ends it after the item in hand.
    """

    def __init__(self, items: Generator[Item, None, None], ahead: int, name: str, gives_way: bool = False):
        self._closed, self._ready, self._ended = threading.Event(), queue.Queue(maxsize=ahead), False
        # A function that does not know this object: else the thread would keep it, and it could not be dropped.
        arguments = items, self._closed, self._ready, gives_way
        self._thread = threading.Thread(target=_work, args=arguments, daemon=True, name=name)
        self._thread.start()

    def send(self, value: None) -> Item:
        """The next item; waits for it."""
        if self._ended:
            raise StopIteration
        item, error = self._ready.get()
        if error is not None:
            self._ended = True
            raise error
        return item

    def throw(self, *error: Any) -> NoReturn:
        """Ends the iterator, as a generator that does not catch the error."""
        self._end()
        raise error[0]

    def close(self) -> None:
        """Ends the iterator and its thread: at the end of the process no thread is within TensorFlow."""
        self._end()
        self._thread.join()

    def __del__(self):
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._closed.set()
        while not self._ready.empty():  # the thread may wait for a free place
            self._ready.get_nowait()


def _work(items: Generator, closed: threading.Event, ready: queue.Queue, gives_way: bool) -> None:
    if gives_way and sys.platform == "linux":  # elsewhere a thread has no priority of its own
        thread = threading.get_native_id()
        with suppress(OSError):  # where a sandbox forbids it
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)
    error: BaseException = StopIteration()
    try:
        for item in items:
            ready.put((item, None))
            if closed.is_set():
                break
    except BaseException as raised:  # passed on, and raised where the item is asked for
        error = raised
    finally:
        items.close()
        if not closed.is_set():
            ready.put((None, error))
