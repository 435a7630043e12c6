"""Input of the data preparation: an original data set, its keypoints, and remarks on both."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.orientation import turned
from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.keypoints.table import KeypointTable, read_source
from rgcn_jax.errors import listed
from rgcn_jax.types import DISTRACTOR_ID, Split, Tracklet, unique_frames

SHOWN = 20
"""Maximum number of names in a message."""


class Finding(NamedTuple):
    """A problem or a remark, with all affected frames, files, persons or tracklets.

    The message may contain the first names.
    """

    text: str
    names: tuple[str, ...] = ()


def counted(names: Sequence[str], text: str) -> list[Finding]:
    """Create a finding with the number of names before the text and the first names after it; none without names."""
    return [Finding(f"{len(names):,} {text}: {listed(names, SHOWN)}", tuple(names))] if names else []


@dataclass(frozen=True)
class Source:
    """A data set with all of its published splits and its distinct tracklets.

    ``splits``: by split number. ``subsets``: tracklets by subset, ``train`` and ``test``. If there are several splits,
    the only subset is ``frames``, with all tracklets.
    """

    dataset: str
    root: Path
    splits: Mapping[int, Split]
    subsets: Mapping[str, tuple[Tracklet, ...]]

    @property
    def tracklets(self) -> tuple[Tracklet, ...]:
        """All tracklets, in the order of preparation."""
        return tuple(t for subset in self.subsets.values() for t in subset)

    @property
    def junk(self) -> set[Tracklet]:
        """Tracklets that are junk in any split."""
        return {t for split in self.splits.values() for t in split.junk}


def read_splits(dataset: str, root: Path, follow_links: bool = False) -> Source:
    """Read all published splits of a data set, a key of ``DATA_SETS``, below a root.

    ``follow_links``: whether to follow symbolic links out of the folder. Raises InputError if the data set is invalid.
    """
    data_set = DATA_SETS[dataset]
    first = data_set.load(root, follow_links=follow_links)
    if dataset in SEVERAL_SPLITS:
        others = {n: data_set.load(root, n, follow_links) for n in range(2, data_set.num_splits(root) + 1)}
        splits = {1: first, **others}
        tracklets = {t for s in splits.values() for t in (*s.train, *s.query, *s.gallery, *s.junk)}
        return Source(dataset, root, splits, {"frames": tuple(sorted(tracklets, key=lambda t: t.frames))})
    train = dict.fromkeys(first.train)
    test = dict.fromkeys(t for t in (*first.query, *first.gallery, *first.junk) if t not in train)
    subsets = {"train": tuple(train), "test": tuple(test)}
    return Source(dataset, root, {1: first}, {name: subset for name, subset in subsets.items() if subset})


def read_keypoints(
    path: Path, source: Source, skeleton: str | None = None, units: str | None = None, lenient: bool = False
) -> tuple[KeypointTable, list[Finding]]:
    """Read the keypoints of all tracklets, or of all except junk if those of junk cannot be read, and remarks on them.

    Arguments and errors as for ``table.read_source``.
    """
    table, detections = read_source(
        path, source.splits[1], source.tracklets, source.junk, lenient=lenient, skeleton=skeleton, units=units
    )
    found = [Finding(f"doubtful keypoints: {remark}") for remark in table.remarks]
    absent = [frame for frame, has_entry in zip(table.rows, detections.has_entry, strict=True) if not has_entry]
    found += counted(absent, f"frames have no keypoints in {path}")
    found += unused_keypoints(path, source, detections.unused)
    if not table.covers(source.junk):
        found.append(Finding("junk tracklets have no usable keypoints: the protocol junk_kept will be left out"))
    return table, found


def unused_keypoints(path: Path, source: Source, entries: Sequence[str] = ()) -> list[Finding]:
    """Keypoints that belong to no frame: files of a folder, or entries of a file."""
    names = formats.unused_files(path, unique_frames(source.tracklets)) if path.is_dir() else entries
    return counted(names, f"entries of {path} are keypoints of no frame of the data set")


def remarks(source: Source, frames_per_clip: int) -> list[Finding]:
    """Remarks on a usable data set: short tracklets, persons with one camera or tracklet, queries without a match."""
    found = [Finding(text) for text in turned(source.root, source.tracklets)]
    for subset, tracklets in source.subsets.items():
        short = sorted((t for t in tracklets if len(t.frames) < frames_per_clip), key=lambda t: len(t.frames))
        found += counted(
            [f"{t.frames[0]} ({len(t.frames)})" for t in short],
            f"of the {len(tracklets):,} tracklets of {subset} have fewer than {frames_per_clip} frames, and their "
            "clips are padded",
        )
    for number, split in source.splits.items():
        which = f" of split {number}" if len(source.splits) > 1 else ""
        cameras: dict[int, list[int]] = {}
        for tracklet in split.train:
            cameras.setdefault(tracklet.person_id, []).append(tracklet.camera_id)
        persons, trained = sorted(cameras), f"of the {len(cameras):,} persons that are trained on{which}"
        found += counted([str(p) for p in persons if len({*cameras[p]}) == 1], f"{trained} are seen by one camera only")
        found += counted([str(p) for p in persons if len(cameras[p]) == 1], f"{trained} have a single tracklet")
        seen = {(t.person_id, t.camera_id) for t in split.gallery if t.person_id > DISTRACTOR_ID}
        seen_by = Counter(person for person, _ in seen)
        found += counted(
            [t.frames[0] for t in split.query if seen_by[t.person_id] == ((t.person_id, t.camera_id) in seen)],
            f"of the {len(split.query):,} queries{which} have no match in another camera",
        )
    return found


@contextmanager
def collected_warnings(findings: list[Finding]) -> Iterator[None]:
    """Collect the distinct UserWarnings of the block as findings."""
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as caught:
        yield
    texts = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    findings += [Finding(text) for text in texts]
