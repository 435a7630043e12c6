r"""Matching of names in keypoint files, or of the files' own names, to the frames of a data set.

Names are only compared with those of the frames and never opened, so a name such as ``../x.jpg`` is merely unknown.
Names that differ as follows also match, since they are unambiguous:

- Another image suffix (``.png`` for ``.jpg``), backslashes for slashes, composed or decomposed accents (NFC, NFD).
- If no name equals a frame's: additional leading folders (``D:\data\MARS\bbox_train\...``), or missing ones (without
  ``bbox_train``).
- If no name equals a frame's: a common prefix of all names (MMPose's ``results_``).
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.absent import difference
from rgcn_jax.data.datasets.listing import IMAGES
from rgcn_jax.errors import InputError


class Wanted(NamedTuple):
    """Names in a file for the frames.

    ``names``: the name in the file of each frame, or the expected one. ``remarks``: how they differ from the frames'
    names.
    """

    names: Sequence[str]
    remarks: tuple[str, ...] = ()


def match(path: Path, names: Collection[str], frames: Sequence[str], joined_folders: bool = False) -> Wanted:
    """Find the names in a file of these frames.

    Args:
      path: the file, for messages.
      names: names in the file: paths of frames relative to the root if any has a slash, else base names.
      frames: distinct paths relative to the root.
      joined_folders: whether ``a/b/c/d.png`` may be named by its last three parts, ``b-c-d.png``; two frames may share
        such a name (a query of DukeMTMC-VideoReID is in ``gallery`` too).

    Raises:
      InputError: the file has base names, and two frames share one.
    """
    known = set(names)
    base = [frame.rpartition("/")[2] for frame in frames]
    if any("/" in name or "\\" in name for name in known):
        wanted: Sequence[str] = frames
    else:
        wanted = base
        if joined_folders:
            joined = ["-".join(frame.split("/")[-3:]) for frame in frames]
            if sum(name in known for name in joined) > sum(name in known for name in base):
                return Wanted(joined)
        if len(set(base)) < len(base):
            raise InputError(
                f"{path} names frames by base names, but these are not unique in this data set: write it with paths "
                "relative to the data set's root."
            )
    if not known or all(name in known for name in wanted):
        return Wanted(wanted)
    return _match_similar(known, frames, wanted)


def _match_similar(known: set[str], frames: Sequence[str], wanted: Sequence[str]) -> Wanted:
    by_key = _unique((_key(name), name) for name in sorted(known))
    similar = [name if name in known else by_key.get(_key(name), name) for name in wanted]
    if any(name in known for name in similar):
        return Wanted(similar)
    keys = [_key(frame) for frame in frames]
    for parts in range(max(key.count("/") for key in keys) + 1, 0, -1):
        tails = [_tail(key, parts) for key in keys]
        if len(set(tails)) < len(tails):
            break
        by_tail = _unique((_tail(key, parts), name) for key, name in by_key.items())
        found = [by_tail.get(tail, name) for tail, name in zip(tails, wanted, strict=True)]
        if sum(name in known for name in found) > len(found) // 2:
            example = next((frame, name) for frame, name in zip(frames, found, strict=True) if name in known)
            return Wanted(found, (f"frames are matched by the end of their paths: {difference(*example)}",))
    return _match_prefix(known, keys, by_key, wanted)


def _match_prefix(known: set[str], keys: list[str], by_key: dict[str, str], wanted: Sequence[str]) -> Wanted:
    """Match names that are a common prefix followed by a frame's base name."""
    bases = [_tail(key, 1) for key in keys]
    if len(set(bases)) < len(bases):
        return Wanted(wanted)
    by_base = _unique((_tail(key, 1), name) for key, name in by_key.items())
    of_frame = set(bases)
    some = islice(by_base, 100)
    prefixes = Counter(name[:end] for name in some for end in range(1, len(name)) if name[end:] in of_frame)
    for prefix, _ in prefixes.most_common(1):
        found = [by_base.get(prefix + base, name) for base, name in zip(bases, wanted, strict=True)]
        if sum(name in known for name in found) > len(found) // 2:
            return Wanted(found, (f"names begin with {prefix!a}, which is left out",))
    return Wanted(wanted)


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Map keys to names, without keys that two names share and without names that contain ``..``."""
    found: dict[str, str] = {}
    twice = set()
    for key, name in pairs:
        if key in found:
            twice.add(key)
        if key and ".." not in key.split("/"):
            found[key] = name
    return {key: name for key, name in found.items() if key not in twice}


def _key(name: str) -> str:
    """Normalise a name: without image suffix, with forward slashes and composed accents."""
    text = name.replace("\\", "/")
    stem, dot, suffix = text.rpartition(".")
    text = stem if dot and f".{suffix.lower()}" in IMAGES else text
    return unicodedata.normalize("NFC", text).removeprefix("./")


def _tail(key: str, parts: int) -> str:
    return "/".join(key.split("/")[-parts:])
