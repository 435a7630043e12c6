"""Named evaluation protocols (which tracklets are gallery), all computed from one set of features.

Four incompatible ways to score MARS are in public code, and they differ by as much as a paper gains. So a protocol
has a name, every result carries it, and all of them are computed at once: ``test_tracklets`` lists the distinct
tracklets of a split with their roles, the model embeds each of them once, and
``rank_protocols.evaluate_protocols`` returns the metrics by protocol and row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.matches import Clothes, check_any_match, count_matches
from rgcn_jax.types import JUNK_ID, Split, Tracklet

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Person ids of the queries and of all N tracklets, camera ids of the queries and of all N."""


@dataclass(frozen=True)
class Protocol:
    """A named way to score a split.

    ``queries_in_gallery``: whether queries that the data set has in its gallery stay there. ``junk_in_gallery``:
    whether junk tracklets are gallery entries that never match. ``ap``: the form of average precision
    (``ranking.AP_FORMS``). ``same_camera``: whether the same person in the query's own camera is a match; it is ignored
    otherwise. As a query would then find itself, queries are not in such a gallery. ``same_clothes``: whether the same
    person in the query's own clothes is a match; it is ignored otherwise.
    """

    name: str
    queries_in_gallery: bool
    junk_in_gallery: bool
    ap: str
    description: str
    same_camera: bool = False
    same_clothes: bool = True

    @property
    def ranking_key(self) -> tuple[bool, bool, bool, bool]:
        """What decides the ranks: protocols that differ in the form of AP alone have the same."""
        return self.queries_in_gallery, self.junk_in_gallery, self.same_camera, self.same_clothes


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "official", True, False, "mean", "the data set's own gallery (MARS: with the queries); BiCnet-TKS, AP3D"
        ),
        Protocol("official_matlab", True, False, "trapezoid", "official, AP by trapezoid as in the MARS MATLAB code"),
        Protocol("query_excluded", False, False, "mean", "the gallery without the queries; torchreid and others"),
        Protocol("junk_kept", True, True, "mean", "junk tracklets stay as entries that never match; AGRL"),
        Protocol(
            "clothes_changed",
            *(True, False, "mean", "official, and the query's person in the query's clothes is ignored too; CAL"),
            same_clothes=False,
        ),
        Protocol(
            "same_camera_allowed",
            *(False, False, "mean", "the query's own camera counts, without the queries; for one camera"),
            same_camera=True,
        ),
    )
}
"""All protocols by name; the first is the default."""


class Roles(NamedTuple):
    """What each of N distinct test tracklets is. A tracklet may be query and gallery at once.

    ``gallery`` is the data set's own (official) gallery: for MARS with the queries, for iLIDS-VID without. ``junk``
    belongs to no gallery.
    """

    query: Bool[np.ndarray, "n"]
    gallery: Bool[np.ndarray, "n"]
    junk: Bool[np.ndarray, "n"]


def test_tracklets(split: Split) -> tuple[list[Tracklet], Roles]:
    """The distinct tracklets of query, gallery and junk, each once, and their roles.

    The order is the gallery's, then the queries that are not in it, then junk. Whatever has the junk id is junk, even
    if the split has it elsewhere.
    """
    position = {tracklet: i for i, tracklet in enumerate(dict.fromkeys([*split.gallery, *split.query, *split.junk]))}
    roles = Roles(*np.zeros((3, len(position)), bool))
    for role, tracklets in zip(roles, (split.query, split.gallery, split.junk), strict=True):
        role[[position[tracklet] for tracklet in tracklets]] = True
    roles.junk[[i for tracklet, i in position.items() if tracklet.person_id == JUNK_ID]] = True
    return list(position), roles


vars(test_tracklets)["__test__"] = False  # not a test, in spite of its name


def gallery_of(protocol: Protocol, roles: Roles) -> Bool[np.ndarray, "n"]:
    """Which of the N tracklets are gallery entries under a protocol."""
    gallery = roles.gallery & ~roles.junk
    if not protocol.queries_in_gallery:
        gallery = gallery & ~roles.query
    return gallery | roles.junk if protocol.junk_in_gallery else gallery


def clothes_of(protocol: Protocol, clothes_ids: Integer[np.ndarray, "n"], roles: Roles) -> Clothes | None:
    """The clothes of queries and of all N tracklets where the protocol ignores the query's own; else None."""
    return None if protocol.same_clothes else (clothes_ids[roles.query], clothes_ids)


