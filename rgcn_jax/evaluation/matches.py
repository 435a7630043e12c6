"""Which queries have a match in a gallery at all, from person and camera ids alone: no distances are needed.

The rules are those of ``ranking``. For the check before a model is trained or run, and for the chance level.
"""

import numpy as np
from jaxtyping import Bool, Int64, Integer

from rgcn_jax.errors import InputError


def count_matches(
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    in_gallery: Bool[np.ndarray, "g"],
    exclude_same_camera: bool = True,
) -> tuple[Int64[np.ndarray, "q"], Int64[np.ndarray, "q"]]:
    """For each query the number of its matches and of all entries that take a rank, which needs no distances.

    The arguments are those of ``ranking.evaluate_ranking``. The first over the second is the Rank-1 that a random
    ranking expects.
    """
    person = query_ids > 0
    ids, cameras = gallery_ids[in_gallery], gallery_cameras[in_gallery]
    matches = _occurrences(query_ids, ids) * person
    candidates = np.full(len(query_ids), len(ids), np.int64)
    if exclude_same_camera:
        # One number for each pair of person and camera, so that pairs can be counted as persons are.
        _, codes = np.unique(np.concatenate([query_cameras, cameras]), return_inverse=True)
        pairs = np.concatenate([query_ids, ids]).astype(np.int64) * (len(codes) + 1) + codes
        own = _occurrences(pairs[: len(query_ids)], pairs[len(query_ids) :]) * person
        matches, candidates = matches - own, candidates - own
    return matches, candidates


def check_any_match(
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    in_gallery: Bool[np.ndarray, "g"],
    exclude_same_camera: bool = True,
) -> None:
    """Raise InputError, with the counts and the likely cause, if no query has a match.

    The arguments are those of ``ranking.evaluate_ranking``.
    """
    matches, _ = count_matches(query_ids, gallery_ids, query_cameras, gallery_cameras, in_gallery, exclude_same_camera)
    if matches.any():
        return
    persons = np.intersect1d(query_ids, gallery_ids[in_gallery])
    persons = persons[persons > 0]
    cameras = np.union1d(query_cameras, gallery_cameras)
    if len(query_ids) == 0 or not in_gallery.any():
        cause = "One of them is empty: check the split."
    elif len(persons) == 0:
        cause = "No person of the queries is in the gallery: check that both come from the same split."
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


def _occurrences(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How often each value occurs."""
    ordered = np.sort(among)
    return np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
