"""Reader of folders with one file a frame, of any program: the subject's keypoints of each frame."""

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
from rgcn_jax.runtime.handed_over import open_file
from rgcn_jax.skeleton import to_14

_CHUNK = 512  # files that a thread reads at a time


class People(NamedTuple):
    """The people of one file as they stand. ``skeleton``: theirs; ``named``: by the file or the user."""

    keypoints: Float32[np.ndarray, "p v 3"]
    skeleton: str
    named: bool


class Program(NamedTuple):
    """A program that writes such folders.

    ``name``: for messages. ``models``: which of its skeletons are read, for messages. ``suffix``: what follows the
    frame's stem in a file's name. ``parse``: the text of a file, and the skeleton that the user names or None -> its
    people; raises InputError with the reason alone. ``leaves_out``: it writes no file for a frame without persons.
    """

    name: str
    models: str
    suffix: str
    parse: Callable[[bytes, str | None], People]
    leaves_out: bool = False


class _Read(NamedTuple):
    """Of some files: keypoints, what is wrong with which of them, each skeleton with a file that has it, whether it is
    named there, and some of the people.
    """

    pixels: Float32[np.ndarray, "n 14 3"]
    problems: list[str]
    skeletons: dict[str, str]
    named: bool
    some: list[Float32[np.ndarray, "v 3"]]


def read_folder(
    program: Program, path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None
) -> Detections:
    """Read the subject's keypoints of these frames; zeros where nobody is.

    Args:
      program: what wrote the folder.
      path: the folder, either flat (``<frame's stem><suffix>``) or with the folders of the frames
        (``bbox_train/0001/<frame's stem><suffix>``). It may be a symbolic link itself, but nothing in it may lead out
        of it by one.
      frames: paths relative to the data set's root, each once.
      sizes: height and width of the crop in pixels, of each frame or one for all.
      skeleton: a key of ``SKELETONS``; None: as the files say, else by the number of keypoints.

    Raises:
      InputError: frames have no file, or files cannot be used; all are read before the bad ones are reported.
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
        remarks=(found.remark,) if found.remark else (),
    )


def damaged_files(program: Program, path: Path, frames: Sequence[str], skeleton: str | None = None) -> list[str]:
    """The files of these frames in a program's folder that are there and cannot be used, each with the reason; none
    where the folder cannot be of these frames, which ``read_folder`` reports.
    """
    try:
        found = frame_listing.find(path, program.suffix, frames, program.name)
    except InputError:
        return []
    some_size = np.array([[256, 128]])  # by it the subject is chosen, which is not looked at
    return _read_files(
        program, path, [file for file in found.files if file in found.present], some_size, skeleton
    ).problems


def _read_files(
    program: Program, path: Path, files: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None
) -> _Read:
    """``_read_chunk`` of all files."""
    heights_widths = np.broadcast_to(sizes, (len(files), 2)).tolist()
    starts = range(0, len(files), _CHUNK)
    every = max(len(files) // SAMPLE, 1)
    chunks = [(files[s : s + _CHUNK], heights_widths[s : s + _CHUNK], skeleton, every) for s in starts]
    read = _Read(np.zeros((len(files), 14, 3), np.float32), [], {}, True, [])
    # Threads hide the latency of a disk or a network; the parsing itself takes one core.
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
