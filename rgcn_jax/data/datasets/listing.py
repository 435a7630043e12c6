"""Listing of a data set's folders: sorted, restricted to its root, with all errors collected.

Directory listings state which entries are links, so frames are not accessed individually. The cost is that of listing
the folders.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.files import INCOMPLETE
from rgcn_jax.runtime.user_files import NO_FILE

IMAGES = (".jpg", ".jpeg", ".png")
"""Suffixes of frames, in lower case."""

_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin")


def is_litter(name: str) -> bool:
    """Whether a file or folder is not part of a data set: hidden, or created by file managers, NAS or archives.

    Examples are ``Thumbs.db`` in any case, ``@eaDir``, ``__MACOSX`` and ``x.jpg:Zone.Identifier``.
    """
    low = name.lower()
    return name.startswith(".") or low in _LITTER or low.endswith(":zone.identifier")


class Listing(NamedTuple):
    """Sorted names of the folders and of the files in a folder, without litter."""

    folders: list[str]
    files: list[str]


class NoDataSet(InputError):
    """Raised if a data set's root is not a data set, or is incomplete."""


def require_folders(title: str, root: Path, parts: Sequence[str], advice: str = "") -> None:
    """Check that a data set's root exists and contains the required folders.

    Args:
      title: name of the data set in messages.
      root: folder given by the user.
      parts: required folders, relative to the root.
      advice: what to do about a missing one; default: to unpack it, or to restore its name.

    Raises:
      NoDataSet: the root is not a folder or a part is missing; the message names a neighbouring folder that has all.
    """
    try:
        there = root.is_dir()
    except OSError as error:  # such as an overlong name
        raise NoDataSet(f"{title} not found: {str(root)[:200]} cannot be looked at ({error.strerror}).") from error
    if not there:
        what = "is a file" if root.exists() else "does not exist"
        holds = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
        raise NoDataSet(f"{title} not found: {root} {what}; expected the folder that holds {holds}.")
    missing = [part for part in parts if not (root / part).is_dir()]
    if not missing:
        return
    message = f"{title} is incomplete: {root} has no folder {' and no folder '.join(missing)}."
    folders = FolderReader(title, root, follow_links=True).listing("").folders
    for other in (root.parent, *(root / folder for folder in folders)):
        if all((other / part).is_dir() for part in parts):
            raise NoDataSet(f"{message} But {other} has all of it: give that folder as the root.")
    there = f"it holds {listed(folders, 8)}" if folders else "it holds no folder"
    advice = advice or "Unpack what is missing there, or give a renamed folder its name back."
    raise NoDataSet(f"{message} {advice.removesuffix('.')} ({there}).")


def check_relative(path: str) -> str:
    """Check a path from a list file; return an error as the end of a sentence, or "".

    Valid paths have forward slashes and stay below the root: no absolute path, no ``..``, no drive, no NUL.
    """
    parts = path.split("/")
    if not path or "" in parts or "\\" in path or "\0" in path or ":" in parts[0]:
        return "is no relative path with forward slashes"
    return 'leads out of its folder by ".." or "."' if ".." in parts or "." in parts else ""


