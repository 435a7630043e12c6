"""Iterator whose items a thread computes in advance, starting at construction."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Iterator[Item], Generic[Item]):
    """The items of a generator, computed by a thread: up to ``ahead`` are ready, and one more is in progress.

    An error in the thread is raised when its item is requested. ``close``, or dropping the iterator, ends the thread
    after the item in progress.
    """

    def __init__(self, items: Generator[Item, None, None], ahead: int, name: str):
        self._closed, self._ready, self._ended = threading.Event(), queue.Queue(maxsize=ahead), False
        # A function without a reference to this object: otherwise the thread would keep the object alive.
        work = threading.Thread(target=_work, args=(items, self._closed, self._ready), daemon=True, name=name)
        work.start()

    def __next__(self) -> Item:
        """The next item; waits for it."""
        if self._ended:
            raise StopIteration
        item, error = self._ready.get()
        if error is not None:
            self._ended = True
            raise error
        return item

    def close(self) -> None:
        """End the iterator at once, and the thread after its current item."""
        self._ended = True
        self._closed.set()
        while not self._ready.empty():  # the thread may wait for a free place
            self._ready.get_nowait()

    def __del__(self):
        self.close()


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
