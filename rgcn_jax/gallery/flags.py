"""Flags shared by several of the gallery's commands: gallery, filters, points in time."""

import argparse
from argparse import Namespace
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from rgcn_jax.command import Parser, path_argument
from rgcn_jax.gallery.binding import GalleryModel
from rgcn_jax.gallery.entry import Where
from rgcn_jax.gallery.gallery import Gallery


def add_gallery_flag(parser: Parser) -> None:
    """Add the flags ``--gallery`` and ``--files``."""
    where = "folder of the gallery; in Milvus milvus://HOST:PORT/NAME, or FILE.db for Milvus Lite"
    parser.flag("--gallery", where, required=True, type=gallery_argument, metavar="WHERE")
    parser.path("--files", "DIR", "of a gallery in Milvus: folder of crops and the audit log")


def where_is(known: Namespace) -> list[str]:
    """Return the flags that identify the same gallery in another command."""
    return [f"--gallery={known.gallery}", *([f"--files={known.files}"] if known.files else ())]


def gallery_argument(text: str) -> str:
    """Parse a Milvus address, or a path as ``path_argument`` does."""
    return text if "://" in text else str(path_argument(text))


def open_gallery(known: Namespace, model: GalleryModel | None = None) -> Gallery:
    """Open the gallery of ``--gallery``. Raises InputError."""
    return Gallery.open(known.gallery, model, known.files)


def add_filter_flags(parser: Parser) -> None:
    """Add the flags of the conditions of ``Where``. Repeated flags of one kind are alternatives."""
    number: dict[str, Any] = {"least": 0, "most": 2**31 - 1, "action": "append"}
    parser.whole("--id", "entry of this id; may be repeated, as the next ones", dest="ids", **number)
    parser.whole("--person", "entries of this person", dest="persons", **number)
    parser.whole("--in-camera", "entries of this camera", dest="cameras", **number)
    parser.whole("--not-camera", "entries of other cameras", dest="not_cameras", **number)
    parser.flag("--in-source", "entries of this source (see info)", dest="sources", action="append", metavar="NAME")
    parser.flag("--after", "entries seen at or after this time", type=time_argument, metavar="TIME")
    parser.flag("--before", "entries seen at or before this time", type=time_argument, metavar="TIME")
    parser.flag("--min-quality", "entries with at least this quality", type=float, metavar="X")


def where_of(known: Namespace) -> Where:
    """Return the filter given by the flags of ``add_filter_flags``."""
    return Where(**{field.name: getattr(known, field.name, None) for field in fields(Where)})


def entries_text(count: int) -> str:
    """Format a number of entries."""
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def time_argument(text: str) -> float:
    """Parse an ISO 8601 time such as 2026-11-30T09:00+01:00 to seconds since 1970-01-01 UTC.

    A time without an offset is in UTC.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-11-30T09:00, found {text[:100]!r}") from None


def time_text(seconds: float | None) -> str:
    """Format a time in UTC to the second; "-" if unknown."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
    except (ValueError, OverflowError, OSError):  # the year is not in 1 to 9999, in an entry written by other software
        return f"{seconds:g} s"
