"""The error for invalid input, and how names and lists are shown in messages. Imports nothing of ours."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something that the user handed over is wrong and the user can mend it.

    The message is one sentence or two: the thing, what was expected, what was found, what to do. The commands print it
    without a traceback and exit with status 2.

    Args:
      message: the sentence; of many files that are wrong it names the first few.
      names: all of them then, as clauses such as "a/b.jpg is empty", for whoever wants a list.
    """

    def __init__(self, message: str = "", names: Sequence[str] = ()):
        super().__init__(message)
        self.names = tuple(names)


def printable(text: str) -> str:
    """The text with what could steer a terminal or forge a name, control characters and marks of writing direction,
    or bytes that are no text, written as their numbers; lines stay lines. What commands print passes through it.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
