"""Named evaluation protocols (which tracklets are gallery), all computed from one set of features.

Four incompatible ways to score MARS are in public code, and they differ by as much as a paper gains. So a protocol
has a name, every result carries it, and all of them are computed at once: ``test_tracklets`` lists the distinct
tracklets of a split with their roles, the model embeds each of them once, and ``evaluate_protocols`` returns the
metrics by protocol and row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import ROWS, FeatureStatistics, distance_blocks, fuse, rows_of
from rgcn_jax.evaluation.matches import check_any_match, count_matches
from rgcn_jax.evaluation.ranking import RankingMetrics, evaluate_ranking, merge_queries
from rgcn_jax.types import JUNK_ID, Embeddings, Split, Tracklet

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Person ids of the queries and of all N tracklets, camera ids of the queries and of all N."""


@dataclass(frozen=True)
class Protocol:
    """A named way to score a split.

    ``queries_in_gallery``: whether queries that the data set has in its gallery stay there. ``junk_in_gallery``:
    whether junk tracklets are gallery entries that never match. ``ap``: the form of average precision
    (``ranking.AP_FORMS``). ``same_camera``: whether the same person in the query's own camera is a match; it is ignored
    otherwise. As a query would then find itself, queries are not in such a gallery.
    """

    name: str
    queries_in_gallery: bool
    junk_in_gallery: bool
    ap: str
    description: str
    same_camera: bool = False

    @property
    def ranking_key(self) -> tuple[bool, bool, bool]:
        """What decides the ranks: protocols that differ in the form of AP alone have the same."""
        return self.queries_in_gallery, self.junk_in_gallery, self.same_camera


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


vars(test_tracklets)["__test__"] = False  # not a test, whatever its name tells pytest


def gallery_of(protocol: Protocol, roles: Roles) -> Bool[np.ndarray, "n"]:
    """Which of the N tracklets are gallery entries under a protocol."""
    gallery = roles.gallery & ~roles.junk
    if not protocol.queries_in_gallery:
        gallery = gallery & ~roles.query
    return gallery | roles.junk if protocol.junk_in_gallery else gallery


