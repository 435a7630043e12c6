"""Iterator whose items a thread computes in advance, from the moment it is made."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Iterator[Item], Generic[Item]):
    """The items of a generator, of which a thread keeps ``ahead`` ready and has one more in hand.

    An error in the thread is raised where its item is asked for. ``close``, or dropping the iterator, ends the thread
    after the item in hand.
    """

    def __init__(self, items: Generator[Item, None, None], ahead: int, name: str):
        self._closed, self._ready, self._ended = threading.Event(), queue.Queue(maxsize=ahead), False
        # A function that does not know this object: else the thread would keep it, and it could not be dropped.
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
        """Ends the thread soon, and the iterator at once."""
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
    except BaseException as raised:  # passed on, and raised where the item is asked for
        error = raised
    finally:
        items.close()
        if not closed.is_set():
            ready.put((None, error))
