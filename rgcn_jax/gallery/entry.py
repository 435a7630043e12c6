"""Entries of a gallery: metadata of enrolled tracklets, and filters over entries."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.types import UNKNOWN_ID

COLUMNS = np.dtype(
    [
        ("id", "<i8"),
        ("key", "<u8"),  # digest of source and tracklet
        ("source", "<u8"),  # digest
        ("person_id", "<i4"),
        ("camera_id", "<i4"),
        ("start", "<f8"),  # NaN if unknown, as for end and quality
        ("end", "<f8"),
        ("quality", "<f8"),
        ("square_a", "<f8"),  # squared norms of the stored features
        ("square_p", "<f8"),
        ("text", "<u4"),  # length of the entry's JSON text in bytes
    ]
)
"""Fields of an entry kept in memory, 76 bytes. Filters read no others."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class Entry:
    """An enrolled tracklet, identified by ``source`` and ``tracklet``. A gallery contains each such pair once.

    Attributes:
      tracklet: name of the tracklet in the source, such as the path of its first frame.
      source: origin of the tracklet: a data set's folder, a features file or a video.
      person_id: as in ``Tracklet``; ``UNKNOWN_ID`` for an unidentified person.
      camera_id: from 1; 0 if unknown.
      start: time of the first frame in seconds since 1970-01-01 UTC; None if unknown.
      end: time of the last frame, in the same unit.
      quality: any measure for which higher is better. The commands use the mean fraction of keypoints detected.
      num_frames: length of the tracklet; 0 if unknown.
      frames: paths of some of its frames in order, relative to ``root``, for display.
      root: folder of the frames. If relative, it is inside the gallery's folder, and the gallery owns the frames.
      video: video file that the tracklet was cut from.
      data_set: name of the data set.
      keypoints: packed keypoints of ``frames`` (``frame_images.py``); empty if unknown.
    """

    tracklet: str
    source: str = ""
    person_id: int = UNKNOWN_ID
    camera_id: int = 0
    start: float | None = None
    end: float | None = None
    quality: float | None = None
    num_frames: int = 0
    frames: tuple[str, ...] = ()
    root: str = ""
    video: str = ""
    data_set: str = ""
    keypoints: str = ""

    @property
    def key(self) -> int:
        """64-bit digest of source and tracklet."""
        return digest(f"{self.source}\0{self.tracklet}")

    def to_json(self) -> bytes:
        """Encode as UTF-8 JSON without the fields that have their default value."""
        fields = {name: value for name, value in vars(self).items() if value != DEFAULT.get(name)}
        return _ENCODER.encode(fields).encode()

    @classmethod
    def from_json(cls, text: bytes, id: int) -> "Entry":
        """Inverse of ``to_json``. Raises InputError if the text of entry ``id`` is invalid."""
        with as_input_error(f"entry {id} was not written by this program", kinds=MALFORMED):
            fields: Any = json.loads(text.decode())  # faster than on bytes, for which json detects the encoding
            for name, value in fields.items():  # in the search path: no generator, for speed
                if not isinstance(value, TYPES[name]):
                    raise ValueError(f"not an entry: {str(fields)[:100]}")
            if "frames" in fields:
                fields["frames"] = tuple(map(str, fields["frames"]))
            return cls(fields.pop("tracklet"), **fields)


class Match(NamedTuple):
    """An entry in the results of a search.

    ``same`` is the verdict "same person" at the requested false positive rate. ``text`` is the entry as JSON.
    """

    id: int
    distance: float
    same: bool | None
    text: bytes

    @property
    def entry(self) -> Entry:
        """The entry, decoded on access. Raises InputError if the text is invalid."""
        return Entry.from_json(self.text, self.id)


TIME = (float, int, type(None))
TYPES = {"person_id": int, "camera_id": int, "num_frames": int, "frames": list} | {
    **dict.fromkeys(("tracklet", "source", "root", "video", "data_set", "keypoints"), str),
    **dict.fromkeys(("start", "end", "quality"), TIME),
}
"""Valid JSON types of each field."""
DEFAULT = {name: value for name, value in vars(Entry("")).items() if name != "tracklet"}


