"""The error for invalid input, and how names and lists are shown in messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

MALFORMED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""What is raised where a file is read that is damaged or that another program wrote."""


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


@contextmanager
def as_input_error(
    what: str, todo: str = "", kinds: type[Exception] | tuple[type[Exception], ...] = OSError
) -> Iterator[None]:
    """Turns errors of the block into an ``InputError`` with the message "WHAT (reason): TODO.".

    Args:
      what: the thing and what is wrong with it, such as "a.npz cannot be read".
      todo: what the user can do.
      kinds: classes of the errors.
    """
    try:
        yield
    except kinds as error:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        else:
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())  # libraries draw arrows below the place
        raise InputError(f"{what} ({reason}){todo and f': {todo}'}.") from error


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Raises an ImportError of the block as ``InputError`` with the ``pip install`` of the extra that has the library.

    ``what``: what needs which library, such as "Reading prepared data needs array_record".
    """
    try:
        yield
    except ImportError as error:
        raise InputError(f"{what}, which is not installed: pip install 'rgcn_jax[{extra}]'.") from error


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
