"""The audit log of a gallery, ``audit.jsonl``: who searched for what and when; removed entries are erased from it.

A line is a JSON object: "time" (UTC), "user", "address", "action" ("search", "export", "upload"), "query" ({"entry":
ID} or {"upload": SHA-256 of its frames}), the conditions of the search, and "found", the ids of what was shown.
"""

import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rgcn_jax.errors import MALFORMED, as_input_error
from rgcn_jax.gallery.manifest import lock
from rgcn_jax.runtime.files import atomic_file, writing
from rgcn_jax.runtime.json_lines import append_record, open_to_append
from rgcn_jax.runtime.user_files import open_file

AUDIT_FILE = "audit.jsonl"

_LONGEST = 2**20
"""Bytes of a line; a search that finds 200 entries takes 4,000."""


def record(folder: Path, line: Mapping[str, Any]) -> None:
    """Appends a line with the present time.

    Args:
      folder: of the gallery.
      line: what is to be known later, JSON.

    Raises:
      InputError: it cannot be written: then nothing must be shown.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    path = folder / AUDIT_FILE
    with writing(path), lock(folder):
        descriptor = open_to_append(path, 0o600)
        try:
            append_record(descriptor, {"time": now, **line})
        finally:
            os.close(descriptor)


def forget(folder: Path, ids: Collection[int]) -> int:
    """Erases entries: the lines whose query they were, and their ids among what others found.

    Returns:
      How many lines were changed or erased.

    Raises:
      InputError: the log is damaged or cannot be written.
    """
    path, gone, changed = folder / AUDIT_FILE, set(ids), 0
    if not gone or not path.exists():
        return 0
    with writing(path), lock(folder), open_file(path, follow_links=False) as before, atomic_file(path) as after:
        os.fchmod(after.fileno(), 0o600)
        for number, text in enumerate(iter(lambda: before.readline(_LONGEST), b""), 1):
            if len(text) < _LONGEST and not text.endswith(b"\n"):  # the disk was full: it was never shown
                changed += 1
                break
            line = _without(_parsed(path, number, text), gone)
            kept = b"" if line is None else json.dumps(line).encode() + b"\n"
            changed += kept != text
            after.write(kept)
    return changed


def _parsed(path: Path, number: int, text: bytes) -> dict[str, Any]:
    with as_input_error(
        f"line {number} of {path} is no record",
        "whom it is about is unknown, so remove the line, then rerun the command",
        MALFORMED,
    ):
        line = json.loads(text)
        if not isinstance(line, dict) or not isinstance(line.get("query", {}), dict):
            raise ValueError("not a JSON object")
    return line


def _without(line: dict[str, Any], gone: set[int]) -> dict[str, Any] | None:
    if _is_in(line.get("query", {}).get("entry"), gone):
        return None
    if isinstance(found := line.get("found"), list):
        return {**line, "found": [i for i in found if not _is_in(i, gone)]}
    return line


def _is_in(entry: Any, gone: set[int]) -> bool:
    return isinstance(entry, int) and entry in gone
