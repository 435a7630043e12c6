"""Input of the data preparation: a data set as it was distributed, its keypoints, and remarks on both.

Needs no TensorFlow.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.datasets.images import image_size
from rgcn_jax.data.datasets.orientation import turned
from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.keypoints.table import read_source
from rgcn_jax.data.prepared.findings import SHOWN, Finding, odd
from rgcn_jax.errors import InputError, listed
from rgcn_jax.types import DISTRACTOR_ID, Split, Tracklet, unique_frames


@dataclass(frozen=True)
class Source:
    """A data set with all its published splits, and each of its tracklets once.

    ``splits``: by split number. ``subsets``: those of ``train`` first, then those of ``test``; where there are several
    splits, all belong to ``frames``.
    """

    dataset: str
    root: Path
    splits: Mapping[int, Split]
    subsets: Mapping[str, tuple[Tracklet, ...]]

    @property
    def tracklets(self) -> tuple[Tracklet, ...]:
        """All tracklets, in the order in which they are prepared."""
        return tuple(t for subset in self.subsets.values() for t in subset)


@dataclass(frozen=True)
class SourceKeypoints:
    """Keypoints of all frames of a source's tracklets in their order, as ``KeypointTable`` has them; those of the junk
    may be missing (zeros). ``remarks``: what is odd about them.
    """

    values: Float32[np.ndarray, "n 14 3"]
    junk: bool
    remarks: tuple[Finding, ...]


def read_splits(dataset: str, root: Path, follow_links: bool = False) -> Source:
    """Read all published splits of a data set.

    Args:
      dataset: a key of ``DATA_SETS``.
      root: its folder.
      follow_links: read what is a symbolic link out of the folder, too.

    Raises:
      InputError: the folder is not as it must be.
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
) -> SourceKeypoints:
    """Read the keypoints of all tracklets; where those of the junk cannot be read, of all others. ``skeleton`` and
    ``units`` as for ``table.read_source``. ``lenient``: images that are not as they must be are no obstacle
    (``frame_sizes``).

    Raises:
      InputError: as ``table.read_source`` does.
    """
    junk = {t for split in source.splits.values() for t in split.junk}
    table, detections = read_source(
        path, source.splits[1], source.tracklets, junk, lenient=lenient, skeleton=skeleton, units=units
    )
    remarks = []
    frames = tuple(table.rows)
    remarks += [Finding(f"doubtful keypoints: {remark}") for remark in table.remarks]
    if len(absent := np.flatnonzero(~detections.has_entry)):
        remarks.append(odd(f"{len(absent):,} frames have no keypoints in {path}", [frames[i] for i in absent]))
    remarks += _unused(path, detections.unused) if path.is_file() else unused_keypoints(path, source)
    if has_junk := table.covers(junk):
        values = table.values
    else:
        values = np.concatenate([table.values, np.zeros((1, 14, 3), np.float32)])  # the last row: of the junk
        remarks.append(Finding("junk tracklets have no usable keypoints: the protocol junk_kept will be left out"))
    rows = [table.rows.get(frame, -1) for tracklet in source.tracklets for frame in tracklet.frames]
    return SourceKeypoints(values[rows], has_junk, tuple(remarks))


def other_sizes(source: Source) -> list[Finding]:
    """First frames that are not of the size that all frames of the data set must have, if it has one, as far as they
    can be read.
    """
    wanted = source.splits[1].frame_size
    if wanted is None:
        return []
    names = []
    for tracklet in source.tracklets:
        with suppress(InputError):
            if (size := image_size(source.root / tracklet.frames[0])) != wanted:
                names.append(f"{tracklet.frames[0]} ({size[0]} x {size[1]})")
    text = f"{len(names):,} tracklets have frames of another size than {wanted[0]} x {wanted[1]} (height x width)"
    if not names:
        return []
    return [Finding(f"{text}, of which keypoints must be pixels: {listed(names, SHOWN)}", tuple(names), problem=True)]


def unused_keypoints(path: Path, source: Source) -> list[Finding]:
    """Keypoint files in a folder that are of no frame, if there are any; nothing of what is no folder."""
    return _unused(path, formats.unused_files(path, unique_frames(source.tracklets))) if path.is_dir() else []


def damaged_keypoints(path: Path, source: Source, skeleton: str | None, known: InputError) -> list[Finding]:
    """Keypoint files in a folder that cannot be used, but for those that ``known`` names; none if ``path`` is no
    folder.
    """
    if not path.is_dir():
        return []
    frames = unique_frames(source.tracklets)
    names = [name for name in formats.damaged_files(path, frames, skeleton) if name not in known.names]
    text = f"{len(names):,} keypoint files in {path} cannot be used: {listed(names, SHOWN)}"
    return [Finding(text, tuple(names), problem=True)] if names else []


def _unused(path: Path, names: Sequence[str]) -> list[Finding]:
    return [odd(f"{len(names):,} entries of {path} are keypoints of no frame of the data set", names)] if names else []


def remarks(source: Source, frames_per_clip: int) -> list[Finding]:
    """What is odd about a data set, though it can be used: short tracklets, identities that training can hardly use,
    queries without a match.
    """
    found = [Finding(text) for text in turned(source.root, source.tracklets)]
    for subset, tracklets in source.subsets.items():
        short = [t for t in tracklets if len(t.frames) < frames_per_clip]
        if short:
            text = (
                f"{len(short):,} of the {len(tracklets):,} tracklets of {subset} have fewer than {frames_per_clip} "
                "frames, and their clips are padded"
            )
            shortest_first = sorted(short, key=lambda t: len(t.frames))
            found.append(odd(text, [f"{t.frames[0]} ({len(t.frames)})" for t in shortest_first]))
    for number, split in source.splits.items():
        which = f" of split {number}" if len(source.splits) > 1 else ""
        cameras: dict[int, set[int]] = {}
        for tracklet in split.train:
            cameras.setdefault(tracklet.person_id, set()).add(tracklet.camera_id)
        counts = Counter(t.person_id for t in split.train)
        groups = {
            "are seen by one camera only": [p for p in sorted(cameras) if len(cameras[p]) == 1],
            "have a single tracklet": [p for p in sorted(counts) if counts[p] == 1],
        }
        for what, ids in groups.items():
            if ids:
                text = f"{len(ids):,} of the {len(cameras):,} persons that are trained on{which} {what}"
                found.append(odd(text, [str(p) for p in ids]))
        seen = {(t.person_id, t.camera_id) for t in split.gallery if t.person_id > DISTRACTOR_ID}
        seen_by = Counter(person for person, _ in seen)
        alone = [t for t in split.query if seen_by[t.person_id] - ((t.person_id, t.camera_id) in seen) == 0]
        if alone:
            text = f"{len(alone):,} of the {len(split.query):,} queries{which} have no match in another camera"
            found.append(odd(text, [t.frames[0] for t in alone]))
    return found


@contextmanager
def collected_warnings(findings: list[Finding]) -> Iterator[None]:
    """Python's warnings of the block, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    texts = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    findings += [Finding(text) for text in texts]
