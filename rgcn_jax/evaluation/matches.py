"""Counts of the matches of each query, from person and camera ids only, without distances.

For checks before training or embedding, and for the chance level. The rules are those of ``ranking``.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from rgcn_jax.errors import InputError

Clothes = tuple[Integer[np.ndarray, "q"], Integer[np.ndarray, "g"]]
"""Clothes ids of queries and gallery. If given, the same person in the same clothes is ignored."""


class Labels(NamedTuple):
    """Labels of Q queries and G gallery entries, and which entries take part, as in ``ranking.evaluate_ranking``."""

    query_ids: Integer[np.ndarray, "q"]
    gallery_ids: Integer[np.ndarray, "g"]
    query_cameras: Integer[np.ndarray, "q"]
    gallery_cameras: Integer[np.ndarray, "g"]
    in_gallery: Bool[np.ndarray, "g"]
    exclude_same_camera: bool = True
    clothes: Clothes | None = None

    def of_queries(self, rows: slice) -> "Labels":
        """Labels of a block of the queries."""
        clothes = self.clothes and (self.clothes[0][rows], self.clothes[1])
        return self._replace(query_ids=self.query_ids[rows], query_cameras=self.query_cameras[rows], clothes=clothes)


def count_matches(labels: Labels) -> tuple[Int64[np.ndarray, "q"], Int64[np.ndarray, "q"]]:
    """Count, for each query, its matches and all entries that take a rank.

    Their ratio is the expected Rank-1 of a random ranking.
    """
    query_ids, gallery_ids, query_cameras, gallery_cameras, in_gallery, exclude_same_camera, clothes = labels
    person = query_ids > 0
    ids = gallery_ids[in_gallery]
    matches = _occurrences(query_ids, ids) * person
    candidates = np.full(len(query_ids), len(ids), np.int64)
    ignored = []  # labels whose equality, for the same person, excludes an entry
    if exclude_same_camera:
        ignored.append((query_cameras, gallery_cameras[in_gallery]))
    if clothes is not None:
        ignored.append((clothes[0], clothes[1][in_gallery]))
    own = np.zeros(len(query_ids), np.int64)
    for pair in ignored:
        own += _of_same(query_ids, ids, pair)
    if len(ignored) == 2:  # entries equal in both were subtracted twice
        own -= _of_same(query_ids, ids, *ignored)
    own *= person
    return matches - own, candidates - own


def check_any_match(labels: Labels) -> None:
    """Raise InputError, with the counts and the likely cause, if no query has a match."""
    if count_matches(labels)[0].any():
        return
    query_ids, gallery_ids, query_cameras, gallery_cameras, in_gallery, *_ = labels
    persons = np.intersect1d(query_ids, gallery_ids[in_gallery])
    persons = persons[persons > 0]
    cameras = np.union1d(query_cameras, gallery_cameras)
    if len(query_ids) == 0 or not in_gallery.any():
        cause = "The query or the gallery is empty: check the split."
    elif len(persons) == 0:
        cause = "No query person is in the gallery: check that both come from the same split."
    elif labels.clothes is not None and count_matches(labels._replace(clothes=None))[0].any():
        cause = "No person changes clothes: check the clothes ids."
    elif len(cameras) == 1:
        cause = f"All tracklets have camera id {cameras[0]}: check that the camera ids are read from the file names."
    else:
        cause = (
            f"{len(persons)} persons are in both, but each in one camera only, and the same person in the same camera "
            "is ignored: check the camera ids."
        )
    raise InputError(
        f"None of the {len(query_ids)} queries has a match among the {int(in_gallery.sum())} gallery entries, so there "
        f"is nothing to score. {cause}"
    )


def _of_same(
    query_ids: np.ndarray, gallery_ids: np.ndarray, *labels: tuple[np.ndarray, np.ndarray]
) -> Int64[np.ndarray, "q"]:
    """Count, for each query, the entries of the same person with equal labels; each is (of queries, of gallery)."""
    # Combinations are encoded as one number each, to be counted like persons.
    codes = np.concatenate([query_ids, gallery_ids]).astype(np.int64)
    for pair in labels:
        _, numbers = np.unique(np.concatenate(pair), return_inverse=True)
        _, codes = np.unique(codes * (len(numbers) + 1) + numbers, return_inverse=True)
    return _occurrences(codes[: len(query_ids)], codes[len(query_ids) :])


def _occurrences(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Number of occurrences of each value."""
    ordered = np.sort(among)
    return np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
