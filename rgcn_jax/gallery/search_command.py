"""The command ``rgcn-jax gallery search``: nearest entries of tracklets, as a table, JSON and an HTML page."""

import json
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rgcn_jax.command import Parser, last_line, whole_number
from rgcn_jax.errors import InputError, listed, printable
from rgcn_jax.gallery.add_command import add_input_flags, check_features_flags
from rgcn_jax.gallery.binding import By
from rgcn_jax.gallery.entry import Entry, Where
from rgcn_jax.gallery.flags import add_filter_flags, open_gallery, time_text, where_of
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.gallery.inputs import Inputs, of_data, of_features
from rgcn_jax.gallery.strips import Ranking, write_page
from rgcn_jax.model_command import data_overrides, open_embedder
from rgcn_jax.runtime.files import write_text

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from rgcn_jax.embedder import Embedder

SHOWN = 3
"""Number of queries with printed tables. The files contain all."""
USUAL_RATE = 1e-3


def main(arguments: Sequence[str], prog: str) -> None:
    """Run the search, print the results and write the requested files.

    Raises:
      InputError: an argument is invalid, the model or the data cannot be read, or the gallery belongs to another model.
    """
    known, overrides = _parse(arguments, prog)
    open_gallery(known)  # fail early: loading the model takes seconds
    if known.root and not known.dataset and not known.features:
        known.dataset = "folder"
    embedder = open_embedder(known, [*([] if known.features else data_overrides(known)), *overrides])
    gallery = open_gallery(known, embedder)
    fpr = rate_of_verdict(gallery, known.by, known.fpr)
    if known.entry:
        matches = gallery.similar(known.entry, known.k, known.by, where_of(known), fpr)
        rankings = [Ranking(entry, matches) for _, entry in gallery.entries(Where(ids=[known.entry]))]
    else:
        rankings = _of_inputs(gallery, embedder, known, fpr)
    for ranking in rankings[:SHOWN]:
        print(printable(_table(ranking)))
    if len(rankings) > SHOWN:
        print(f"and {len(rankings) - SHOWN:,} more queries{'' if known.out else ': --out=FILE.json has all'}")
    verdict = None if fpr is None else {"fpr": fpr, "threshold": gallery.threshold(known.by, fpr)}
    if verdict:
        print(f"same: distance at most {verdict['threshold']:.6g}, calibrated at a false positive rate of {fpr:g}")
    if known.out:
        write_text(known.out, json.dumps(_content(gallery, known, rankings, verdict), indent=2) + "\n")
    if known.html:
        missing = write_page(known.html, gallery, rankings, verdict, known.skeletons)
        if missing:
            print(f"frames that could not be read: {missing:,}")
        beside = f", results: {known.out}" if known.out else ""
        print(last_line(f"page: {known.html}{beside}", then=f"open {known.html} in a browser"))
        return
    found = f"results: {known.out}" if known.out else f"queries: {len(rankings):,}"
    print(last_line(found, then="the same command with --html=found.html shows the frames"))


def _of_inputs(gallery: Gallery, embedder: "Embedder", known: Namespace, fpr: float | None) -> list[Ranking]:
    inputs = of_features(known, embedder) if known.features else of_data(embedder, known.source or "")
    chosen = _chosen(inputs, known.tracklet)
    features = [feature for feature, _ in inputs.embed(chosen)]
    rankings = []
    for i, matches in zip(chosen, gallery.search(features, known.k + 1, known.by, where_of(known), fpr), strict=True):
        query = inputs.entries[i]
        others = [match for match in matches if match.entry.key != query.key]  # it may be in the gallery itself
        rankings.append(Ranking(query, others[: known.k]))
    return rankings


def _chosen(inputs: Inputs, names: Sequence[str]) -> list[int]:
    """Return the positions of the named tracklets. Without names: of all queries, or of all if there is no query."""
    if not names:
        queries = [i for i, query in enumerate(inputs.is_query) if query]
        return queries or list(range(len(inputs.entries)))
    chosen = []
    for name in names:
        found = [i for i, e in enumerate(inputs.entries) if name in (e.tracklet, e.tracklet.rpartition("/")[0])]
        if not found and re.fullmatch("[0-9]{1,9}", name) and int(name) < len(inputs.entries):
            found = [int(name)]
        if len(found) != 1:
            like = listed([entry.tracklet for entry in inputs.entries])
            raise InputError(f"--tracklet={name} names {len(found)} tracklets, expected one; they are {like}.")
        chosen += found
    return chosen


