"""Comparison of a data set with its published counts; description of a published split."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence

from rgcn_jax.types import DISTRACTOR_ID, Split


def compare_with_published(title: str, split: Split, published: Mapping[str, int], small: int, splits: int = 1) -> None:
    """Warn of every count that differs from the published one.

    Args:
      title: name of the data set.
      split: the data set as read.
      published: counts by subset, in the order of the report.
      small: number of training tracklets up to which a data set is not compared, since it only shares the layout.
      splits: number of published splits that were found.

    Warns:
      UserWarning: a count differs; attributed to the caller's caller.
    """
    if len(split.train) <= small:
        return
    test = {*split.query, *split.gallery, *split.junk}
    found = {
        "training identities": len(split.train_person_ids),
        "training tracklets": len(split.train),
        "training frames": sum(len(t.frames) for t in split.train),
        "test identities": len({t.person_id for t in test}),
        "test tracklets": len(test),
        "test frames": sum(len(t.frames) for t in test),
        "junk tracklets": len(split.junk),
        "distractor tracklets": sum(t.person_id == DISTRACTOR_ID for t in test),
        "queries": len(split.query),
        "gallery tracklets": len(split.gallery),
        "gallery frames": sum(len(t.frames) for t in split.gallery),
        "splits": splits,
    }
    differ = [f"{part}: expected {n:,}, found {found[part]:,}" for part, n in published.items() if found[part] != n]
    if differ:
        warnings.warn(
            f"This is not {title} as published ({'; '.join(differ)}): scores on it cannot stand beside published ones.",
            stacklevel=3,
        )


def describe_split(split_number: int, num_splits: int, train: Sequence[str], test: Sequence[str]) -> str:
    """Describe one of several published splits, such as "split 3 of 10 (1a2b3c4d)".

    In brackets are the first 8 hexadecimal digits of the SHA-256 of ``{"test":[...],"train":[...]}``: JSON without
    blanks, with sorted names of the person folders. Thus files that list the same persons in another order, by index or
    by name, have the same hash. Different files of the same name are in circulation.

    Args:
      split_number: number of the split, from 1.
      num_splits: number of splits.
      train: folder names of the training persons.
      test: folder names of the test persons.
    """
    content = json.dumps({"test": sorted(test), "train": sorted(train)}, separators=(",", ":"))
    return f"split {split_number} of {num_splits} ({hashlib.sha256(content.encode()).hexdigest()[:8]})"
