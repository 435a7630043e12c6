"""Reader of folders with one keypoint file per frame, for any program."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from tqdm import tqdm

from rgcn_jax.data.keypoints import frame_listing
from rgcn_jax.data.keypoints.anatomy import SAMPLE, sample
from rgcn_jax.data.keypoints.detections import Detections
from rgcn_jax.data.keypoints.numbers import LARGEST_FRAME
from rgcn_jax.data.keypoints.subject import choose_subject
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.skeleton import to_14

_CHUNK = 512  # files per task of a thread


class People(NamedTuple):
    """Persons of one file. ``skeleton``: their skeleton; ``named``: whether the file or the user states it."""

    keypoints: Float32[np.ndarray, "p v 3"]
    skeleton: str
    named: bool


class Program(NamedTuple):
    """A program that writes such folders.

    - ``name``: name for messages.
    - ``models``: supported skeletons, for messages.
    - ``suffix``: suffix of a file's name after the frame's stem.
    - ``parse``: converts the text of a file, given the skeleton named by the user or None, to its persons; raises
      InputError with the reason only.
    - ``leaves_out``: whether it writes no file for a frame without persons.
    """

    name: str
    models: str
    suffix: str
    parse: Callable[[bytes, str | None], People]
    leaves_out: bool = False


class _Read(NamedTuple):
    """Result for some files: keypoints, errors by file, skeletons, and some of the persons.

    Each skeleton has an example file and whether that file states the skeleton.
    """

    pixels: Float32[np.ndarray, "n 14 3"]
    problems: list[str]
    skeletons: dict[str, str]
    named: bool
    some: list[Float32[np.ndarray, "v 3"]]


def read_folder(
    program: Program, path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None
) -> Detections:
    """Read the subject's keypoints of these frames; zeros without a person. Arguments as for ``formats.read``.

    The folder is either flat (``<frame's stem><suffix>``) or has the folders of the frames
    (``bbox_train/0001/<frame's stem><suffix>``). It may be a symbolic link itself, but must not contain links out of
    it.

    Raises InputError: frames have no file, or files are unusable; errors are reported after all files were read.
    """
    found = frame_listing.find(path, program.suffix, frames, program.name)
    if not program.leaves_out:
        frame_listing.check_complete(found, path, frames, program.name)
    there = [i for i, file in enumerate(found.files) if file in found.present]
    sizes_there = sizes if len(sizes) == 1 else sizes[there]
    read = _read_files(program, path, [found.files[i] for i in there], sizes_there, skeleton)
    if read.problems:
        raise InputError(
            f"{len(read.problems):,} of the {len(there):,} keypoint files in {path} cannot be used: "
            f"{listed(read.problems, separator='; ')}. Run {program.name} ({program.models}) again on these frames.",
            read.problems,
        )
    if len(read.skeletons) > 1:
        which = " and ".join(f"{file} is {source}" for source, file in sorted(read.skeletons.items()))
        raise InputError(f"{path} mixes skeletons: {which}. Run {program.name} with one model on all frames.")
    pixels, has_entry = np.zeros((len(frames), 14, 3), np.float32), np.zeros(len(frames), bool)
    pixels[there], has_entry[there] = read.pixels, True
    one = next(iter(read.skeletons), "")
    return Detections(
        pixels,
        has_entry,
        one,
        sample=sample(np.stack(read.some), one, read.named) if read.some else None,
        remarks=found.remarks,
    )


def damaged_files(program: Program, path: Path, frames: Sequence[str], skeleton: str | None = None) -> list[str]:
    """Existing but unusable files of these frames in a program's folder, each with the reason.

    There are none if the folder cannot belong to these frames, which ``read_folder`` reports.
    """
    try:
        found = frame_listing.find(path, program.suffix, frames, program.name)
    except InputError:
        return []
    some_size = np.array([[256, 128]])  # only affects the choice of the subject, which is not used
    return _read_files(
        program, path, [file for file in found.files if file in found.present], some_size, skeleton
    ).problems


def _read_files(
    program: Program, path: Path, files: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None
) -> _Read:
    """Apply ``_read_chunk`` to all files."""
    heights_widths = np.broadcast_to(sizes, (len(files), 2)).tolist()
    starts = range(0, len(files), _CHUNK)
    every = max(len(files) // SAMPLE, 1)
    chunks = [(files[s : s + _CHUNK], heights_widths[s : s + _CHUNK], skeleton, every) for s in starts]
    read = _Read(np.zeros((len(files), 14, 3), np.float32), [], {}, True, [])
    # Threads hide the latency of a disk or network; parsing uses one core.
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda chunk: _read_chunk(program, path, *chunk), chunks)
        progress = tqdm(done, "keypoints", len(chunks), disable=None, leave=False)
        for start, part in zip(starts, progress, strict=True):
            read.pixels[start : start + len(part.pixels)] = part.pixels
            read.problems.extend(part.problems)
            read.some.extend(part.some)
            read = read._replace(skeletons=part.skeletons | read.skeletons, named=read.named and part.named)
    return read


def _read_chunk(
    program: Program,
    path: Path,
    files: Sequence[str],
    sizes: Sequence[tuple[int, int] | list[int]],
    skeleton: str | None,
    every: int,
) -> _Read:
    problems: list[str] = []
    skeletons: dict[str, str] = {}
    all_named = True
    subjects: dict[str, list[tuple[int, np.ndarray]]] = {}
    for i, (file, (height, width)) in enumerate(zip(files, sizes, strict=True)):
        try:
            with open_file(path / file) as handle:
                people, source, named = program.parse(handle.read(LARGEST_FRAME + 1), skeleton)
        except InputError as error:
            problems.append(f"{file} {error}")
            continue
        except OSError as error:
            problems.append(f"{file} cannot be read ({error.strerror})")
            continue
        if len(people) == 0:
            continue
        all_named = all_named and named
        skeletons.setdefault(source, file)
        subject = choose_subject(to_14(people, source), height, width) if len(people) > 1 else 0
        subjects.setdefault(source, []).append((i, people[subject]))
    pixels = np.zeros((len(files), 14, 3), np.float32)
    for source, found in subjects.items():
        pixels[[i for i, _ in found]] = to_14(np.stack([person for _, person in found]), source)
    some = [person for i, person in next(iter(subjects.values()), []) if i % every == 0]
    return _Read(pixels, problems, skeletons, all_named, some)
