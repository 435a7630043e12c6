"""Atomic writing of files and folders: a failed write keeps the previous contents.

Everything is written under a temporary name in the same folder, ``.NAME.PID.part``, flushed to disk, and renamed. A
killed process leaves the temporary file or folder behind, which ``remove_unfinished`` removes.
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
"""Name of the file that marks a data folder as incomplete."""


def unfinished_path(path: Path) -> Path:
    """Temporary name of a path, specific to this process, since two processes may write the same path."""
    return path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces ``path`` at the end; for libraries that open files themselves.

    If the block raises an error or removes the temporary file, ``path`` is unchanged. Raises OSError.
    """
    part = unfinished_path(path)
    part.unlink(missing_ok=True)  # in an untrusted folder it may be a link
    try:
        yield part
        if part.exists():
            _flush(part)
            os.replace(part, path)
            with suppress(OSError):  # some file systems cannot flush folders
                _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Yield an open file, binary or UTF-8 text ("w"), whose contents replace those of ``path`` at the end of the block.

    If the block raises an error, ``path`` is unchanged. Raises OSError.
    """
    with atomic_path(path) as part, part.open(mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to ``path`` at the end, or removed if the block raises an error.

    ``path`` must not exist. Files in the folder are not flushed individually. Raises OSError.
    """
    part = unfinished_path(path)
    try:
        part.mkdir()
        yield part
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically. Raises InputError if it cannot be written."""
    with writing(path), atomic_file(path, "w") as file:
        file.write(text)


def writing(path: Path) -> AbstractContextManager[None]:
    """Convert an OSError of the block to ``InputError``: the path cannot be written, why, and what to do."""
    todo = "free disk space or fix the permissions, then rerun the same command to resume"
    return as_input_error(f"{path} cannot be written", todo)


def find_unfinished(folder: Path, name: str | None = None) -> list[Path]:
    """Temporary files and folders in a folder, of killed or running processes.

    ``name``: only those for this file or folder.
    """
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[0-9]+{re.escape(UNFINISHED)}")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if folder.is_dir() else []


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder to which no other process is writing."""
    for path in find_unfinished(folder):
        if path.is_file():
            path.unlink(missing_ok=True)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse symbolic links in place of files to be written, in folders that others may have prepared.

    ``names``: entries of ``folder`` that will be written; the contents of folders are checked too. Raises InputError
    for a symbolic link, which could point to any file of the user.
    """
    for path in (folder / name for name in names):
        found = [path] if path.is_symlink() else []
        for below, folders, files in os.walk(path):
            found += [Path(below, name) for name in (*folders, *files) if os.path.islink(os.path.join(below, name))]
        for link in found:
            refuse_link(link)


def refuse_link(path: Path) -> None:
    """Raise InputError if a path to be written or erased is a symbolic link."""
    if path.is_symlink():
        raise InputError(
            f"{path} is a symbolic link to {os.readlink(path)}, and nothing is written through links: remove it, or "
            f"move the whole folder {path.parent} to the other disk."
        )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
