"""Audit log of a gallery, ``audit.jsonl``: who searched for what and when. Removed entries are erased from it.

Each line is a JSON object with the fields:

- "time": UTC.
- "user" and "address" of the client.
- "action": "search", "export" or "upload".
- "query": {"entry": ID} or {"upload": SHA-256 of its frames}.
- "by", "k" and the conditions of the search.
- "found": ids of the results.
"""

import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rgcn_jax.errors import MALFORMED, as_input_error
from rgcn_jax.gallery.manifest import LOCK_FILE, lock
from rgcn_jax.runtime.files import atomic_file, writing
from rgcn_jax.runtime.json_lines import append_record, open_to_append
from rgcn_jax.runtime.user_files import open_file

AUDIT_FILE = "audit.jsonl"

_LONGEST = 2**20
"""Maximum length of a line in bytes. The line of a search with 200 results takes 4,000 bytes."""


def record(folder: Path, line: Mapping[str, Any]) -> None:
    """Append a line with the current time.

    Args:
      folder: folder of the gallery.
      line: JSON fields of the line.

    Raises:
      InputError: the log cannot be written. The caller must then show no result.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    path = folder / AUDIT_FILE
    with writing(path), lock(folder / LOCK_FILE):
        descriptor = open_to_append(path, 0o600)
        try:
            append_record(descriptor, {"time": now, **line})
        finally:
            os.close(descriptor)


def forget(folder: Path, ids: Collection[int]) -> int:
    """Erase entries from the log: lines whose query is one of them, and their ids in the results of other lines.

    Returns:
      Number of lines changed or erased.

    Raises:
      InputError: the log is corrupt or cannot be written.
    """
    path, gone, changed = folder / AUDIT_FILE, set(ids), 0
    if not gone or not path.exists():
        return 0
    with (
        writing(path),
        lock(folder / LOCK_FILE),
        open_file(path, follow_links=False) as before,
        atomic_file(path) as after,
    ):
        os.fchmod(after.fileno(), 0o600)
        for number, text in enumerate(iter(lambda: before.readline(_LONGEST), b""), 1):
            if len(text) < _LONGEST and not text.endswith(b"\n"):  # incomplete since the disk was full: never shown
                changed += 1
                break
            kept = _without(gone, text, f"line {number} of {path}")
            changed += kept != text
            after.write(kept)
    return changed


def _without(gone: set[int], text: bytes, where: str) -> bytes:
    """Return a line without the entries; empty if its query is one of them."""
    todo = "whom it is about is unknown, so remove the line, then rerun the command"
    with as_input_error(f"{where} is no record", todo, MALFORMED):
        line = json.loads(text)
        queried, found = line.get("query", {}).get("entry"), line.get("found")
    if isinstance(queried, int) and queried in gone:
        return b""
    if isinstance(found, list):
        line["found"] = [i for i in found if not (isinstance(i, int) and i in gone)]
    return json.dumps(line).encode() + b"\n"
