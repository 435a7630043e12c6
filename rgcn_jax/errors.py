"""``InputError``, the exception for invalid input, and helpers to format its messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

MALFORMED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""Exceptions that parsing a damaged or foreign file may raise."""


class InputError(ValueError):
    """Raised for invalid input (config, data, files) that the user can fix.

    The message names the thing, what was expected, what was found and what to do. Commands print it without a traceback
    and exit with status 2.

    Args:
      message: one or two sentences; where many files are wrong, it names the first few.
      names: the full list of errors, as clauses such as "a/b.jpg is empty".
    """

    def __init__(self, message: str = "", names: Sequence[str] = ()):
        super().__init__(message)
        self.names = tuple(names)


class NotFoundError(InputError):
    """Raised for a named object that does not exist, or is no longer kept, such as an entry of a gallery."""


@contextmanager
def as_input_error(
    what: str, todo: str = "", kinds: type[Exception] | tuple[type[Exception], ...] = OSError
) -> Iterator[None]:
    """Convert exceptions of the block to an ``InputError`` with the message "WHAT (reason): TODO.".

    Args:
      what: the thing and what is wrong with it, such as "a.npz cannot be read".
      todo: what the user can do.
      kinds: exception classes to convert.
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
    """Convert an ImportError of the block to an ``InputError`` that states the extra to install.

    ``what``: what needs which library, such as "Reading prepared data needs array_record".
    """
    try:
        yield
    except ImportError as error:
        raise InputError(f"{what}, which is not installed: pip install 'rgcn_jax[{extra}]'.") from error


def printable(text: str) -> str:
    """Escape characters that could control a terminal or disguise a name; line breaks are kept.

    These are control characters, bidirectional marks and undecodable bytes. All output of the commands passes through
    it.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def listed(names: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """Join the first few names or clauses of a list, followed by the number of the rest.

    Args:
      names: the list.
      most: number of names to show.
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
