"""HTML page of ranked strips of frames: one self-contained file with embedded small images."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rgcn_jax.errors import printable
from rgcn_jax.gallery.entry import Entry, Match
from rgcn_jax.gallery.flags import time_text
from rgcn_jax.gallery.frame_images import jpeg, small_frames
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.runtime.files import write_text

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #222; --edge: #bbb; --mark: #f2f2f2; --dim: #666;
  --yes: #1a7f37; --no: #cf222e }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --text: #e4e6ea; --edge: #555; --mark: #23272e;
  --dim: #a0a4ab; --yes: #3fb950; --no: #f85149 } }
body { font: 14px system-ui, sans-serif; margin: 1.5em; background: var(--back); color: var(--text) }
section { margin-bottom: 2.5em } h2 { font-size: 1.1em; overflow-wrap: anywhere }
.row { display: flex; gap: 1em; align-items: center; padding: .4em; border-left: .4em solid var(--edge);
  margin: .3em 0 }
.query { border-color: var(--text); background: var(--mark) } .yes { border-color: var(--yes) }
.no { border-color: var(--no) } .rank { font-weight: 600 }
.about { flex: none; width: 19em; overflow-wrap: anywhere; line-height: 1.35 }
.strip { display: flex; gap: 2px; flex-wrap: wrap } img { height: 96px } .none { color: var(--dim) }
@media (max-width: 700px) { body { margin: .6em } .row { flex-direction: column; align-items: start; gap: .4em }
  .about { width: auto } .strip { flex-wrap: nowrap; max-width: 100% }
  img { height: auto; min-width: 0; flex: 0 1 48px } }
"""
NO_FRAMES = '<span class="none">no frames available</span>'


class Ranking(NamedTuple):
    """A query and its matches, nearest first."""

    query: Entry
    matches: Sequence[Match]


def write_page(
    path: Path,
    gallery: Gallery,
    rankings: Sequence[Ranking],
    verdict: Mapping[str, Any] | None,
    skeletons: bool = False,
) -> int:
    """Write the page atomically.

    Args:
      path: path of the page.
      gallery: gallery of the matches; its folder may contain frames.
      rankings: one section each.
      verdict: "fpr" and "threshold" of the verdicts.
      skeletons: whether to draw the keypoints stored with the entries.

    Returns:
      Number of unreadable frames, which are omitted.

    Raises:
      InputError: the file cannot be written.
    """
    body, missing = [], 0
    for ranking in rankings:
        shown = [("query", "query", "", ranking.query)]
        for rank, match in enumerate(ranking.matches, 1):
            kind, said = {None: ("", ""), True: ("yes", ", same person"), False: ("no", ", not the same")}[match.same]
            title = f"{rank}. distance {match.distance:.4f}{said}"
            shown.append((kind, title, f"<br>entry {match.id}", match.entry))
        rows = []
        for kind, title, end, entry in shown:
            frames, lost = small_frames(gallery, entry, skeletons)
            missing += lost
            sources = [f"data:image/jpeg;base64,{base64.b64encode(jpeg(frame)).decode()}" for frame in frames]
            images = "".join(f'<img alt="" src="{source}">' for source in sources)
            rows.append(
                f'<div class="row {kind}"><div class="about"><span class="rank">{title}</span><br>{_about(entry)}{end}'
                f'</div><div class="strip">{images or NO_FRAMES}</div></div>'
            )
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
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>Gallery search</title><style>{STYLE}</style></head><body>\n<h1>Gallery search</h1>{note}\n"
        + "\n".join(body)
        + "\n</body></html>\n",
    )
    return missing


def _about(entry: Entry) -> str:
    """Return person, camera, time and source as escaped HTML."""
    parts = [f"person {entry.person_id}" if entry.person_id >= 0 else "", f"camera {entry.camera_id or '?'}"]
    parts += [time_text(entry.start) if entry.start is not None else "", f"{entry.num_frames} frames"]
    return _text(", ".join(part for part in parts if part)) + f"<br>{_text(entry.source)}: {_text(entry.tracklet)}"


def _text(text: str) -> str:
    return html.escape(printable(text))
