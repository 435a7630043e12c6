"""Iterator whose items a thread computes in advance, starting at construction."""

import queue
import threading
from collections.abc import Generator
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")


class ReadAhead(Generator[Item, None, None]):
    """The items of a generator, computed by a thread: up to ``ahead`` are ready, and one more is in progress.

    An error in the thread is raised when its item is requested. ``close`` ends the thread and waits for it. If the
    iterator is dropped, the thread ends after the item in progress.
    """

    def __init__(self, items: Generator[Item, None, None], ahead: int, name: str):
        self._closed, self._ready, self._ended = threading.Event(), queue.Queue(maxsize=ahead), False
        # A function without a reference to this object: otherwise the thread would keep the object alive.
        arguments = items, self._closed, self._ready
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
        """End the iterator with the error, like a generator that does not catch it."""
        self._end()
        raise error[0]

    def close(self) -> None:
        """End the iterator and wait for its thread, so that no thread runs TensorFlow when the process exits."""
        self._end()
        self._thread.join()

    def __del__(self):
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._closed.set()
        while not self._ready.empty():  # the thread may wait for a free place
            self._ready.get_nowait()


def _work(items: Generator, closed: threading.Event, ready: queue.Queue) -> None:
    error: BaseException = StopIteration()
    try:
        for item in items:
            ready.put((item, None))
            if closed.is_set():
                break
    except BaseException as raised:  # raised again when the item is requested
        error = raised
    finally:
        items.close()
        if not closed.is_set():
            ready.put((None, error))
