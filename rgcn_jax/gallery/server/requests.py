"""Validation of the web page's requests: searches with conditions, and the marks of an export."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rgcn_jax.errors import InputError
from rgcn_jax.gallery.binding import By
from rgcn_jax.gallery.entry import Where
from rgcn_jax.gallery.flags import time_argument

MAX_RESULTS = 200
MARKS = ("right", "wrong")
MAX_NUMBER = 1e9
"""Largest accepted weight or pixel value."""


@dataclass(frozen=True)
class SearchRequest:
    """A search. Exactly one of ``entry`` and ``upload`` is the query."""

    entry: int | None
    upload: str | None
    by: By
    k: int
    where: Where
    log: Mapping[str, Any]
    """The conditions for the audit log."""


def search_request(data: Any) -> SearchRequest:
    """Parse a search from a JSON object.

    Its fields are "query" ({"entry": ID} or {"upload": NAME}), "by" and "k", and the conditions "cameras",
    "not_cameras", "after" and "before".

    Raises:
      InputError: a field is invalid or unknown.
    """
    fields = dict(_object(data, "the search"))
    query = _object(fields.pop("query", None), "query")
    if len(query) != 1 or not ({*query} <= {"entry", "upload"}):
        raise InputError(f'query is {sorted(query)}: expected "entry" or "upload".')
    entry, upload = query.get("entry"), query.get("upload")
    if entry is not None and not _whole(entry, 1):
        raise InputError(f"query.entry is {str(entry)[:40]!r}: expected the id of an entry.")
    if upload is not None and not isinstance(upload, str):
        raise InputError("query.upload: expected a text.")
    k = fields.pop("k", 20)
    if not _whole(k, 1) or k > MAX_RESULTS:
        raise InputError(f"k is {str(k)[:40]!r}: expected a whole number from 1 to {MAX_RESULTS}.")
    by = _by(fields.pop("by", "fused"))
    where, log = conditions(fields)
    if fields:
        raise InputError(f"the search has no field {min(fields)!r}.")
    return SearchRequest(entry, upload, by, k, where, log)


def marks_of(data: Any) -> dict[int, str]:
    """Parse marks by entry id from a JSON object of strings. Raises InputError."""
    found = {}
    for name, mark in _object(data, "marks").items():
        if not re.fullmatch("[0-9]{1,18}", name) or mark not in MARKS:
            raise InputError(f"marks: expected an id and one of {', '.join(MARKS)}, found {name[:40]!r}.")
        found[int(name)] = mark
    return found


def box_of(data: Any, width: int, height: int) -> list[float]:
    """Parse left, top, width and height in an image. Raises InputError if the box is outside the image or too small."""
    if not isinstance(data, list) or len(data) != 4 or not all(_number(value) for value in data):
        raise InputError("box: expected left, top, width and height in pixels.")
    left, top, wide, high = box = [float(value) for value in data]
    if wide < 8 or high < 16 or left < 0 or top < 0 or left + wide > width + 1 or top + high > height + 1:
        raise InputError(f"box: expected one of at least 8 x 16 pixels inside of the image of {width} x {height}.")
    return box


def conditions(fields: Any) -> tuple[Where, dict[str, Any]]:
    """Remove the conditions of a search from a JSON object. Return the filter, and the conditions for the audit log.

    Raises:
      InputError: a condition is invalid.
    """
    _object(fields, "the conditions")
    known, log = {}, {}
    for name in ("cameras", "not_cameras"):
        value = fields.pop(name, None)
        if value is not None:
            if not isinstance(value, list) or not all(_whole(camera, 0) for camera in value):
                raise InputError(f"{name}: expected a list of numbers of cameras.")
            known[name] = log[name] = value
    for name in ("after", "before"):
        value = fields.pop(name, None)
        if value:
            try:
                known[name] = time_argument(str(value))
            except argparse.ArgumentTypeError as error:
                raise InputError(f"{name}: {error}.") from error
            log[name] = str(value)[:40]
    return Where(**known), log


def _by(value: Any) -> By:
    if isinstance(value, str):
        return value[:20]
    if isinstance(value, list) and len(value) == 2 and all(_number(weight) for weight in value):
        return float(value[0]), float(value[1])
    raise InputError('by: expected "fused", "appearance", "pose" or two weights.')


def _object(data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{what}: expected a JSON object.")
    return data


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**62


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER
