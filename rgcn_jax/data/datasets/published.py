"""Published counts of the data sets compared with what was found; the description of a published split."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence


def compare_with_published(title: str, published: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Warn of every count that is not the published one, by its name.

    Args:
      title: name of the data set.
      published: by part, in the order in which they are reported.
      found: of the same parts.

    Warns:
      UserWarning: a count differs; it points at the caller of the caller.
    """
    differ = [f"{part}: expected {n:,}, found {found[part]:,}" for part, n in published.items() if found[part] != n]
    if differ:
        warnings.warn(
            f"This is not {title} as published ({'; '.join(differ)}): scores on it cannot stand beside published ones.",
            stacklevel=3,
        )


def describe_split(split_number: int, num_splits: int, train: Sequence[str], test: Sequence[str]) -> str:
    """The description of one of several published splits, such as "split 3 of 10 (1a2b3c4d)".

    In brackets are the first 8 hexadecimal digits of the SHA-256 of ``{"test":[...],"train":[...]}``: JSON without
    blanks, the names of the person folders sorted. So files that list the same persons in another order, as indices or
    as names, have the same hash; files of that name with other persons do circulate.

    Args:
      split_number: which split, from 1.
      num_splits: how many there are.
      train: names of the folders of the persons that are trained on.
      test: names of the folders of the other persons.
    """
    content = json.dumps({"test": sorted(test), "train": sorted(train)}, separators=(",", ":"))
    return f"split {split_number} of {num_splits} ({hashlib.sha256(content.encode()).hexdigest()[:8]})"
