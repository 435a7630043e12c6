"""Strict JSON parsing: an object with a duplicate key is an error.

Python's parser, like most, keeps the last of two values and drops the first: half of the poses of a file that was
joined from two would be lost silently.
"""

import json
from typing import Any


class DuplicateKey(ValueError):
    """A duplicate key in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise DuplicateKey(f"the key {twice[:60]!a} is twice in one object")
    return found


def parse(text: Any) -> Any:
    """The value of a JSON text, of bytes in UTF-8, UTF-16 or UTF-32.

    Raises:
      TypeError: it is neither text nor bytes.
      ValueError: it is no JSON (``json.JSONDecodeError``), or an object has a duplicate key (``DuplicateKey``).
      RecursionError: it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object)
