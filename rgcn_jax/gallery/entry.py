"""Entries of a gallery: what is known of an enrolled tracklet beside its features, and filters over entries."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from rgcn_jax.errors import InputError
from rgcn_jax.types import UNKNOWN_ID

COLUMNS = np.dtype(
    [
        ("id", "<i8"),
        ("key", "<u8"),  # digest of source and tracklet
        ("source", "<u8"),  # digest
        ("person_id", "<i4"),
        ("camera_id", "<i4"),
        ("start", "<f8"),  # NaN where unknown, as end and quality
        ("end", "<f8"),
        ("quality", "<f8"),
        ("square_a", "<f8"),  # squared norms of the stored features
        ("square_p", "<f8"),
        ("text", "<u4"),  # bytes of the entry's JSON text
    ]
)
"""What is kept of each entry in memory, 76 bytes; filters read nothing else."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class Entry:
    """An enrolled tracklet. ``source`` and ``tracklet`` together name it: a gallery holds each such pair once.

    Attributes:
      tracklet: its name in the source, such as the path of its first frame.
      source: where it comes from: a data set's folder, a features file, a video.
      person_id: as in ``Tracklet``; ``UNKNOWN_ID`` where nobody has named the person.
      camera_id: from 1; 0 where unknown.
      start: seconds since 1970-01-01 UTC of its first frame; None where unknown.
      end: of its last frame.
      quality: any measure in which more is better; the commands take the mean share of keypoints detected.
      num_frames: of the tracklet; 0 where unknown.
      frames: paths of some of its frames in order, relative to ``root``, for looking at it.
      root: folder of the frames; a relative one lies in the gallery's folder, which then owns them.
      video: file that it was cut out of.
      data_set: name of the data set.
      keypoints: of ``frames``, packed (``shown_keypoints.py``); empty where unknown.
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
        """Digest of source and tracklet, 64 bits."""
        return digest(f"{self.source}\0{self.tracklet}")

    def to_json(self) -> bytes:
        """As UTF-8 JSON without the fields that have their default."""
        fields = {name: value for name, value in vars(self).items() if value != DEFAULT.get(name)}
        return _ENCODER.encode(fields).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Entry":
        """The entry of ``to_json``. Raises ValueError, KeyError or RecursionError where it is none."""
        fields: Any = json.loads(text.decode())  # faster than of bytes, whose encoding it would look for
        if not isinstance(fields, dict):
            raise ValueError(f"not an entry: {str(fields)[:100]}")
        for name, value in fields.items():  # a search waits for it: without a generator
            if not isinstance(value, TYPES[name]):
                raise ValueError(f"not an entry: {str(fields)[:100]}")
        if "frames" in fields:
            fields["frames"] = tuple(map(str, fields["frames"]))
        return cls(fields.pop("tracklet"), **fields)


TIME = (float, int, type(None))
TYPES = {"person_id": int, "camera_id": int, "num_frames": int, "frames": list} | {
    **dict.fromkeys(("tracklet", "source", "root", "video", "data_set", "keypoints"), str),
    **dict.fromkeys(("start", "end", "quality"), TIME),
}
"""What JSON has for each field."""
DEFAULT = {name: value for name, value in vars(Entry("")).items() if name != "tracklet"}


def digest(text: str) -> int:
    """A hash of 64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def check_new(entries: Sequence[Entry], there: Sequence[bool]) -> None:
    """Checks that entries can be added.

    Args:
      entries: to be added.
      there: which of them the gallery has already.

    Raises:
      InputError: it has one, or one is there twice.
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
    """Rows of ``COLUMNS`` and the texts of new entries, whose ids count from ``first_id``.

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
    """A filter over entries: those that fulfil every condition that is not None. ``Where()`` is all.

    Attributes:
      ids: of the entries, as ``Gallery.add`` returned them.
      not_ids: entries that are left out, such as the query itself.
      persons: person ids.
      cameras: camera ids; 0 is unknown.
      not_cameras: cameras that are left out, such as the query's own.
      sources: ``Entry.source``.
      after: seconds since 1970-01-01 UTC; entries that end at or after it.
      before: entries that start at or before it. Entries of unknown time fulfil neither.
      min_quality: least quality. Entries of unknown quality do not fulfil it.
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
        """Which rows of ``COLUMNS`` fulfil it."""
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
"""No condition."""
