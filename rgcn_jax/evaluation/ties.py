"""Expected average precision and ranks where distances are equal: the mean over all orders of the tied entries.

Entries at one distance have no order. Whatever a sort makes of them (the gallery's order, most often, which is sorted
by person in MARS) is no property of the model, so what counts is the expectation over all orders, each equally likely.
In closed form, for a group of n entries with m matches among them, behind b nearer entries with h matches:

- at place j of the group there is a match with probability m / n, and (j - 1) (m - 1) / (n - 1) others are expected
  before it, so its precision is (h + 1 + (j - 1) (m - 1) / (n - 1)) / (b + j) (McSherry and Najork, "Computing
  information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008);
- the first match stands behind place j with probability C(n - j, m) / C(n, m), at place (n + 1) / (m + 1) on average;
  the last one in the same way, counted from the end.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class TieGroup(NamedTuple):
    """``size`` entries at one distance, ``matches`` of them matches; ``before`` nearer ones with ``hits`` matches."""

    before: int
    hits: int
    size: int
    matches: int


def sum_of_precisions(group: TieGroup, ap: str) -> float:
    """Expected sum of the precisions at the group's matches, ``ap`` as in ``ranking``."""
    place = np.arange(1, group.size + 1)
    hits = group.hits + (place - 1) * ((group.matches - 1) / max(group.size - 1, 1))  # before this place
    rank = group.before + place
    precision = (hits + 1) / rank
    if ap == "trapezoid":
        earlier = np.where(rank > 1, hits / np.maximum(rank - 1, 1), 1.0)
        precision = (earlier + precision) / 2
    return float(precision.sum() * group.matches / group.size)


def first_place(group: TieGroup) -> Float64[np.ndarray, "n"]:
    """Probability of each place of the group to hold its first match."""
    place = np.arange(group.size)
    # None of the places before, times a match here: the product of (n - m - i) / (n - i), and m / (n - j).
    none_before = np.cumprod(np.maximum(group.size - group.matches - place, 0) / (group.size - place))
    return np.concatenate([[1.0], none_before[:-1]]) * np.minimum(group.matches / (group.size - place), 1.0)


def mean_inverse_of_last_rank(group: TieGroup) -> float:
    """Expected 1 / rank of the group's last match."""
    rank = group.before + np.arange(1, group.size + 1)
    return float((first_place(group)[::-1] / rank).sum())
