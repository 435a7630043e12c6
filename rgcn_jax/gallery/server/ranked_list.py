"""A ranking as JSON for the web page, and as a CSV or JSON export."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rgcn_jax.gallery.entry import Entry, Match
from rgcn_jax.gallery.flags import time_text

COLUMNS = (
    *("rank", "id", "distance", "same", "mark", "person_id", "camera_id", "start", "end"),
    *("source", "tracklet", "video"),
)


def described(entry: Entry) -> dict[str, Any]:
    """Return the displayed fields of an entry."""
    return {
        "tracklet": entry.tracklet,
        "source": entry.source,
        "person_id": entry.person_id if entry.person_id >= 0 else None,
        "camera_id": entry.camera_id or None,
        "start": None if entry.start is None else time_text(entry.start),
        "end": None if entry.end is None else time_text(entry.end),
        "video": entry.video,
        "num_frames": entry.num_frames,
        "quality": entry.quality,
        "frames": len(entry.frames),
        "keypoints": bool(entry.keypoints),
    }


def rows(matches: Sequence[Match]) -> list[dict[str, Any]]:
    """Return the matches with their ranks, nearest first."""
    return [
        {"rank": rank, "id": m.id, "distance": m.distance, "same": m.same, "entry": described(m.entry)}
        for rank, m in enumerate(matches, 1)
    ]


def to_csv(matches: Sequence[Match], marks: Mapping[int, str]) -> str:
    """Format one line per match. Text that a spreadsheet would read as a formula is prefixed with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows(matches):
        same = {None: "", True: "yes", False: "no"}[row["same"]]
        known = {**row["entry"], **row, "mark": marks.get(row["id"], ""), "same": same}
        writer.writerow([_cell(known[name]) for name in COLUMNS])
    return text.getvalue()


def to_json(head: Mapping[str, Any], matches: Sequence[Match], marks: Mapping[int, str]) -> str:
    """Format the query and the matches with their marks."""
    found = [{**row, "mark": marks.get(row["id"])} for row in rows(matches)]
    return json.dumps({**head, "matches": found}, indent=2) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
