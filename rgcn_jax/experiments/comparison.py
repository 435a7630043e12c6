"""Paired comparison of two configurations: mean difference of a metric over queries, its interval and p-value.

Repetitions (seeds, splits) of both are paired, and differences are taken per query. If several pairs have the same
queries, the differences of each query are averaged first; queries of different data sets or splits are distinct, and so
are their persons. Interval and test resample persons (``evaluation/significance.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rgcn_jax.errors import InputError, listed
from rgcn_jax.evaluation.significance import Difference, paired_difference
from rgcn_jax.experiments.scored_run import ScoredRun

METRICS = ("mAP", "mINP", "rank1", "rank5", "rank10")


@dataclass(frozen=True)
class Cell:
    """Comparison of one row and metric: means of both configurations in per cent, and their difference.

    ``p_holm``: p-value after Holm's correction over all cells of the comparison. ``wins``, ``losses``: number of
    queries for which the second is better, worse. ``num_queries``: number of queries with a value in both.
    """

    row: str
    metric: str
    first: float
    second: float
    difference: Difference
    p_holm: float
    wins: int
    losses: int
    num_queries: int
    num_persons: int


@dataclass(frozen=True)
class Comparison:
    """All cells, and the queries whose average precision changed most: (first frame, difference of the fused row)."""

    protocol: str
    num_pairs: int
    cells: tuple[Cell, ...]
    gains: tuple[tuple[str, float], ...]
    losses: tuple[tuple[str, float], ...]


def group(runs: Sequence[ScoredRun]) -> list[list[ScoredRun]]:
    """Group runs by configuration, in the order of the first run of each."""
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(run.configuration.items())), []).append(run)
    return list(groups.values())


def differing(first: ScoredRun, second: ScoredRun) -> dict[str, tuple[Any, Any]]:
    """Fields in which two configurations differ: name -> (first, second)."""
    a, b = first.configuration, second.configuration
    return {n: (a.get(n), b.get(n)) for n in sorted({*a, *b}) if a.get(n) != b.get(n)}


def pairs(first: Sequence[ScoredRun], second: Sequence[ScoredRun]) -> list[tuple[ScoredRun, ScoredRun]]:
    """Pair the repetitions that both configurations have.

    Raises:
      InputError: a configuration has a repetition twice, or there is no common one.
    """
    by_repetition: list[dict[Any, ScoredRun]] = []
    for runs in (first, second):
        found: dict[Any, ScoredRun] = {}
        for run in runs:
            if run.repetition in found:
                raise InputError(
                    f"{found[run.repetition].path} and {run.path} are the same configuration, seed and split: omit one."
                )
            found[run.repetition] = run
        by_repetition.append(found)
    common = [repetition for repetition in by_repetition[0] if repetition in by_repetition[1]]
    if not common:
        seeds = [", ".join(str(r[0]) for r in found) for found in by_repetition]
        raise InputError(f"no common seed and split: the first has seeds {seeds[0]}, the second {seeds[1]}.")
    return [(by_repetition[0][r], by_repetition[1][r]) for r in common]


def compare(
    paired: Sequence[tuple[ScoredRun, ScoredRun]],
    rows: Sequence[tuple[str, str]],
    protocol: str,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two configurations over their pairs of runs.

    ``rows``: (row of the first, row of the second) to compare; usually the same. ``resamples`` and ``seed``: see
    ``significance.paired_difference``.

    Raises:
      InputError: the runs of a pair have different queries, a row or protocol is missing, or there is nothing to
        compare.
    """
    if not rows:
        first, second = paired[0]
        raise InputError(f"{first.path} and {second.path} have no row in common: compare runs that share a branch.")
    cells: list[Cell] = []
    gains: list[tuple[str, float]] = []
    for row in rows:
        for metric in METRICS:
            a, b, persons, names = _values(paired, row, f"{protocol}/{{}}/{metric}")
            change = b - a
            if metric == "mAP":
                order = np.argsort(change, kind="stable")
                gains = list(zip(names[order].tolist(), change[order].tolist(), strict=True))
            difference = paired_difference(a, b, persons, resamples, seed)
            cells.append(
                Cell(
                    row=row[1] if row[0] == row[1] else f"{row[0]} -> {row[1]}",
                    metric=metric,
                    first=float(a.mean()),
                    second=float(b.mean()),
                    difference=difference,
                    p_holm=difference.p_value,
                    wins=int((change > 0).sum()),
                    losses=int((change < 0).sum()),
                    num_queries=len(change),
                    num_persons=len(np.unique(persons)),
                )
            )
    corrected = holm([cell.p_holm for cell in cells])
    cells = [replace(cell, p_holm=p) for cell, p in zip(cells, corrected, strict=True)]
    most, least = (g for g in gains[::-1][:10] if g[1] > 0), (g for g in gains[:10] if g[1] < 0)
    return Comparison(protocol, len(paired), tuple(cells), tuple(most), tuple(least))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for multiple tests, which controls the family-wise error rate."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()


def _values(
    paired: Sequence[tuple[ScoredRun, ScoredRun]], row: tuple[str, str], key: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each distinct query with both values: their means over the pairs that have it, person, and first frame."""
    blocks: dict[Any, list[tuple[np.ndarray, np.ndarray]]] = {}
    runs: dict[Any, ScoredRun] = {}
    for first, second in paired:
        a, b = _column(first, key.format(row[0])), _column(second, key.format(row[1]))
        position = {name: i for i, name in enumerate(second.first_frames)}
        if set(position) != set(first.first_frames):
            absent = sorted(set(position) ^ set(first.first_frames))
            raise InputError(f"{first.path} and {second.path} have different queries: only one has {listed(absent)}.")
        order = np.array([position[name] for name in first.first_frames], int)
        if (second.person_ids[order] != first.person_ids).any():
            raise InputError(
                f"{first.path} and {second.path} have queries of the same names, but of different persons."
            )
        data = (first.config.get("data.name"), first.config.get("data.split"), first.config.get("data.walkers.seed"))
        identity = (data, first.first_frames)
        blocks.setdefault(identity, []).append((a, b[order]))
        runs[identity] = first
    a, b = np.concatenate([np.mean(block, axis=0) for block in blocks.values()], axis=1)
    persons, start = [], 0
    for run in runs.values():
        _, person = np.unique(run.person_ids, return_inverse=True)
        persons.append(person + start)
        start += person.max(initial=-1) + 1
    names = np.array([name for run in runs.values() for name in run.first_frames])
    both = ~np.isnan(a - b)
    if not both.any():
        raise InputError(f"{paired[0][0].path} and {paired[0][1].path} have no query with a match in both.")
    return a[both], b[both], np.concatenate(persons)[both], names[both]


def _column(run: ScoredRun, key: str) -> np.ndarray:
    if key not in run.scores:
        there = sorted({name.rpartition("/")[0] for name in run.scores})
        raise InputError(f"{run.path} has no {key}: expected one of {', '.join(there)}.")
    return run.scores[key].astype(np.float64)


def as_json(comparison: Comparison, first: ScoredRun, second: ScoredRun) -> Mapping[str, Any]:
    """The comparison, and the fields in which the configurations differ, as JSON values."""
    return {
        "protocol": comparison.protocol,
        "pairs": comparison.num_pairs,
        "differing_fields": {name: list(values) for name, values in differing(first, second).items()},
        "cells": [{**vars(cell), "difference": cell.difference._asdict()} for cell in comparison.cells],
        "largest_gains": list(comparison.gains),
        "largest_losses": list(comparison.losses),
    }