def rate_of_verdict(gallery: Gallery, by: By, fpr: float | None) -> float | None:
    """Return ``fpr``, or a default: the usual rate, else the lowest calibrated one. None without calibration.

    Raises:
      InputError: the model was not calibrated at ``fpr``.
    """
    if fpr is not None:
        gallery.threshold(by, fpr)
        return fpr
    calibration = gallery.model.calibration
    if calibration is None or not isinstance(by, str):
        return None
    points = calibration.rows.get(by, {}).get("tpr_at_fpr", {})
    rates = sorted(float(name) for name, point in points.items() if point is not None)
    rate = USUAL_RATE if USUAL_RATE in rates else rates[0] if rates else None
    try:
        if rate is not None:
            gallery.threshold(by, rate)
    except InputError as error:
        print(f"no verdicts: {printable(str(error))}", flush=True)
        return None
    return rate


def _table(ranking: Ranking) -> str:
    query = ranking.query
    lines = [f"query {query.tracklet} (person {_known(query.person_id)}, camera {query.camera_id or '-'})"]
    lines.append(" rank  distance  same    person  camera  start                       id  tracklet")
    for rank, match in enumerate(ranking.matches, 1):
        entry, same = match.entry, {None: "-", True: "yes", False: "no"}[match.same]
        lines.append(
            f"{rank:>5}  {match.distance:>8.4f}  {same:<4}  {_known(entry.person_id):>8}  {entry.camera_id or '-':>6}  "
            f"{time_text(entry.start):<20}  {match.id:>8}  {entry.tracklet}"
        )
    return "\n".join(lines if ranking.matches else [*lines, "  no entry fulfils the conditions"])


def _known(person: int) -> str:
    return "-" if person < 0 else str(person)


def _content(gallery: Gallery, known: Namespace, rankings: Sequence[Ranking], verdict: dict | None) -> dict:
    def described(entry: Entry) -> dict:
        return {**asdict(entry), "frames": [str(path) for path in gallery.frame_paths(entry)] or list(entry.frames)}

    return {
        "gallery": str(known.gallery),
        **gallery.binding,
        "by": known.by,
        "k": known.k,
        "verdict": verdict,
        "queries": [
            {
                "query": described(ranking.query),
                "matches": [
                    {"rank": rank, "id": m.id, "distance": m.distance, "same": m.same, "entry": described(m.entry)}
                    for rank, m in enumerate(ranking.matches, 1)
                ],
            }
            for ranking in rankings
        ],
    }


def _by(text: str) -> By:
    if "," not in text:
        return text
    try:
        appearance, pose = (float(weight) for weight in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"expected two weights such as 1,0.5, found {text[:100]!r}") from None
    return appearance, pose


def _parse(arguments: Sequence[str], prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Find the nearest entries of a gallery: of the queries of a features file (--features), of the tracklets of a "
        "data set or a folder of frames (--root, --keypoints), or of an entry (--entry). The query itself is left out.",
        config_fields=True,
    )
    add_input_flags(parser)
    parser.flag("--entry", "search for this entry of the gallery", type=whole_number(1), metavar="ID")
    parser.flag(
        "--tracklet",
        "search for this one: its folder, first frame or row from 0; may be repeated (default: all queries)",
        action="append",
        default=[],
        metavar="NAME",
    )
    parser.flag("--source", "as of gallery add, where it was given there", metavar="NAME")
    parser.whole("-k", "how many entries", default=20)
    parser.flag(
        "--by", "fused, appearance, pose, or weights of both as in 1,0.5", type=_by, default="fused", metavar="ROW"
    )
    parser.flag("--fpr", "false positive rate of the verdict, if calibrated", type=float, metavar="X")
    add_filter_flags(parser)
    parser.path("--out", "FILE.json", "write the results")
    parser.path("--html", "FILE.html", "write a page with ranked frames")
    parser.switch("--skeletons", "draw the keypoints of the gallery's entries on it")
    known, overrides = parser.parse_known_args(arguments)
    known.camera = None
    check_features_flags(known)
    if known.skeletons and not known.html:
        raise InputError("--skeletons is for --html=FILE.html only.")
    if known.entry and (known.features or known.dataset or known.root or known.tracklet):
        raise InputError("expected --entry=ID alone, or --features or --root.")
    for path, suffix in ((known.out, ".json"), (known.html, ".html")):
        if path and (path.suffix != suffix or not path.parent.is_dir()):
            raise InputError(f"{path}: expected a file that ends in {suffix}, in a folder that exists.")
    return known, overrides
