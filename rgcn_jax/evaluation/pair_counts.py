"""Counts of genuine and impostor pairs below distance thresholds, for all persons and for bootstrap resamples.

Pairs arrive in blocks and are counted by the first 16 significant bits of their float32 distance, about the precision
of a distance from a matrix product. So memory does not depend on the number of pairs. Thresholds are float32 numbers of
16 significant bits; the count below each is exact.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Integer, UInt32

from rgcn_jax.evaluation.significance import draw_persons

_DROPPED_BITS = np.uint32(8)  # of the 24 significant bits of float32
_NUM_KEYS = 2 ** (31 - 8)  # of non-negative distances

LEVELS_BY_FPR, LEVELS_BY_TPR = 192, 64
"""Numbers of thresholds at which resampled pairs are counted at most; rates in between are interpolated linearly."""


class Block(NamedTuple):
    """Pairs of one person with ``others``, whose indices are not smaller; equal for genuine pairs.

    Persons have indices from 0, and blocks are in ascending order of ``person``.
    """

    person: int
    others: Integer[np.ndarray, "p"]
    distances: Float32[np.ndarray, "p"]


class PairCounts(NamedTuple):
    """Numbers of pairs below each of K ascending thresholds: none below the first, all below the last."""

    keys: UInt32[np.ndarray, "k"]
    genuine: Int64[np.ndarray, "k"]
    impostor: Int64[np.ndarray, "k"]

    @property
    def thresholds(self) -> Float32[np.ndarray, "k"]:
        """The thresholds as distances."""
        return _thresholds(self.keys)

    def middle_of_gap(self, at: int) -> float:
        """The middle of the range of thresholds with the same counts as that with index ``at``."""
        if not 0 < at < len(self.keys) - 1:
            return float(self.thresholds[at])
        below, above = _thresholds(np.array([self.keys[at - 1] + 1, self.keys[at]], np.uint32)).astype(np.float64)
        return float((below + above) / 2)


def count_pairs(blocks: Iterable[Block]) -> PairCounts:
    """Count the pairs below every threshold at which a count changes."""
    genuine, impostor = np.zeros((2, _NUM_KEYS), np.int64)  # the OS allocates only pages that are written
    smallest, end = _NUM_KEYS, 0
    for person, others, distances in blocks:
        keys = _keys(distances)
        own = others == person
        for histogram, chosen in ((genuine, keys[own]), (impostor, keys[~own])):
            if len(chosen):
                lowest = chosen.min()
                found = np.bincount(chosen - lowest)
                histogram[lowest : lowest + len(found)] += found
                smallest, end = min(smallest, int(lowest)), max(end, int(lowest) + len(found))
    keys = smallest + np.flatnonzero(genuine[smallest:end] + impostor[smallest:end])
    below = [np.concatenate([[0], np.cumsum(histogram[keys])]) for histogram in (genuine, impostor)]
    return PairCounts(np.append(keys, end).astype(np.uint32), *below)


def keep_levels(counts: PairCounts) -> PairCounts:
    """Select some hundred thresholds, geometrically spaced in FPR and evenly in TPR; all if there are fewer."""
    if len(counts.keys) <= LEVELS_BY_FPR + LEVELS_BY_TPR:
        return counts
    by_fpr = np.append(0, np.geomspace(1, counts.impostor[-1], LEVELS_BY_FPR - 1).round())
    by_tpr = np.linspace(0, counts.genuine[-1], LEVELS_BY_TPR)
    at = [
        np.searchsorted(below, level, side="right") - 1
        for below, level in ((counts.impostor, by_fpr), (counts.genuine, by_tpr))
    ]
    kept = np.unique(np.concatenate([[0], *at]))
    return PairCounts(*(array[kept] for array in counts))


def resample_persons(
    blocks: Iterable[Block], num_persons: int, counts: PairCounts, resamples: int, seed: int
) -> tuple[Float64[np.ndarray, "b k"], Float64[np.ndarray, "b k"], int]:
    """FPR and TPR of B bootstrap resamples at the thresholds, and the number of persons with a genuine pair.

    A person drawn n times counts its genuine pairs n times; an impostor pair of persons drawn n and m times counts n m
    times. Per-person counts below the thresholds of ``counts`` are multiplied by the draws of all resamples at once.
    Resamples without any genuine or impostor pair are dropped.
    """
    size = len(counts.keys)
    draws = draw_persons(num_persons, resamples, seed)
    genuine = np.zeros((num_persons, size), np.float32)
    impostor = np.zeros((resamples, size))
    for person, others, distances in blocks:
        level = np.searchsorted(counts.keys, _keys(distances), side="right")
        shape = num_persons - person, size
        cells = np.bincount((others - person) * size + level, minlength=shape[0] * size).reshape(shape)
        below = np.cumsum(cells, axis=1, dtype=np.float32)
        genuine[person] += below[0]
        impostor += draws[:, person, None] * (draws[:, person + 1 :] @ below[1:])
    accepted = (draws @ genuine).astype(np.float64), impostor
    valid = np.all([pairs[:, -1] > 0 for pairs in accepted], axis=0)
    tpr, fpr = (pairs[valid] / pairs[valid, -1:] for pairs in accepted)
    return fpr, tpr, int((genuine[:, -1] > 0).sum())


def _keys(distances: Float[np.ndarray, "p"]) -> UInt32[np.ndarray, "p"]:
    """The leading bits of non-negative float32 numbers, as integers in the same order."""
    return distances.view(np.uint32) >> _DROPPED_BITS


def _thresholds(keys: UInt32[np.ndarray, "k"]) -> Float32[np.ndarray, "k"]:
    """The smallest distance with each key."""
    return (keys << _DROPPED_BITS).view(np.float32)
