"""Rank lists of a report as HTML: strips of frames of the query and its nearest tracklets, one line per row."""

from collections.abc import Mapping, Sequence

from rgcn_jax.data.clips.reader import Data
from rgcn_jax.report.page import text
from rgcn_jax.report.rank_lists import Hit, RankList
from rgcn_jax.report.reported_run import ReportedRun
from rgcn_jax.report.thumbnails import HEIGHT, strips

FRAMES = 3
"""Number of frames in the strip of a tracklet."""

MAX_BYTES = 9_000_000
"""Maximum size of all images; with plotly.js (4.8 MB) the page stays below 15 MB."""


def with_images(run: ReportedRun, lists: Sequence[RankList], data: Data | None) -> tuple[list[RankList], str]:
    """Select the rank lists whose images fit, and create CSS with one image per tracklet in them.

    ``data``: the data set opened with frames; None: no images, so all lists fit.

    Raises:
      InputError: a frame cannot be read.
    """
    if data is None:
        return list(lists), ""
    order: dict[int, int] = {}  # tracklet -> index of the first list that needs it
    for number, found in enumerate(lists):
        for tracklet in (found.query, *(hit.tracklet for hits in found.hits.values() for hit in hits)):
            order.setdefault(tracklet, number)
    width = round(HEIGHT * data.shape[1] / data.shape[0]) * FRAMES
    rules, size, fitting = [f".strip {{ width: {width + 6}px; height: {HEIGHT + 6}px }}"], 0, len(lists)
    for tracklet, uri in zip(order, strips(data, [run.tracklets[t] for t in order], FRAMES), strict=True):
        size += len(uri)
        if size > MAX_BYTES:
            fitting = order[tracklet]
            break
        rules.append(f".t{tracklet} {{ background-image: url({uri}) }}")
    return list(lists[:fitting]), "\n".join(rules)


def rank_section(run: ReportedRun, lists: Sequence[RankList], images: bool) -> str:
    """HTML of the filters and a card for each query."""
    found = run.evaluation.features
    cameras = sorted({int(found.embeddings.camera_ids[r.query]) for r in lists})
    pairs = sorted({_pair(run, r) for r in lists})
    choices = {
        "order": (
            "order",
            [("gain", "largest gain first"), ("loss", "largest loss first"), ("camera", "query camera")],
        ),
        "which": ("show", [("", "all queries"), ("gains", "gains"), ("losses", "losses")]),
        "camera": ("query camera", [("", "all"), *((str(c), str(c)) for c in cameras)]),
        "pair": ("camera pair", [("", "all"), *((f"{a}-{b}", f"{a} → {b}") for a, b in pairs)]),
    }
    filters = "".join(
        f'<label>{label} <select id="{name}">'
        + "".join(f'<option value="{value}">{shown}</option>' for value, shown in options)
        + "</select></label>"
        for name, (label, options) in choices.items()
    )
    count = f'<span class="soft"><span id="shown">{len(lists)}</span> of {len(lists)} queries</span>'
    cards = "".join(_card(run, one, images) for one in lists)
    return f'<div class="filters">{filters}{count}</div><div id="lists">{cards}</div>'


def _pair(run: ReportedRun, found: RankList) -> tuple[int, int]:
    """Camera of the query, and of the nearest tracklet in the last row; 0 if nothing was found."""
    cameras = run.evaluation.features.embeddings.camera_ids
    hits = found.hits[run.rows[-1]]
    return int(cameras[found.query]), int(cameras[hits[0].tracklet]) if hits else 0


def _card(run: ReportedRun, found: RankList, images: bool) -> str:
    features = run.evaluation.features
    camera, other = _pair(run, found)
    gain, direction = round(100 * found.gain), "up" if found.gain > 0 else "down" if found.gain < 0 else ""
    shown = f'<span class="gain {direction}">AP {gain:+d} by pose</span>' if "fused" in found.hits else ""
    query = f'<figure class="hit">{_strip(found.query, images)}</figure>'
    rows = "".join(_row(run, name, hits, found.average_precision, images) for name, hits in found.hits.items())
    return (
        f'<article class="query" data-gain="{found.gain:.6f}" data-camera="{camera}" data-pair="{camera}-{other}">'
        f"<header><strong>person {int(features.embeddings.person_ids[found.query])}, camera {camera}</strong>"
        f'{shown}<span class="soft">{text(features.first_frames[found.query])}</span></header>'
        f'<div class="list"><span class="soft">query</span>{query}</div>{rows}</article>'
    )


def _row(run: ReportedRun, name: str, hits: Sequence[Hit], precision: Mapping[str, float], images: bool) -> str:
    shown = []
    embeddings = run.evaluation.features.embeddings
    for rank, hit in enumerate(hits, 1):
        kind, mark = ("yes", "✓") if hit.same_person else ("no", "✗")
        person, camera = int(embeddings.person_ids[hit.tracklet]), int(embeddings.camera_ids[hit.tracklet])
        title = text(f"{run.evaluation.features.first_frames[hit.tracklet]}, distance {hit.distance:.4f}")
        shown.append(
            f'<figure class="hit {kind}" title="{title}">{_strip(hit.tracklet, images)}'
            f"<figcaption>{rank} <b>{mark}</b> {person} c{camera}</figcaption></figure>"
        )
    label = f"<span>{text(name)}<br>AP {100 * precision[name]:.0f}</span>"
    return f'<div class="list">{label}{"".join(shown)}</div>'


def _strip(tracklet: int, images: bool) -> str:
    return f'<div class="strip t{tracklet}"></div>' if images else ""
