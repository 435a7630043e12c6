"""Comparison of a data set with its published counts; assembly of one of several published splits."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from rgcn_jax.types import DISTRACTOR_ID, Split, Tracklet


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


def two_camera_split(
    name: str,
    root: Path,
    tracklets: Mapping[tuple[str, str], Tracklet],
    train: Sequence[str],
    test: Sequence[str],
    split_number: int,
    num_splits: int,
) -> Split:
    """Assemble one of several published splits of a data set with two cameras.

    Training has both cameras, person by person; queries are from the first camera, the gallery from the second. The
    description is like "split 3 of 10 (1a2b3c4d)". In brackets are the first 8 hexadecimal digits of the SHA-256 of
    ``{"test":[...],"train":[...]}``: JSON without blanks, with sorted names of the person folders. Thus files that list
    the same persons in another order, by index or by name, have the same hash. Different files of the same name are in
    circulation.

    ``tracklets``: camera and person folder -> tracklet, the first camera first. ``train``, ``test``: person folders.
    ``split_number``: from 1.
    """
    first, second = dict.fromkeys(camera for camera, _ in tracklets)
    content = json.dumps({"test": sorted(test), "train": sorted(train)}, separators=(",", ":"))
    return Split(
        name=name,
        root=root,
        train=tuple(tracklets[camera, person] for person in train for camera in (first, second)),
        query=tuple(tracklets[first, person] for person in test),
        gallery=tuple(tracklets[second, person] for person in test),
        split_description=f"split {split_number} of {num_splits} ({hashlib.sha256(content.encode()).hexdigest()[:8]})",
    )
