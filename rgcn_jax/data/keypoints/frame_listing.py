"""Matching of a folder's keypoint files to frames, and description of mismatches.

Each folder is listed once and files are not accessed individually, so the cost is that of listing the folders.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.absent import difference, nearest
from rgcn_jax.data.datasets.listing import is_litter
from rgcn_jax.data.keypoints.detections import shown
from rgcn_jax.data.keypoints.names import match
from rgcn_jax.errors import InputError, as_input_error, listed
from rgcn_jax.runtime.user_files import NO_FILE

_MOST = 3_000_000  # maximum number of files to search if they are not where they are expected


class FrameFiles(NamedTuple):
    """Files of frames.

    ``files``: path of each frame's file relative to the folder. ``present``: those that exist. ``remarks``: how their
    names differ from the frames'.
    """

    files: list[str]
    present: set[str]
    remarks: tuple[str, ...] = ()


def find(path: Path, suffix: str, frames: Sequence[str], program: str) -> FrameFiles:
    """Find the files of the frames: flat, in the folders of the frames, or elsewhere below the folder
    (``names.match``).

    ``suffix``: what follows a frame's stem in the name of its file. ``program``: what wrote the files, for messages.

    Raises InputError: the folder contains none of them, cannot contain all of them, or contains entries that must not
    be read.
    """
    listing = sorted(entry.name for entry in scan(path))
    if not listing:
        raise InputError(f"The keypoint folder {path} is empty: expected {program} files (*{suffix}).")
    stems = [frame.rpartition(".")[0] for frame in frames]
    mirrored = [stem + suffix for stem in stems]
    flat = [file.rpartition("/")[2] for file in mirrored]
    files = flat if not set(flat).isdisjoint(listing) else mirrored
    if files is flat and len(set(flat)) < len(flat):
        first: dict[str, int] = {}
        i, j = next((first[f], j) for j, f in enumerate(flat) if first.setdefault(f, j) != j)
        raise InputError(
            f"{path} cannot hold the keypoints of both {frames[i]} and {frames[j]} in {flat[i]}: keep the files in the "
            f"folders of the frames ({mirrored[i]})."
        )
    found = FrameFiles(files, _present(path, files))
    if len(found.present) == len(files):
        return found
    elsewhere = {file.removesuffix(suffix): file for file in _below(path, suffix)}
    with suppress(InputError):  # base names are not unique, or a file must not be read
        wanted = match(path, elsewhere, stems)
        matched = [elsewhere.get(name, name + suffix) for name in wanted.names]
        other = FrameFiles(matched, _present(path, matched), wanted.remarks)
        found = max(found, other, key=lambda candidate: len(candidate.present))
    if not found.present:
        there = difference(mirrored[0], nearest(mirrored[0], list(elsewhere.values()) or listing))
        raise InputError(
            f"{path} has no keypoints for any of the {len(files):,} frames: expected {path / flat[0]} or "
            f"{path / mirrored[0]}, found {shown(listing[0])} and {len(elsewhere):,} files *{suffix}; "
            f"nearest: {there}; give the folder that {program} wrote to."
        )
    return found


def _present(path: Path, files: Sequence[str]) -> set[str]:
    """Return the files that exist. Raises InputError if one must not be read."""
    present: set[str] = set()
    wanted, wrong = set(files), []
    for folder in sorted({file.rpartition("/")[0] for file in files}):
        if not (path / folder).is_dir():
            continue
        if not _is_within(path / folder, path):
            wrong.append(f"{folder} leads out of it by a symbolic link")
            continue
        for entry in scan(path / folder):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if name in wanted:
                present.add(name)
                if entry.is_symlink() and not _is_within(Path(entry.path), path):
                    wrong.append(f"{name} leads out of it by a symbolic link")
                elif not entry.is_file() and not entry.is_dir() and os.path.exists(entry.path):
                    wrong.append(f"{name} is {NO_FILE}")
    if wrong:
        raise InputError(
            f"{len(wrong):,} entries of the keypoint folder {path} are not read: "
            f"{listed(wrong, separator='; ')}. Put the files themselves there.",
            wrong,
        )
    return present


def check_complete(found: FrameFiles, path: Path, frames: Sequence[str], program: str) -> None:
    """Raise InputError if a frame has no file."""
    if absent := [i for i, file in enumerate(found.files) if file not in found.present]:
        file = found.files[absent[0]]
        there = difference(file, nearest(file, found.present))
        raise InputError(
            f"Keypoints are missing for {len(absent):,} of the {len(frames):,} frames; the first is "
            f"{frames[absent[0]]} (no file {path / file}; {there}): run {program} on these frames too; where it finds "
            "nobody it writes a file with an empty list.",
            [f"{frames[i]} has no keypoints" for i in absent],
        )


def unused(path: Path, suffix: str, frames: Sequence[str]) -> list[str]:
    """Sorted files with the suffix in a folder and its subfolders that belong to none of these frames."""
    try:
        known = find(path, suffix, frames, "").present
    except InputError:
        stems = [frame.rpartition(".")[0] for frame in frames]
        known = {stem + suffix for stem in stems} | {stem.rpartition("/")[2] + suffix for stem in stems}
    return sorted(file for file in _below(path, suffix) if file not in known)


def _below(path: Path, suffix: str) -> Iterator[str]:
    """Yield files with the suffix in a folder and its subfolders, relative to it; links to folders are not followed."""
    left = _MOST
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        below = "" if folder == str(path) else os.path.relpath(folder, path) + "/"
        yield from (below + name for name in names if name.endswith(suffix) and not is_litter(name))
        left -= len(names)
        if left < 0:
            return


def scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder without litter. Raises InputError if it cannot be listed."""
    with as_input_error(f"The keypoint folder {folder} cannot be listed"), os.scandir(folder) as entries:
        yield from (entry for entry in entries if not is_litter(entry.name))


def _is_within(path: Path, root: Path) -> bool:
    """Whether the path is in the root after resolving all symbolic links."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