def applicable_protocols(
    person_ids: Integer[np.ndarray, "n"],
    camera_ids: Integer[np.ndarray, "n"],
    roles: Roles,
    clothes_ids: Integer[np.ndarray, "n"] | None = None,
) -> dict[str, Protocol]:
    """The protocols that say something about these tracklets, by name, in the order of ``PROTOCOLS``.

    The two official ones always do. ``query_excluded`` is left out where no query is in the gallery, or no query keeps
    a match without them; ``junk_kept`` where there is no junk; ``clothes_changed`` unless the clothes of all persons
    are known and a query has a match in others. ``same_camera_allowed`` has to be asked for: tracklets of one camera
    may be one walk, and such scores compare with no published ones.

    Args:
        person_ids: of the N distinct test tracklets.
        camera_ids: of the same.
        roles: what each of them is.
        clothes_ids: of the same; None: unknown.
    """
    columns = persons_and_cameras(person_ids, camera_ids, roles)
    clothes_ids = np.zeros_like(person_ids) if clothes_ids is None else clothes_ids
    matches, changed = (
        count_matches(*columns, *rules_of(PROTOCOLS[name], roles, clothes_ids))[0]
        for name in ("query_excluded", "clothes_changed")
    )
    makes_sense = {
        "query_excluded": bool((roles.query & roles.gallery).any() and matches.any()),
        "junk_kept": bool(roles.junk.any()),
        "clothes_changed": bool(_clothes_known(person_ids, clothes_ids, roles) and changed.any()),
        "same_camera_allowed": False,
    }
    return {name: protocol for name, protocol in PROTOCOLS.items() if makes_sense.get(name, True)}


def scorable_protocols(
    tracklets: Sequence[Tracklet], roles: Roles, headline: str = "official"
) -> tuple[dict[str, Protocol], float]:
    """What can be scored on these tracklets, found out before a model is trained or run.

    Args:
        tracklets: the distinct test tracklets, see ``test_tracklets``.
        roles: what each of them is.
        headline: name of the protocol whose numbers stand for the run.

    Returns:
        The applicable protocols by name (beside ``same_camera_allowed`` those under which a query has a match), and the
        chance level: the Rank-1, as a share, that a random ranking expects under the headline protocol.

    Raises:
        InputError: the headline protocol is unknown or does not apply, or no query has a match under it.
    """
    if headline not in PROTOCOLS:
        raise InputError(f"The protocol must be one of {', '.join(PROTOCOLS)}, found {headline!r}.")
    ids = [(tracklet.person_id, tracklet.camera_id, tracklet.clothes_id) for tracklet in tracklets]
    person_ids, camera_ids, clothes_ids = np.array(ids, np.int32).reshape(-1, 3).T
    columns = persons_and_cameras(person_ids, camera_ids, roles)
    protocols = applicable_protocols(person_ids, camera_ids, roles, clothes_ids)
    if PROTOCOLS[headline].same_camera:
        found = {
            name: count_matches(*columns, *rules_of(p, roles, clothes_ids))[0].any() for name, p in protocols.items()
        }
        protocols = {name: p for name, p in protocols.items() if found[name]} | {headline: PROTOCOLS[headline]}
    absent = {
        "query_excluded": "" if (roles.query & roles.gallery).any() else "queries in the gallery",
        "junk_kept": "junk tracklets",
        "clothes_changed": "" if _clothes_known(person_ids, clothes_ids, roles) else "clothes ids of all persons",
    }
    if headline not in protocols and (lacks := absent[headline]):
        raise InputError(
            f"The protocol {headline!r} does not apply: this data set has no {lacks}. "
            f"Choose one of {', '.join(protocols)}."
        )
    check_match_under(PROTOCOLS[headline], columns, roles, clothes_ids)
    matches, candidates = count_matches(*columns, *rules_of(PROTOCOLS[headline], roles, clothes_ids))
    return protocols, float((matches / np.maximum(candidates, 1))[matches > 0].mean())


def rules_of(protocol: Protocol, roles: Roles, clothes_ids: np.ndarray) -> tuple[np.ndarray, bool, Clothes | None]:
    """Which tracklets are gallery, and whether the same person in the query's camera and clothes is ignored."""
    return gallery_of(protocol, roles), not protocol.same_camera, clothes_of(protocol, clothes_ids, roles)


def _clothes_known(person_ids: np.ndarray, clothes_ids: np.ndarray, roles: Roles) -> bool:
    """Whether the clothes of all persons in query and gallery are known."""
    return bool((clothes_ids > 0)[(roles.query | roles.gallery) & (person_ids > 0)].all())


def persons_and_cameras(person_ids: np.ndarray, camera_ids: np.ndarray, roles: Roles) -> Columns:
    """The four arrays of ids that the ranking takes."""
    return person_ids[roles.query], person_ids, camera_ids[roles.query], camera_ids


def check_match_under(protocol: Protocol, columns: Columns, roles: Roles, clothes_ids: np.ndarray) -> None:
    """``check_any_match`` with the protocol's name in the message, and another protocol where that one helps."""
    try:
        check_any_match(*columns, *rules_of(protocol, roles, clothes_ids))
    except InputError as error:
        other = PROTOCOLS["same_camera_allowed"]
        helped = int((count_matches(*columns, *rules_of(other, roles, clothes_ids))[0] > 0).sum())
        hint = (
            f" If the persons were seen by one camera only, --config.evaluation.protocol={other.name} counts their "
            f"tracklets in the query's own camera as matches: {helped} of {len(columns[0])} queries have one."
        )
        raise InputError(f"Protocol {protocol.name!r}: {error}{hint if helped else ''}") from None
