"""Atomic writing of files and folders: a failed write leaves the previous contents.

Everything is written under a temporary name in the same folder, ``.NAME.PID.part``, flushed to the disk, and renamed. A
killed process leaves that temporary file or folder behind; ``remove_unfinished`` removes it.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rgcn_jax.errors import InputError, as_input_error

UNFINISHED = ".part"
"""Suffix of temporary files and folders."""


INCOMPLETE = ".incomplete"
"""Name of the file in a folder of data that is still being written, or whose writing was cut off."""


def unfinished_path(path: Path) -> Path:
    """The temporary name of a path in this process: two processes may write the same path at the same time."""
    return path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write a file to, for libraries that open files themselves; it replaces ``path`` at the end.

    Where an error leaves the block, or the block removes the temporary file, ``path`` stays as it was. Raises OSError.
    """
    part = unfinished_path(path)
    part.unlink(missing_ok=True)  # in an untrusted folder it may be a link to somewhere else
    try:
        yield part
        if part.exists():
            _flush(part)
            os.replace(part, path)
            with suppress(OSError):  # some file systems cannot flush a folder
                _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """An open file, binary or UTF-8 text ("w"), whose contents replace those of ``path`` at the end of the block.

    Where an error leaves the block ``path`` stays as it was. Raises OSError.
    """
    with atomic_path(path) as part, part.open(mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new temporary folder, which gets the name ``path`` at the end of the block; removed where an error leaves it.

    ``path`` must not exist. The files in it are not flushed one by one. Raises OSError.
    """
    part = unfinished_path(path)
    try:
        part.mkdir()
        yield part
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically. Raises InputError: it cannot be written."""
    with writing(path), atomic_file(path, "w") as file:
        file.write(text)


def writing(path: Path) -> AbstractContextManager[None]:
    """An OSError of the block as ``InputError``: that this file or folder cannot be written, why, and what to do."""
    todo = "make room or fix the permissions, then rerun the same command to resume"
    return as_input_error(f"{path} cannot be written", todo)


def find_unfinished(folder: Path, name: str | None = None) -> list[Path]:
    """The temporary files and folders in a folder: left there by killed processes, or of running ones.

    ``name``: only those that were to become this file or folder.
    """
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[0-9]+{re.escape(UNFINISHED)}")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if folder.is_dir() else []


def remove_unfinished(folder: Path) -> None:
    """Removes temporary files that killed processes left in a folder. Call it where no other process writes there."""
    for path in find_unfinished(folder):
        if path.is_file():
            path.unlink(missing_ok=True)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuses symbolic links in place of files that are going to be written, for folders prepared by others.

    Args:
      folder: the folder.
      names: entries that are going to be written; the contents of folders are checked too.

    Raises:
      InputError: one is a symbolic link, which could point to any file of the user.
    """
    for path in (folder / name for name in names):
        found = [path] if path.is_symlink() else []
        for below, folders, files in os.walk(path):
            found += [Path(below, name) for name in (*folders, *files) if os.path.islink(os.path.join(below, name))]
        for link in found:
            refuse_link(link)


def refuse_link(path: Path) -> None:
    """Refuses a symbolic link where something is going to be written or erased. Raises InputError."""
    if path.is_symlink():
        raise InputError(
            f"{path} is a symbolic link to {os.readlink(path)}, and nothing is written through links: remove it, or "
            f"move all of {path.parent} to the other disk."
        )


def _flush(path: Path) -> None:
    """Returns once a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