def digest(text: str) -> int:
    """Return a 64-bit hash of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def check_new(entries: Sequence[Entry], there: Sequence[bool]) -> None:
    """Check that entries are new and distinct.

    Args:
      entries: entries to add.
      there: mask of those that the gallery contains already.

    Raises:
      InputError: an entry exists already or is a duplicate.
    """
    seen: set[int] = set()
    for entry, known in zip(entries, there, strict=True):
        if known or entry.key in seen:
            where = "in the gallery already" if known else "added twice"
            raise InputError(
                f"{entry.tracklet!r} of {entry.source!r} is {where}: an entry is named by its source and tracklet; "
                "remove the old one first."
            )
        seen.add(entry.key)


def to_columns(entries: Sequence[Entry], first_id: int, squares: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Return the rows of ``COLUMNS`` and the texts of new entries, with ids from ``first_id`` on.

    Raises:
      InputError: a field has a value that cannot be stored.
    """
    columns = np.empty(len(entries), COLUMNS)
    texts = [entry.to_json() for entry in entries]
    for name in ("start", "end", "quality"):
        columns[name] = [np.nan if (value := getattr(entry, name)) is None else value for entry in entries]
    for name in ("person_id", "camera_id"):
        values = [getattr(entry, name) for entry in entries]
        if any(not -(2**31) <= value < 2**31 for value in values):
            raise InputError(f"{name} of an entry is {max(values, key=abs)}: expected a whole number of 32 bits.")
        columns[name] = values
    columns["id"] = np.arange(first_id, first_id + len(entries))
    columns["key"] = [entry.key for entry in entries]
    sources = {source: digest(source) for source in {entry.source for entry in entries}}
    columns["source"] = [sources[entry.source] for entry in entries]
    columns["square_a"], columns["square_p"] = squares
    columns["text"] = [len(text) for text in texts]
    return columns, b"".join(texts)


@dataclass(frozen=True)
class Where:
    """Filter that selects the entries satisfying every condition that is not None. ``Where()`` selects all.

    Attributes:
      ids: ids of entries, as returned by ``Gallery.add``.
      not_ids: ids of excluded entries, such as the query itself.
      persons: person ids.
      cameras: camera ids; 0 is unknown.
      not_cameras: excluded cameras, such as the query's own.
      sources: values of ``Entry.source``.
      after: selects entries that end at or after this time, in seconds since 1970-01-01 UTC.
      before: selects entries that start at or before this time. Entries of unknown time satisfy neither condition.
      min_quality: minimum quality. Entries of unknown quality do not satisfy it.
    """

    ids: Collection[int] | None = None
    not_ids: Collection[int] | None = None
    persons: Collection[int] | None = None
    cameras: Collection[int] | None = None
    not_cameras: Collection[int] | None = None
    sources: Collection[str] | None = None
    after: float | None = None
    before: float | None = None
    min_quality: float | None = None

    def mask(self, columns: np.ndarray) -> Bool[np.ndarray, "n"]:
        """Return the mask of the rows of ``COLUMNS`` that satisfy the filter."""
        found = np.ones(len(columns), bool)
        for name, wanted in (("id", self.ids), ("person_id", self.persons), ("camera_id", self.cameras)):
            if wanted is not None:
                found &= np.isin(columns[name], list(wanted))
        for name, refused in (("id", self.not_ids), ("camera_id", self.not_cameras)):
            if refused is not None:
                found &= ~np.isin(columns[name], list(refused))
        if self.sources is not None:
            found &= np.isin(columns["source"], np.array([digest(source) for source in self.sources], np.uint64))
        if self.after is not None:
            found &= np.where(np.isnan(columns["end"]), columns["start"], columns["end"]) >= self.after
        if self.before is not None:
            found &= columns["start"] <= self.before
        if self.min_quality is not None:
            found &= columns["quality"] >= self.min_quality
        return found


EVERYTHING = Where()
"""Filter without conditions."""
