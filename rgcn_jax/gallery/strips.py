"""A page of ranked strips of frames: one HTML file that loads nothing, with small pictures inside."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from rgcn_jax.data.datasets.images import read_image
from rgcn_jax.errors import InputError, printable
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.gallery.flags import time_text
from rgcn_jax.gallery.gallery import Gallery, Match
from rgcn_jax.runtime.files import write_text

HEIGHT = 96
"""Of a picture in the page, in pixels."""

STYLE = """
body { font: 14px system-ui, sans-serif; margin: 1.5em; background: #fff; color: #222 }
section { margin-bottom: 2.5em } h2 { font-size: 1.1em; overflow-wrap: anywhere }
.row { display: flex; gap: 1em; align-items: center; padding: .4em; border-left: .4em solid #bbb; margin: .3em 0 }
.query { border-color: #222; background: #f2f2f2 } .yes { border-color: #1a7f37 } .no { border-color: #cf222e }
.about { width: 19em; overflow-wrap: anywhere; line-height: 1.35 } .rank { font-weight: 600 }
.strip { display: flex; gap: 2px; flex-wrap: wrap } img { height: 96px } .none { color: #777 }
"""


class Ranking(NamedTuple):
    """A query and what was found, nearest first."""

    query: Entry
    matches: Sequence[Match]


def write_page(path: Path, gallery: Gallery, rankings: Sequence[Ranking], verdict: Mapping[str, Any] | None) -> int:
    """Writes the page atomically.

    Args:
      path: of the file.
      gallery: in whose folder frames may lie.
      rankings: a section each.
      verdict: "fpr" and "threshold" of the verdicts.

    Returns:
      How many frames could not be read; they are left out.

    Raises:
      InputError: the file cannot be written.
    """
    body, missing = [], 0
    for ranking in rankings:
        strip, lost = _strip(gallery, ranking.query)
        missing += lost
        rows = [_row("query", "query", _about(ranking.query), strip)]
        for rank, match in enumerate(ranking.matches, 1):
            strip, lost = _strip(gallery, match.entry)
            missing += lost
            kind = {None: "", True: "yes", False: "no"}[match.same]
            said = {None: "", True: ", same person", False: ", not the same"}[match.same]
            title = f"{rank}. distance {match.distance:.4f}{said}"
            rows.append(_row(kind, title, f"{_about(match.entry)}<br>entry {match.id}", strip))
        body.append(f"<section><h2>{_text(ranking.query.tracklet)}</h2>\n" + "\n".join(rows) + "</section>")
    note = ""
    if verdict:
        note = (
            f"<p>Same person: distance at most {verdict['threshold']:.6g}, calibrated at a false positive rate of "
            f"{verdict['fpr']:g}. A decision about people must not rest on it alone.</p>"
        )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    write_text(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>Gallery search</title><style>{STYLE}</style></head><body>\n<h1>Gallery search</h1>{note}\n"
        + "\n".join(body)
        + "\n</body></html>\n",
    )
    return missing


def _row(kind: str, title: str, about: str, strip: str) -> str:
    return f'<div class="row {kind}"><div class="about"><span class="rank">{title}</span><br>{about}</div>{strip}</div>'


def _about(entry: Entry) -> str:
    """Who, where and when, escaped."""
    parts = [f"person {entry.person_id}" if entry.person_id >= 0 else "", f"camera {entry.camera_id or '?'}"]
    parts += [time_text(entry.start) if entry.start is not None else "", f"{entry.num_frames} frames"]
    return _text(", ".join(part for part in parts if part)) + f"<br>{_text(entry.source)}: {_text(entry.tracklet)}"


def _text(text: str) -> str:
    return html.escape(printable(text))


def _strip(gallery: Gallery, entry: Entry) -> tuple[str, int]:
    """Its pictures, and how many could not be read."""
    pictures, missing = [], 0
    for path in gallery.frame_paths(entry):
        try:
            image = read_image(path)
        except InputError:
            missing += 1
            continue
        height, width = image.shape[:2]
        small = cv2.resize(image, (max(round(width * HEIGHT / height), 1), HEIGHT), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        pictures.append(f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">')
    shown = "".join(pictures) or '<span class="none">no frames at hand</span>'
    return f'<div class="strip">{shown}</div>', missing
