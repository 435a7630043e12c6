"""Strict JSON parsing: duplicate keys in an object are an error.

Python's parser silently keeps the last value, which would lose half of the poses in a file merged from two.
"""

import json
from typing import Any


class DuplicateKey(ValueError):
    """Raised for a duplicate key in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise DuplicateKey(f"the key {twice[:60]!a} occurs twice in an object")
    return found


def parse(text: Any) -> Any:
    """Parse JSON text, or bytes in UTF-8, UTF-16 or UTF-32.

    Raises:
      TypeError: it is neither text nor bytes.
      ValueError: it is invalid (``json.JSONDecodeError``), or an object has a duplicate key (``DuplicateKey``).
      RecursionError: it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object)
