"""Named evaluation protocols, all computed from one set of features.

Four incompatible ways to score MARS are in public code, and their results differ by as much as a paper's improvement.
So protocols are named, each result states its protocol, and all are computed at once: ``test_tracklets`` lists the
distinct tracklets of a split with their roles, the model embeds each once, and ``rank_protocols.evaluate_protocols``
returns the metrics by protocol and row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.matches import Labels, check_any_match, count_matches
from rgcn_jax.types import JUNK_ID, Split, Tracklet

Ids = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Person, camera and clothes ids of N tracklets."""


@dataclass(frozen=True)
class Protocol:
    """A named way to score a split.

    ``queries_in_gallery``: whether queries in the data set's gallery stay there. ``junk_in_gallery``: whether junk
    tracklets are gallery entries that never match. ``ap``: form of average precision (``ranking.AP_FORMS``).
    ``same_camera``: whether the same person in the query's own camera is a match; otherwise it is ignored. Such a
    gallery contains no queries, since each would find itself. ``same_clothes``: whether the same person in the query's
    own clothes is a match; otherwise it is ignored.
    """

    name: str
    description: str
    queries_in_gallery: bool = True
    junk_in_gallery: bool = False
    ap: str = "mean"
    same_camera: bool = False
    same_clothes: bool = True

    @property
    def ranking_key(self) -> tuple[bool, bool, bool, bool]:
        """Fields that determine the ranks: equal for protocols that differ only in the form of AP."""
        return self.queries_in_gallery, self.junk_in_gallery, self.same_camera, self.same_clothes


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("official", "the data set's own gallery (MARS: with the queries); BiCnet-TKS, AP3D"),
        Protocol("official_matlab", "official, with the trapezoidal AP of MARS's MATLAB code", ap="trapezoid"),
        Protocol("query_excluded", "the gallery without the queries; torchreid and others", queries_in_gallery=False),
        Protocol("junk_kept", "junk tracklets are gallery entries that never match; AGRL", junk_in_gallery=True),
        Protocol(
            "clothes_changed",
            "official, also ignoring the query's person in the query's clothes; CAL",
            same_clothes=False,
        ),
        Protocol(
            "same_camera_allowed",
            "matches in the query's own camera count, queries excluded; for one camera",
            queries_in_gallery=False,
            same_camera=True,
        ),
    )
}
"""All protocols by name; the first is the default."""


class Roles(NamedTuple):
    """Roles of N distinct test tracklets. A tracklet may be both query and gallery.

    ``gallery`` is the data set's official gallery: for MARS with the queries, for iLIDS-VID without. ``junk`` tracklets
    are in no gallery.
    """

    query: Bool[np.ndarray, "n"]
    gallery: Bool[np.ndarray, "n"]
    junk: Bool[np.ndarray, "n"]


def test_tracklets(split: Split) -> tuple[list[Tracklet], Roles]:
    """The distinct tracklets of query, gallery and junk, and their roles.

    Order: gallery, queries that are not in the gallery, junk. A tracklet with the junk id is always junk.
    """
    position = {tracklet: i for i, tracklet in enumerate(dict.fromkeys([*split.gallery, *split.query, *split.junk]))}
    roles = Roles(*np.zeros((3, len(position)), bool))
    for role, tracklets in zip(roles, (split.query, split.gallery, split.junk), strict=True):
        role[[position[tracklet] for tracklet in tracklets]] = True
    roles.junk[[i for tracklet, i in position.items() if tracklet.person_id == JUNK_ID]] = True
    return list(position), roles


vars(test_tracklets)["__test__"] = False  # pytest must not collect it


def gallery_of(protocol: Protocol, roles: Roles) -> Bool[np.ndarray, "n"]:
    """Mask of the tracklets that are gallery entries under a protocol."""
    gallery = roles.gallery & ~roles.junk
    if not protocol.queries_in_gallery:
        gallery = gallery & ~roles.query
    return gallery | roles.junk if protocol.junk_in_gallery else gallery


