"""Listing of a data set's folders: in sorted order, never outside of its root, with all problems collected.

A directory's listing says which entries are links, so nothing here touches a frame by itself; a million frames
cost what listing their folders costs.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.files import INCOMPLETE
from rgcn_jax.runtime.handed_over import NO_FILE

IMAGES = (".jpg", ".jpeg", ".png")
"""Endings of the files that are frames, in lower case."""

_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin")


def is_litter(name: str) -> bool:
    """Whether a file or folder is no part of any data set: a hidden one, or what file managers, NAS boxes and archives
    leave behind (``Thumbs.db`` in any case, ``@eaDir``, ``__MACOSX``, ``x.jpg:Zone.Identifier``).
    """
    low = name.lower()
    return name.startswith(".") or low in _LITTER or low.endswith(":zone.identifier")


class Listing(NamedTuple):
    """Names of the folders and files in a folder, each sorted; litter is left out."""

    folders: list[str]
    files: list[str]


class NoDataSet(InputError):
    """What was given as a data set's root is none, or only a part of it."""


def require_folders(title: str, root: Path, parts: Sequence[str], advice: str = "") -> None:
    """Check that a data set's root is there and has the folders that it must have.

    Args:
      title: name of the data set in messages.
      root: the folder that the user gave.
      parts: folders, relative to the root.
      advice: what to do about a missing one; by default to unpack it, or to give it its name back.

    Raises:
      NoDataSet: the root is not a folder or a part is missing; where a neighbouring folder has all of them, it is
        named.
    """
    try:
        there = root.is_dir()
    except OSError as error:  # too long a name
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
    """What is wrong with a path that a list file names, as the end of a sentence; empty if nothing is.

    A good one has forward slashes and stays below the root: no absolute path, no ``..``, no drive, no NUL.
    """
    parts = path.split("/")
    if not path or "" in parts or "\\" in path or "\0" in path or ":" in parts[0]:
        return "is no relative path with forward slashes"
    return 'leads out of its folder by ".." or "."' if ".." in parts or "." in parts else ""


class FolderReader:
    """Lists folders below a root and collects what is wrong, to be reported at once by ``check``.

    A symbolic link is followed where it stays below the root. One that leads out of it is a problem and is not
    followed, unless ``follow_links``: what a data set holds must not depend on other folders, nor hand on files that
    nobody meant. One that leads nowhere is always a problem.
    """

    def __init__(self, title: str, root: Path, follow_links: bool = False):
        if os.path.lexists(root / INCOMPLETE):
            raise NoDataSet(
                f"{title} is incomplete: the writing of {root} was cut off. Delete the folder and write it again."
            )
        self._title, self._root, self._follow_links = title, root, follow_links
        self._real_root = os.path.realpath(root)
        self._problems: dict[str, None] = {}  # in the order in which they were found, each once

    def listing(self, folder: str) -> Listing:
        """What is in a folder, given relative to the root ("" is the root itself); nothing if it cannot be listed,
        which is then a problem.
        """
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
                    if not entry.is_dir() and not entry.is_file():  # where a link leads, too: reading it may never end
                        self.wrong(f"{folder}/{name}".lstrip("/") + f" is {NO_FILE}: remove it")
                        continue
                    (folders if entry.is_dir() else files).append(name)
        except OSError as error:
            self.wrong(f"{folder or path} cannot be listed ({error.strerror})")
        return Listing(sorted(folders), sorted(files))

    def frames(self, folder: str) -> list[str]:
        """Names of the images directly in a folder, sorted; anything else in it, or no image, is a problem."""
        found = self.listing(folder)
        images = [name for name in found.files if name.lower().endswith(IMAGES)]
        others = [*found.folders, *(name for name in found.files if not name.lower().endswith(IMAGES))]
        if others:
            self.wrong(f"{folder} holds {listed(others, 1)}, which is no frame ({', '.join(IMAGES)})")
        elif not images:
            self.wrong(f"{folder} holds no frame")
        return images

    def images_below(self) -> dict[str, list[str]]:
        """All images below the root, whatever the layout: folder -> names, each sorted. A folder that links lead to
        again is listed once.
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
        """All that ``wrong`` has noted, in order, each once."""
        return [*self._problems]

    def has_file(self, path: str) -> bool:
        """Whether there is a file at a path relative to the root; one that is a link out of it is a problem too."""
        there = os.path.lexists(self._root / path)
        return there and self._stays(str(self._root / path), path) and (self._root / path).is_file()

    def wrong(self, problem: str) -> None:
        """Notes a problem: a clause that names the folder or file, relative to the root."""
        self._problems.setdefault(problem)

    def check(self, advice: str = "") -> None:
        """Raises ``InputError`` if anything was wrong; it counts the problems and names the first few."""
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
        # A line break would split a report.
        if not name.isprintable() and any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
            self.wrong(f"{folder or self._root} holds {name!r}, a name with a control character: rename it")
            return False
        return True

    def _stays(self, path: str, shown: str) -> bool:
        """Whether a path, all links resolved, is there and below the root."""
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
    """Names sorted with their numbers as numbers, so that 2.jpg comes before 10.jpg; equal ones by their characters."""
    return sorted(names, key=lambda name: (_chunks(name), name))


def _chunks(name: str) -> list[tuple[bool, int, str]]:
    parts = re.findall("[0-9]+|[^0-9]+", name)
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]
