"""Reader of folders with one JSON file a frame, of any program: matches files with frames, and reads them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from tqdm import tqdm

from rgcn_jax.data.keypoints.detections import Detections, shown
from rgcn_jax.data.keypoints.numbers import LARGEST_FRAME
from rgcn_jax.data.keypoints.skeletons import convert
from rgcn_jax.data.keypoints.subject import choose_subject
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.handed_over import NO_FILE, open_file

_CHUNK = 512  # files that a thread reads at a time


class Program(NamedTuple):
    """A program that writes such folders.

    ``name``: for messages. ``models``: which of its skeletons are read, for messages. ``suffix``: what follows the
    frame's stem in a file's name. ``skeletons``: number of keypoints -> skeleton. ``parse``: the text of a file -> its
    people [p, v, 3]; raises InputError with the reason alone.
    """

    name: str
    models: str
    suffix: str
    skeletons: Mapping[int, str]
    parse: Callable[[bytes], Float32[np.ndarray, "p v 3"]]


def read_folder(program: Program, path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"]) -> Detections:
    """Read the subject's keypoints of these frames; zeros where nobody is.

    Args:
      program: what wrote the folder.
      path: the folder, either flat (``<frame's stem><suffix>``) or with the folders of the frames
        (``bbox_train/0001/<frame's stem><suffix>``). It may be a symbolic link itself, but nothing in it may lead out
        of it by one.
      frames: paths relative to the data set's root, each once.
      sizes: height and width of the crop in pixels, of each frame or one for all.

    Raises:
      InputError: frames have no file, or files cannot be used; all are read before the bad ones are reported.
    """
    files = _find_files(program, path, frames)
    pixels, problems, skeletons = _read_files(program, path, files, sizes)
    if problems:
        raise InputError(
            f"{len(problems):,} of the {len(files):,} keypoint files in {path} cannot be used: "
            f"{listed(problems, separator='; ')}. Run {program.name} ({program.models}) again on these frames.",
            problems,
        )
    if len(skeletons) > 1:
        found = " and ".join(f"{file} is {source}" for source, file in sorted(skeletons.items()))
        raise InputError(f"{path} mixes skeletons: {found}. Run {program.name} with one model on all frames.")
    return Detections(pixels, np.ones(len(files), bool), next(iter(skeletons), ""))


def damaged_files(program: Program, path: Path, frames: Sequence[str]) -> list[str]:
    """The files of these frames in a program's folder that are there and cannot be used, each with the reason; none
    where the folder cannot be of these frames, which ``read_folder`` tells.
    """
    try:
        files, present = _list_files(program, path, frames)
    except InputError:
        return []
    some_size = np.array([[256, 128]])  # by it the subject is chosen, which is not looked at
    return _read_files(program, path, [file for file in files if file in present], some_size)[1]


def _read_files(
    program: Program, path: Path, files: Sequence[str], sizes: Int[np.ndarray, "#n 2"]
) -> tuple[Float32[np.ndarray, "n 14 3"], list[str], dict[str, str]]:
    """``_read_chunk`` of all files."""
    heights_widths = np.broadcast_to(sizes, (len(files), 2)).tolist()
    starts = range(0, len(files), _CHUNK)
    chunks = [(files[s : s + _CHUNK], heights_widths[s : s + _CHUNK]) for s in starts]
    problems: list[str] = []
    skeletons: dict[str, str] = {}
    pixels = np.zeros((len(files), 14, 3), np.float32)
    # Threads hide the latency of a disk or a network; the parsing itself takes one core.
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda chunk: _read_chunk(program, path, *chunk), chunks)
        progress = tqdm(done, "keypoints", len(chunks), disable=None, leave=False)
        for start, (part, bad, seen) in zip(starts, progress, strict=True):
            pixels[start : start + len(part)] = part
            problems += bad
            skeletons = seen | skeletons
    return pixels, problems, skeletons


def unused_files(program: Program, path: Path, frames: Sequence[str]) -> list[str]:
    """The files of a program in a folder, and in the folders in it, that are of none of these frames; sorted."""
    stems = [frame.rpartition(".")[0] for frame in frames]
    known = {stem + program.suffix for stem in stems} | {stem.rpartition("/")[2] + program.suffix for stem in stems}
    found = []
    for folder, _, names in os.walk(path):
        below = "" if folder == str(path) else os.path.relpath(folder, path) + "/"
        found += [below + name for name in names if name.endswith(program.suffix) and below + name not in known]
    return sorted(found)


def _list_files(program: Program, path: Path, frames: Sequence[str]) -> tuple[list[str], set[str]]:
    """For each frame its file relative to the path, and which of them are there. Folders are listed once each; no file
    is touched by itself.

    Raises:
      InputError: the folder has none of them or cannot have all of them, or entries that are not to be read.
    """
    listing = sorted(entry.name for entry in _scan(path))
    if not listing:
        raise InputError(f"The keypoint folder {path} is empty: expected {program.name} files (*{program.suffix}).")
    stems = [frame.rpartition(".")[0] for frame in frames]
    mirrored = [stem + program.suffix for stem in stems]
    flat = [file.rpartition("/")[2] for file in mirrored]
    files = flat if any(name.endswith(program.suffix) for name in listing) else mirrored
    if files is flat and len(set(flat)) < len(flat):
        first: dict[str, int] = {}
        i, j = next((first[f], j) for j, f in enumerate(flat) if first.setdefault(f, j) != j)
        raise InputError(
            f"{path} cannot hold the keypoints of both {frames[i]} and {frames[j]} in {flat[i]}: keep the files in the "
            f"folders of the frames ({mirrored[i]})."
        )
    present: set[str] = set()
    wanted, wrong = set(files), []
    for folder in sorted({file.rpartition("/")[0] for file in files}):
        if not (path / folder).is_dir():
            continue
        if not _is_within(path / folder, path):
            wrong.append(f"{folder} leads out of it by a symbolic link")
            continue
        for entry in _scan(path / folder):
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
    if not present:
        raise InputError(
            f"{path} has no keypoints for any of the {len(files):,} frames: expected {path / flat[0]} or "
            f"{path / mirrored[0]}, found {shown(listing[0])}; give the folder that {program.name} wrote to."
        )
    return files, present


def _find_files(program: Program, path: Path, frames: Sequence[str]) -> list[str]:
    """For each frame its file relative to the path. Raises InputError where one is not there."""
    files, present = _list_files(program, path, frames)
    if absent := [i for i, file in enumerate(files) if file not in present]:
        raise InputError(
            f"Keypoints are missing for {len(absent):,} of the {len(files):,} frames; the first is {frames[absent[0]]} "
            f"(no file {path / files[absent[0]]}): run {program.name} on these frames too; where it finds nobody it "
            "writes a file with an empty list.",
            [f"{frames[i]} has no keypoints" for i in absent],
        )
    return files


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise InputError(f"The keypoint folder {folder} cannot be listed ({error.strerror}).") from error


def _is_within(path: Path, root: Path) -> bool:
    """Whether the path lies in the root once all symbolic links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _read_chunk(
    program: Program, path: Path, files: Sequence[str], sizes: Sequence[tuple[int, int] | list[int]]
) -> tuple[Float32[np.ndarray, "n 14 3"], list[str], dict[str, str]]:
    """Keypoints of some files, what is wrong with which of them, and each skeleton met with a file that has it."""
    problems: list[str] = []
    skeletons: dict[str, str] = {}
    subjects: dict[str, list[tuple[int, np.ndarray]]] = {}
    for i, (file, (height, width)) in enumerate(zip(files, sizes, strict=True)):
        try:
            with open_file(path / file) as handle:
                people = program.parse(handle.read(LARGEST_FRAME + 1))
        except InputError as error:
            problems.append(f"{file} {error}")
            continue
        except OSError as error:
            problems.append(f"{file} cannot be read ({error.strerror})")
            continue
        if len(people) == 0:
            continue
        source = program.skeletons[people.shape[1]]
        skeletons.setdefault(source, file)
        subject = choose_subject(convert(people, source), height, width) if len(people) > 1 else 0
        subjects.setdefault(source, []).append((i, people[subject]))
    pixels = np.zeros((len(files), 14, 3), np.float32)
    for source, found in subjects.items():
        pixels[[i for i, _ in found]] = convert(np.stack([person for _, person in found]), source)
    return pixels, problems, skeletons
