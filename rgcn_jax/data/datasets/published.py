"""Published counts of the data sets compared with what was found; the description of a published split."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence

from rgcn_jax.types import DISTRACTOR_ID, Split


def compare_with_published(title: str, split: Split, published: Mapping[str, int], small: int, splits: int = 1) -> None:
    """Warn of every count that is not the published one, by its name.

    Args:
      title: name of the data set.
      split: what was found.
      published: by part, in the order in which they are reported.
      small: up to so many training tracklets a data set only has this layout: its counts are not compared.
      splits: how many published splits were found.

    Warns:
      UserWarning: a count differs; it points at the caller of the caller.
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
