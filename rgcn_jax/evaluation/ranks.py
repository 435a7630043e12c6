"""Ranks of the matches of each query, by counting nearer entries in the rows of a distance matrix.

A query has few matches (11 on MARS), so counting is faster than sorting, and needs only one row at a time.
"""

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.matches import Labels


def match_ranks(distances: np.ndarray, labels: Labels) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Compute ``match_ranks`` and ``tie_sizes`` of ``RankingMetrics``. Each match costs two passes over its row."""
    query_ids, gallery_ids, query_cameras, gallery_cameras, in_gallery, exclude_same_camera, clothes = labels
    # Adding this row moves ignored entries to infinity, which is cheaper than indexing.
    absent = np.where(in_gallery, 0, np.inf).astype(distances.dtype)
    candidates = _same_person(query_ids, gallery_ids)
    row = np.empty(distances.shape[1], distances.dtype)
    before = np.empty(distances.shape[1], bool)
    all_ranks, all_sizes = [], []
    for index, same in enumerate(candidates):
        if not np.isfinite(distances[index], out=before).all():
            column = int(np.flatnonzero(~before)[0])
            raise InputError(
                f"the distance between query {index} and gallery entry {column} is {distances[index, column]}: "
                "expected a finite number. Are the features finite (did the training diverge)?"
            )
        matches = same[in_gallery[same]]
        np.add(distances[index], absent, out=row)
        if exclude_same_camera:
            own = gallery_cameras[matches] == query_cameras[index]
            row[matches[own]] = np.inf
            matches = matches[~own]
        if clothes is not None:
            own = clothes[1][matches] == clothes[0][index]
            row[matches[own]] = np.inf
            matches = matches[~own]
        ranks, sizes = np.empty((2, len(matches)), np.int64)
        for k, limit in enumerate(np.sort(row[matches])):
            ranks[k] = np.count_nonzero(np.less(row, limit, out=before)) + 1
            sizes[k] = np.count_nonzero(np.equal(row, limit, out=before))
        all_ranks.append(ranks)
        all_sizes.append(sizes)
    return all_ranks, all_sizes


def _same_person(query_ids: np.ndarray, gallery_ids: np.ndarray) -> list[np.ndarray]:
    """Ascending gallery indices of each query's person; none for junk and distractors."""
    order = np.argsort(gallery_ids, kind="stable")
    ordered = gallery_ids[order]
    first = np.searchsorted(ordered, query_ids, side="left")
    last = np.searchsorted(ordered, query_ids, side="right")
    last = np.where(query_ids > 0, last, first)
    return [order[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]
