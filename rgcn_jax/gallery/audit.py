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
from rgcn_jax.runtime.handed_over import open_file

AUDIT_FILE = "audit.jsonl"


def record(folder: Path, line: Mapping[str, Any]) -> None:
    """Appends a line with the present time.

    Args:
      folder: of the gallery.
      line: what is to be known later, JSON.

    Raises:
      InputError: it cannot be written: then nothing must be shown.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = json.dumps({"time": now, **line}) + "\n"
    path = folder / AUDIT_FILE
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with writing(path), lock(folder):
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())


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
        for number, text in enumerate(before, 1):
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
    if line.get("query", {}).get("entry") in gone:
        return None
    if isinstance(found := line.get("found"), list):
        return {**line, "found": [i for i in found if i not in gone]}
    return line
