"""Expected average precision and ranks with tied distances: the mean over all orders of the tied entries.

The order that a sort gives tied entries (most often that of the gallery, which MARS sorts by person) is not a property
of the model, so metrics are expectations over all orders, equally likely. In closed form, for a group of n entries with
m matches, behind b nearer entries with h matches:

- place j of the group holds a match with probability m / n, preceded by (j - 1) (m - 1) / (n - 1) other matches of the
  group on average, so its precision is (h + 1 + (j - 1) (m - 1) / (n - 1)) / (b + j) (McSherry and Najork, "Computing
  information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008);
- the first match is behind place j with probability C(n - j, m) / C(n, m), at place (n + 1) / (m + 1) on average; the
  same holds for the last match, counted from the end.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class TieGroup(NamedTuple):
    """``size`` tied entries with ``matches`` matches, behind ``before`` nearer entries with ``hits`` matches."""

    before: int
    hits: int
    size: int
    matches: int


def sum_of_precisions(group: TieGroup, ap: str) -> float:
    """Expected sum of the precisions at the group's matches, with ``ap`` as in ``ranking``."""
    place = np.arange(1, group.size + 1)
    hits = group.hits + (place - 1) * ((group.matches - 1) / max(group.size - 1, 1))  # expected before this place
    rank = group.before + place
    precision = (hits + 1) / rank
    if ap == "trapezoid":
        earlier = np.where(rank > 1, hits / np.maximum(rank - 1, 1), 1.0)
        precision = (earlier + precision) / 2
    return float(precision.sum() * group.matches / group.size)


def first_place(group: TieGroup) -> Float64[np.ndarray, "n"]:
    """Probability that each place of the group holds its first match."""
    place = np.arange(group.size)
    # No match before, times a match here: the product of (n - m - i) / (n - i), and m / (n - j).
    none_before = np.cumprod(np.maximum(group.size - group.matches - place, 0) / (group.size - place))
    return np.concatenate([[1.0], none_before[:-1]]) * np.minimum(group.matches / (group.size - place), 1.0)


def mean_inverse_of_last_rank(group: TieGroup) -> float:
    """Expected 1 / rank of the group's last match."""
    rank = group.before + np.arange(1, group.size + 1)
    return float((first_place(group)[::-1] / rank).sum())
