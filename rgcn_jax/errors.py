"""The error for invalid input, and how names and lists are shown in messages."""

from collections.abc import Sequence


class InputError(ValueError):
    """Raised for invalid input (config, data, files) that the user can fix.

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


def listed(names: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """The first few names or clauses of a list, and how many more there are.

    Args:
      names: what is listed.
      most: how many are shown.
      separator: ", " between names, "; " between clauses.

    Example::

        >>> listed(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
        'a.jpg, b.jpg, c.jpg and 1 more'
        >>> listed(["a is empty", "b is missing"], most=1, separator="; ")
        'a is empty; and 1 more'
    """
    shown, left = separator.join(names[:most]), len(names) - most
    conjunction = " and" if separator == ", " else f"{separator}and"
    return f"{shown}{conjunction} {left:,} more" if left > 0 else shown