def applicable_protocols(
    person_ids: Integer[np.ndarray, "n"], camera_ids: Integer[np.ndarray, "n"], roles: Roles
) -> dict[str, Protocol]:
    """The protocols that say something about these tracklets, by name, in the order of ``PROTOCOLS``.

    The two official ones always do. ``query_excluded`` is left out where no query is in the gallery, or no query keeps
    a match without them; ``junk_kept`` where there is no junk. ``same_camera_allowed`` has to be asked for: tracklets
    of one camera may be one walk, and such scores compare with no published ones.

    Args:
        person_ids: of the N distinct test tracklets.
        camera_ids: of the same.
        roles: what each of them is.
    """
    without_queries = gallery_of(PROTOCOLS["query_excluded"], roles)
    matches, _ = count_matches(*_persons_and_cameras(person_ids, camera_ids, roles), without_queries)
    makes_sense = {
        "query_excluded": bool((roles.query & roles.gallery).any() and matches.any()),
        "junk_kept": bool(roles.junk.any()),
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
    person_ids = np.array([tracklet.person_id for tracklet in tracklets], np.int32)
    camera_ids = np.array([tracklet.camera_id for tracklet in tracklets], np.int32)
    columns = _persons_and_cameras(person_ids, camera_ids, roles)
    protocols = applicable_protocols(person_ids, camera_ids, roles)
    if PROTOCOLS[headline].same_camera:
        found = {name: count_matches(*columns, *_rules(p, roles))[0].any() for name, p in protocols.items()}
        protocols = {name: p for name, p in protocols.items() if found[name]} | {headline: PROTOCOLS[headline]}
    if headline not in protocols and (headline == "junk_kept" or not (roles.query & roles.gallery).any()):
        lacks = "junk tracklets" if headline == "junk_kept" else "queries in the gallery"
        raise InputError(
            f"The protocol {headline!r} does not apply: this data set has no {lacks}. "
            f"Choose one of {', '.join(protocols)}."
        )
    _check_any_match(PROTOCOLS[headline], columns, roles)
    matches, candidates = count_matches(*columns, *_rules(PROTOCOLS[headline], roles))
    return protocols, float((matches / np.maximum(candidates, 1))[matches > 0].mean())


def evaluate_protocols(
    embeddings: Embeddings,
    roles: Roles,
    kind: str = "euclidean",
    pose_weight: float = 1.0,
    statistics: FeatureStatistics | None = None,
    protocols: Mapping[str, Protocol] | None = None,
) -> dict[str, dict[str, RankingMetrics | None]]:
    """Rank with the appearance, the pose and the fused feature under every protocol.

    The distances of a row are computed once for all protocols, a block of queries at a time.

    Args:
        embeddings: of N distinct test tracklets (``test_tracklets``).
        roles: what each of the N is.
        kind: of the distance, one of ``distance.KINDS``.
        pose_weight: of the fused row, see ``distance.fuse``.
        statistics: of the training set, for the kind ``standardized``.
        protocols: by default ``applicable_protocols`` of these tracklets.

    Returns:
        ``result[protocol name][row]``. The rows of a branch that the model lacks, and then ``fused`` too, are
        None.

    Raises:
        InputError: a feature is not finite; under a protocol no query has a match; ``standardized`` without statistics.
        ValueError: the lengths do not fit, or the kind is unknown.
    """
    if any(len(array) != len(embeddings.person_ids) for array in (*embeddings, *roles)):
        lengths = [len(array) for array in embeddings], [len(array) for array in roles]
        raise ValueError(
            f"embeddings and roles are of different tracklets: their lengths are {lengths[0]}, {lengths[1]}"
        )
    if protocols is None:
        protocols = applicable_protocols(embeddings.person_ids, embeddings.camera_ids, roles)
    results: dict[str, dict[str, RankingMetrics | None]] = {name: dict.fromkeys(ROWS) for name in protocols}
    for row in rows_of(embeddings.appearance.shape[1], embeddings.pose.shape[1]):
        features = fuse(embeddings, row, kind, pose_weight, statistics)
        metrics = rank_features(features, embeddings, roles, protocols, overwrite=True)
        for name in protocols:
            results[name][row] = metrics[name]
    return results


def rank_features(
    features: Float32[np.ndarray, "n d"],
    embeddings: Embeddings,
    roles: Roles,
    protocols: Mapping[str, Protocol],
    overwrite: bool = False,
) -> dict[str, RankingMetrics]:
    """Metrics by protocol of one Euclidean feature per tracklet, never holding more than a block of distances.

    Args:
        features: one row per tracklet, see ``distance.fuse``.
        embeddings: of the same N tracklets; person and camera ids are read.
        roles: what each of the N is.
        protocols: by name.
        overwrite: whether ``features`` may be changed in place, which saves a copy of them.

    Raises:
        InputError: a feature is not finite, or under a protocol no query has a match.
    """
    return rank_blocks(distance_blocks(features, np.flatnonzero(roles.query), overwrite), embeddings, roles, protocols)


def rank_blocks(
    distances: Iterable[tuple[slice, Float32[np.ndarray, "_ n"]]],
    embeddings: Embeddings,
    roles: Roles,
    protocols: Mapping[str, Protocol],
) -> dict[str, RankingMetrics]:
    """Metrics by protocol of distances of any kind, from the queries to all tracklets.

    Args:
        distances: blocks of all queries in their order, as ``distance.distance_blocks`` yields them.
        embeddings: of the N tracklets; person and camera ids are read.
        roles: what each of the N is.
        protocols: by name.

    Raises:
        InputError: a distance is not finite, or under a protocol no query has a match.
    """
    queries = np.flatnonzero(roles.query)
    persons, cameras = embeddings.person_ids, embeddings.camera_ids
    columns = _persons_and_cameras(persons, cameras, roles)
    rules = {protocol.ranking_key: _rules(protocol, roles) for protocol in protocols.values()}
    for protocol in protocols.values():
        _check_any_match(protocol, columns, roles)
    blocks: dict[tuple[bool, bool, bool], list[RankingMetrics]] = {key: [] for key in rules}
    for rows, of_block in distances:
        block = queries[rows]
        ids = persons[block], persons, cameras[block], cameras
        for key, (gallery, exclude_same_camera) in rules.items():
            options = {"exclude_same_camera": exclude_same_camera, "in_gallery": gallery, "require_match": False}
            blocks[key].append(evaluate_ranking(of_block, *ids, **options))
    rankings = {key: merge_queries(found) for key, found in blocks.items()}
    return {name: rankings[protocol.ranking_key].with_ap(protocol.ap) for name, protocol in protocols.items()}


def _rules(protocol: Protocol, roles: Roles) -> tuple[np.ndarray, bool]:
    """Which tracklets are gallery, and whether the same person in the query's camera is ignored."""
    return gallery_of(protocol, roles), not protocol.same_camera


def _persons_and_cameras(person_ids: np.ndarray, camera_ids: np.ndarray, roles: Roles) -> Columns:
    """The four arrays of ids that the ranking takes."""
    return person_ids[roles.query], person_ids, camera_ids[roles.query], camera_ids


def _check_any_match(protocol: Protocol, columns: Columns, roles: Roles) -> None:
    """``check_any_match`` with the protocol's name in the message, and another protocol where that one helps."""
    try:
        check_any_match(*columns, *_rules(protocol, roles))
    except InputError as error:
        other = PROTOCOLS["same_camera_allowed"]
        helped = int((count_matches(*columns, *_rules(other, roles))[0] > 0).sum())
        hint = (
            f" If the persons were seen by one camera only, --config.evaluation.protocol={other.name} counts their "
            f"tracklets in the query's own camera as matches: {helped} of {len(columns[0])} queries have one."
        )
        raise InputError(f"Protocol {protocol.name!r}: {error}{hint if helped else ''}") from None