class FolderReader:
    """Lists folders below a root and collects errors, which ``check`` reports together.

    Symbolic links are followed if they stay below the root. A link out of it is an error unless ``follow_links``, since
    a data set should neither depend on other folders nor expose unrelated files. A broken link is always an error.
    """

    def __init__(self, title: str, root: Path, follow_links: bool = False):
        if os.path.lexists(root / INCOMPLETE):
            raise NoDataSet(
                f"{title} is incomplete: the writing of {root} was cut off. Delete the folder and write it again."
            )
        self._title, self._root, self._follow_links = title, root, follow_links
        self._real_root = os.path.realpath(root)
        self._problems: dict[str, None] = {}  # ordered set

    def listing(self, folder: str) -> Listing:
        """List a folder, given relative to the root ("": the root); empty, and an error is added, if listing fails."""
        folders, files = [], []
        path = self._root / folder
        if not self._stays(str(path), folder or str(path)):
            return Listing([], [])
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = entry.name
                    if is_litter(name) or not self._readable(name, folder):
                        continue
                    if entry.is_symlink() and not self._stays(entry.path, f"{folder}/{name}".lstrip("/")):
                        continue
                    if not entry.is_dir() and not entry.is_file():  # also of a link's target, since a read may block
                        self.wrong(f"{folder}/{name}".lstrip("/") + f" is {NO_FILE}: remove it")
                        continue
                    (folders if entry.is_dir() else files).append(name)
        except OSError as error:
            self.wrong(f"{folder or path} cannot be listed ({error.strerror})")
        return Listing(sorted(folders), sorted(files))

    def frames(self, folder: str) -> list[str]:
        """Sorted names of the images directly in a folder. Other files, or no images, are an error."""
        found = self.listing(folder)
        images = [name for name in found.files if name.lower().endswith(IMAGES)]
        others = [*found.folders, *(name for name in found.files if not name.lower().endswith(IMAGES))]
        if others:
            self.wrong(f"{folder} holds {listed(others, 1)}, which is no frame ({', '.join(IMAGES)})")
        elif not images:
            self.wrong(f"{folder} holds no frame")
        return images

    def images_below(self) -> dict[str, list[str]]:
        """All images below the root, in any layout: folder -> sorted names. A folder that is linked to twice occurs
        once.
        """
        found, left, seen = {}, [""], set()
        while left:
            folder = left.pop()
            if (real := os.path.realpath(self._root / folder)) in seen:
                continue
            seen.add(real)
            listing = self.listing(folder)
            if images := [name for name in listing.files if name.lower().endswith(IMAGES)]:
                found[folder] = images
            left += [f"{folder}/{name}".lstrip("/") for name in listing.folders]
        return dict(sorted(found.items()))

    @property
    def problems(self) -> list[str]:
        """All distinct errors so far, in order."""
        return [*self._problems]

    def has_file(self, path: str) -> bool:
        """Whether a file exists at a path relative to the root. A link out of the root is also an error."""
        there = os.path.lexists(self._root / path)
        return there and self._stays(str(self._root / path), path) and (self._root / path).is_file()

    def wrong(self, problem: str) -> None:
        """Add an error: a clause that names the folder or file, relative to the root."""
        self._problems.setdefault(problem)

    def check(self, advice: str = "") -> None:
        """Raise ``InputError`` if there were errors. The message has their number and the first few."""
        if self._problems:
            raise InputError(
                f"{self._title} at {self._root} is not as it must be: {listed(self.problems, separator='; ')}. "
                f"{advice or 'Unpack it again, or fix this by hand.'}",
                self.problems,
            )

    def _readable(self, name: str, folder: str) -> bool:
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            self.wrong(f"{folder or self._root} holds {shown}, a name that is not UTF-8: rename it")
            return False
        # A line break would break the report into lines.
        if not name.isprintable() and any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
            self.wrong(f"{folder or self._root} holds {name!r}, a name with a control character: rename it")
            return False
        return True

    def _stays(self, path: str, shown: str) -> bool:
        """Whether a path exists and, with all links resolved, is below the root."""
        real = os.path.realpath(path)
        if (
            not self._follow_links
            and real != self._real_root
            and not real.startswith(self._real_root.rstrip(os.sep) + os.sep)
        ):
            self.wrong(
                f"{shown} is or lies in a symbolic link that leads out of the root, to {real}, and is not followed: "
                "put the files themselves there, give the folder that they are in as the root, or add --follow-links "
                "where the link is meant (in a config data.follow_links=True)"
            )
            return False
        if not os.path.exists(real):
            what = "is a symbolic link that leads nowhere" if os.path.islink(path) else "is missing"
            self.wrong(f"{shown} {what}")
            return False
        return True


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with numbers in numerical order, so that 2.jpg precedes 10.jpg. Ties are in order of characters."""
    return sorted(names, key=lambda name: (_chunks(name), name))


def _chunks(name: str) -> list[tuple[bool, int, str]]:
    parts = re.findall("[0-9]+|[^0-9]+", name)
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]