def applicable_protocols(
    person_ids: Integer[np.ndarray, "n"],
    camera_ids: Integer[np.ndarray, "n"],
    roles: Roles,
    clothes_ids: Integer[np.ndarray, "n"] | None = None,
) -> dict[str, Protocol]:
    """Protocols that are meaningful for these tracklets, by name, in the order of ``PROTOCOLS``.

    The two official ones always are. ``query_excluded`` requires queries in the gallery, and a match without them;
    ``junk_kept`` requires junk; ``clothes_changed`` requires known clothes of all persons, and a match in other
    clothes. ``same_camera_allowed`` is used only on request, since tracklets of one camera may be of one walk and its
    results are not comparable to published ones.

    The ids are those of the N distinct test tracklets; ``clothes_ids=None``: unknown.
    """
    ids = person_ids, camera_ids, np.zeros_like(person_ids) if clothes_ids is None else clothes_ids
    applicable = {name: not lacks for name, lacks in _lacking(ids, roles).items()} | {"same_camera_allowed": False}
    for name in ("query_excluded", "clothes_changed"):
        applicable[name] &= bool(count_matches(labels_of(PROTOCOLS[name], ids, roles))[0].any())
    return {name: protocol for name, protocol in PROTOCOLS.items() if applicable.get(name, True)}


def scorable_protocols(
    tracklets: Sequence[Tracklet], roles: Roles, headline: str = "official"
) -> tuple[dict[str, Protocol], float]:
    """The protocols that can be scored on the distinct test tracklets, determined before training or embedding.

    ``headline``: name of the headline protocol.

    Returns:
        The applicable protocols by name (including ``same_camera_allowed``, if a query has a match under it), and the
        chance level: the expected Rank-1 of a random ranking under the headline protocol, as a fraction.

    Raises:
        InputError: the headline protocol is unknown or not applicable, or no query has a match under it.
    """
    if headline not in PROTOCOLS:
        raise InputError(f"unknown protocol {headline!r}: expected one of {', '.join(PROTOCOLS)}.")
    of_each = [(tracklet.person_id, tracklet.camera_id, tracklet.clothes_id) for tracklet in tracklets]
    person_ids, camera_ids, clothes_ids = np.array(of_each, np.int32).reshape(-1, 3).T
    ids = person_ids, camera_ids, clothes_ids
    protocols = applicable_protocols(person_ids, camera_ids, roles, clothes_ids)
    if PROTOCOLS[headline].same_camera:
        matched = {name: p for name, p in protocols.items() if count_matches(labels_of(p, ids, roles))[0].any()}
        protocols = matched | {headline: PROTOCOLS[headline]}
    if headline not in protocols and (lacks := _lacking(ids, roles)[headline]):
        raise InputError(
            f"The protocol {headline!r} is not applicable: this data set has no {lacks}. "
            f"Choose one of {', '.join(protocols)}."
        )
    check_match_under(PROTOCOLS[headline], ids, roles)
    matches, candidates = count_matches(labels_of(PROTOCOLS[headline], ids, roles))
    return protocols, float((matches / np.maximum(candidates, 1))[matches > 0].mean())


def labels_of(protocol: Protocol, ids: Ids, roles: Roles) -> Labels:
    """Labels of the queries and of all N tracklets as the gallery, and which take part under a protocol."""
    persons, cameras, clothes_ids = ids
    clothes = None if protocol.same_clothes else (clothes_ids[roles.query], clothes_ids)
    columns = persons[roles.query], persons, cameras[roles.query], cameras
    return Labels(*columns, gallery_of(protocol, roles), not protocol.same_camera, clothes)


def _lacking(ids: Ids, roles: Roles) -> dict[str, str]:
    """What the tracklets lack for a protocol, by its name; empty: nothing."""
    persons, _, clothes_ids = ids
    known = (clothes_ids > 0)[(roles.query | roles.gallery) & (persons > 0)].all()
    return {
        "query_excluded": "" if (roles.query & roles.gallery).any() else "queries in the gallery",
        "junk_kept": "" if roles.junk.any() else "junk tracklets",
        "clothes_changed": "" if known else "clothes ids of all persons",
    }


def check_match_under(protocol: Protocol, ids: Ids, roles: Roles) -> None:
    """Like ``check_any_match``; the message names the protocol, and another one under which queries have matches."""
    try:
        check_any_match(labels_of(protocol, ids, roles))
    except InputError as error:
        other = PROTOCOLS["same_camera_allowed"]
        helped = int((count_matches(labels_of(other, ids, roles))[0] > 0).sum())
        hint = (
            f" If the persons were seen by one camera only, --config.evaluation.protocol={other.name} counts their "
            f"tracklets in the query's own camera as matches: {helped} of {int(roles.query.sum())} queries have one."
        )
        raise InputError(f"protocol {protocol.name!r}: {error}{hint if helped else ''}") from None
