"""Messages about missing files: what exists instead, and the likely cause."""

import os
import unicodedata
from collections.abc import Collection
from pathlib import Path

from rgcn_jax.data.datasets.listing import IMAGES, is_litter
from rgcn_jax.errors import listed

_MOST = 100_000  # maximum number of names to compare


def beside(root: Path, missing: str) -> str:
    """Describe what exists instead of a path below a root, as a clause: one level deeper, under a similar name, or
    otherwise.

    Args:
      root: a folder.
      missing: a path relative to it, with slashes, that does not exist.
    """
    folder, parts = root, missing.split("/")
    while len(parts) > 1 and (folder / parts[0]).is_dir():
        folder /= parts.pop(0)
    try:
        names = sorted(name for name in os.listdir(folder)[:_MOST] if not is_litter(name))
    except OSError as error:
        return f"{folder} cannot be listed ({error.strerror})"
    if not names:
        return f"{folder} is empty"
    rest = "/".join(parts)
    deeper = next((name for name in names[:1000] if os.path.lexists(folder / name / rest)), None)
    if deeper:
        return f"it lies one folder deeper, in {folder / deeper}: move what is in that folder one level up"
    return f"{folder} holds {listed(names, 4)}; {difference(parts[0], nearest(parts[0], names))}"


def difference(expected: str, found: str) -> str:
    """Compare two names, escaped so that the difference is visible, and state the kind of difference if known."""
    hints = []
    if unicodedata.normalize("NFC", expected) == unicodedata.normalize("NFC", found) and expected != found:
        hints.append("accents composed or decomposed")
    elif expected.lower() == found.lower() and expected != found:
        hints.append("capital letters")
    if "\\" in found:
        hints.append("backslashes")
    if found.startswith("/") or found[1:3] in (":\\", ":/"):
        hints.append("an absolute path, of this or another machine")
    ends = (os.path.splitext(expected)[1], os.path.splitext(found)[1])
    if ends[0] != ends[1] and {end.lower() for end in ends} <= {*IMAGES, ""}:
        hints.append("another suffix")
    elif found.endswith(expected) and "/" not in found and found != expected:
        hints.append(f"a prefix, {escaped(found.removesuffix(expected))}")
    why = f" ({', '.join(hints)})" if hints else ""
    return f"expected {escaped(expected)}, found {escaped(found)}{why}"


def escaped(name: str) -> str:
    """Format a name for a message: one line, limited length, non-ASCII characters escaped."""
    text = name if len(name) <= 100 else name[:97] + "..."
    return text if text.isascii() and text.isprintable() else ascii(text)


def nearest(name: str, names: Collection[str]) -> str:
    """Return the name that is most similar to a given one; "" if there is none."""
    stem = _stem(name)

    def alike(other: str) -> tuple[int, str]:
        end = _stem(other)
        # Characters in common, as is meant.
        both = os.path.commonprefix([end, stem]), os.path.commonprefix([end[::-1], stem[::-1]])  # noqa: RUF071
        return len(both[0]) + len(both[1]), other

    return max(names, key=alike, default="")


def _stem(name: str) -> str:
    return os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0].lower()
