"""Array names in features files (``gf``, ``q_pids``, ``gallery_cam``) and their roles."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rgcn_jax.errors import InputError


class Role(NamedTuple):
    """Role of an array.

    ``part``: "query", "gallery" or "train"; "" for all tracklets together. ``what``: a key of ``CONTENTS``.
    """

    part: str
    what: str


PARTS: Mapping[str, str] = {"query": "query|probe|q", "gallery": "gallery|g", "train": "train|tr"}
CONTENTS: Mapping[str, str] = {
    "features": "f|feats?|features?|embeddings?|appearance",
    "person_ids": "pids?|ids?|person_ids?|labels?",
    "camera_ids": "cams?|camids?|cam_ids?|camera_ids?",
    "names": "names?|paths?|img_paths?|img_names?|first_frames",
}
_PART = "|".join(PARTS.values())
_CONTENT = "|".join(CONTENTS.values())
_KEY = re.compile(rf"(?:(?P<before>{_PART})_?)?(?P<what>{_CONTENT})(?:_(?P<after>{_PART}))?")
EXPECTED = "qf, gf (features), q_pids, g_pids (persons), q_camids, g_camids (cameras) or similar (docs/own-features.md)"


def role_of(key: str) -> Role | None:
    """Return the role of an array by its name; None if it has none.

    Example::

        >>> role_of("gallery_label")
        Role(part='gallery', what='person_ids')
    """
    found = _KEY.fullmatch(key.lower())
    if found is None or (found["before"] and found["after"]):
        return None
    part = found["before"] or found["after"] or ""
    return Role(_name(PARTS, part) if part else "", _name(CONTENTS, found["what"]))


def _name(table: Mapping[str, str], text: str) -> str:
    return next(name for name, pattern in table.items() if re.fullmatch(pattern, text))


def roles(keys: Iterable[str], stem: str) -> dict[Role, str]:
    """Map roles to keys, for those keys of a file that have a role.

    If a key names no part, the file's name determines it, such as ``query.npz``.

    Raises:
      InputError: two keys have the same role.
    """
    words = re.split(r"[^a-z]+", stem.lower())
    of_file = next((part for part, pattern in PARTS.items() if any(re.fullmatch(pattern, word) for word in words)), "")
    found: dict[Role, str] = {}
    for key in keys:
        if role := role_of(key):
            role = role if role.part else Role(of_file, role.what)
            if role in found:
                raise InputError(f"{found[role]} and {key} both look like the {role.what} of {role.part or 'all'}.")
            found[role] = key
    return found
