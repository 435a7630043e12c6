"""What the preparation starts from: a data set as it was distributed and its keypoints, and all that is odd about them.
Needs no TensorFlow.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.datasets.image_size import image_size
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.keypoints.table import frame_sizes, shares_of_crop, unique_frames
from rgcn_jax.data.prepared.findings import SHOWN, Finding, odd
from rgcn_jax.errors import InputError, listed
from rgcn_jax.types import DISTRACTOR_ID, Split, Tracklet


@dataclass(frozen=True)
class Source:
    """A data set with all its splits, and each of its tracklets once: those of ``train`` first, then those of
    ``test``; where there are several splits, all belong to ``frames``.
    """

    dataset: str
    root: Path
    splits: Mapping[int, Split]
    parts: Mapping[str, tuple[Tracklet, ...]]

    @property
    def tracklets(self) -> tuple[Tracklet, ...]:
        """All tracklets, in the order in which they are prepared."""
        return tuple(t for part in self.parts.values() for t in part)


@dataclass(frozen=True)
class SourceKeypoints:
    """Keypoints of all frames of a source's tracklets in their order, as ``KeypointTable`` has them; those of the junk
    may be missing (zeros). ``remarks``: what is odd about them.
    """

    values: Float32[np.ndarray, "n 14 3"]
    junk: bool
    remarks: tuple[Finding, ...]


def read_splits(dataset: str, root: Path, load: Callable[..., Split], several: bool) -> Source:
    """Read the split of a data set; or all of them, where it has ``several``.

    Raises:
      InputError: the folder is not as it must be.
    """
    splits: dict[int, Split] = {}
    if several:
        while True:
            try:
                splits[len(splits) + 1] = load(root, split=len(splits) + 1)
            except InputError as error:
                if splits and "there is no split" in str(error):
                    break
                raise
        tracklets = {t for s in splits.values() for t in (*s.train, *s.query, *s.gallery, *s.junk)}
        return Source(dataset, root, splits, {"frames": tuple(sorted(tracklets, key=lambda t: t.frames))})
    split = load(root)
    train = dict.fromkeys(split.train)
    test = dict.fromkeys(t for t in (*split.query, *split.gallery, *split.junk) if t not in train)
    parts = {"train": tuple(train), "test": tuple(test)}
    return Source(dataset, root, {1: split}, {name: part for name, part in parts.items() if part})


def read_keypoints(path: Path, source: Source, lenient: bool = False) -> SourceKeypoints:
    """Read the keypoints of all tracklets; where those of the junk cannot be read, of all others. ``lenient``: images
    that are not as they must be are no obstacle (``frame_sizes``).

    Raises:
      InputError: as ``keypoints.load`` does.
    """
    junk = {t for split in source.splits.values() for t in split.junk}
    try:
        values, remarks = _values(path, source, source.tracklets, lenient)
        return SourceKeypoints(values, True, tuple(remarks))
    except InputError:
        if not junk:
            raise
    needed = [t for t in source.tracklets if t not in junk]
    of_needed, remarks = _values(path, source, needed, lenient)  # raises where more than junk is at fault
    is_junk = np.repeat([t in junk for t in source.tracklets], [len(t.frames) for t in source.tracklets])
    values = np.zeros((len(is_junk), 14, 3), np.float32)
    values[~is_junk] = of_needed
    remarks.append(Finding("junk tracklets have no usable keypoints: the protocol junk_kept will be left out"))
    return SourceKeypoints(values, False, tuple(remarks))


def _values(
    path: Path, source: Source, tracklets: Sequence[Tracklet], lenient: bool
) -> tuple[Float32[np.ndarray, "n 14 3"], list[Finding]]:
    frames = unique_frames(tracklets)
    sizes = frame_sizes(source.splits[1], tracklets, frames, lenient)
    found = formats.read(path, frames, sizes)
    shares = shares_of_crop(path, found.pixels, sizes)
    remarks = []
    absent = np.flatnonzero(~found.has_entry)
    if len(absent):
        remarks.append(odd(f"{len(absent):,} frames have no keypoints in {path}", [frames[i] for i in absent]))
    remarks += _unused(path, found.unused) if path.is_file() else unused_keypoints(path, source)
    rows = {frame: row for row, frame in enumerate(frames)}
    return shares[[rows[frame] for t in tracklets for frame in t.frames]], remarks


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


def damaged_keypoints(path: Path, source: Source, told: InputError) -> list[Finding]:
    """Keypoint files in a folder that cannot be used, but for those that ``told`` names; nothing of what is no
    folder.
    """
    if not path.is_dir():
        return []
    frames = unique_frames(source.tracklets)
    names = [name for name in formats.damaged_files(path, frames) if name not in told.names]
    text = f"{len(names):,} keypoint files in {path} cannot be used: {listed(names, SHOWN)}"
    return [Finding(text, tuple(names), problem=True)] if names else []


def _unused(path: Path, names: Sequence[str]) -> list[Finding]:
    return [odd(f"{len(names):,} entries of {path} are keypoints of no frame of the data set", names)] if names else []


def remarks(source: Source, frames_per_clip: int) -> list[Finding]:
    """What is odd about a data set, though it can be used: short tracklets, people whom training can hardly use,
    queries that have no match.
    """
    found = []
    for part, tracklets in source.parts.items():
        short = [t for t in tracklets if len(t.frames) < frames_per_clip]
        if short:
            text = (
                f"{len(short):,} of the {len(tracklets):,} tracklets of {part} have fewer than {frames_per_clip} "
                "frames, and their clips are filled up"
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
        for what, people in groups.items():
            if people:
                text = f"{len(people):,} of the {len(cameras):,} people that are trained on{which} {what}"
                found.append(odd(text, [str(p) for p in people]))
        seen = {(t.person_id, t.camera_id) for t in split.gallery if t.person_id > DISTRACTOR_ID}
        seen_by = Counter(person for person, _ in seen)
        alone = [t for t in split.query if seen_by[t.person_id] - ((t.person_id, t.camera_id) in seen) == 0]
        if alone:
            text = f"{len(alone):,} of the {len(split.query):,} queries{which} have no match in another camera"
            found.append(odd(text, [t.frames[0] for t in alone]))
    return found


@contextmanager
def collected_warnings(into: list[Finding]) -> Iterator[None]:
    """Python's warnings of the block, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    texts = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    into += [Finding(text) for text in texts]
