"""Data set check, ``python -m rgcn_jax.data.prepare --check``: reports all problems at once and writes nothing.

Problems do not hide each other. If lists or folders are invalid, all images below the root are decoded anyway; if
keypoints are missing, the existing ones are read.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rgcn_jax.data.datasets.images import image_size
from rgcn_jax.data.datasets.listing import FolderReader, NoDataSet
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.prepared.shard import ShardTask, cut, work
from rgcn_jax.data.prepared.source import (
    SHOWN,
    Finding,
    Source,
    collected_warnings,
    counted,
    read_keypoints,
    read_splits,
    remarks,
    unused_keypoints,
)
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.files import atomic_file
from rgcn_jax.runtime.worker_pool import run_tasks
from rgcn_jax.types import Tracklet, unique_frames


def check(options: Namespace) -> tuple[list[str], str, int]:
    """Check a data set, and write a report with all names if requested.

    Args:
      options: parsed flags of the command.

    Returns:
      Lines for the terminal (the first problems and remarks, with their first names), a summary, and the exit status,
      which is 0 if the data set is usable, else 1.
    """
    problems: list[Finding] = []
    notes: list[Finding] = []
    found = {"problem": problems, "remark": notes}
    if options.report:
        _write_report(options.report, found)  # fails now if it cannot be written, not after hours
    with collected_warnings(notes):
        seen = _look(options, problems, notes)
    lines = [f"{kind}: {finding.text}" for kind, findings in found.items() for finding in findings[:SHOWN]]
    if left := len(problems) + len(notes) - len(lines):
        lines.append(f"and {left:,} more.")
    if options.report:
        _write_report(options.report, found)
        lines.append(f"{options.report} names all of it.")
    elif left or any(f.names for f in problems) or any(len(f.names) > SHOWN for f in notes):
        lines.append("--report=FILE writes all names to a file.")
    usable = "not usable" if problems else "usable"
    return lines, f"{usable}: {seen}; {len(problems):,} problems, {len(notes):,} remarks", 1 if problems else 0


def _write_report(path: Path, found: Mapping[str, Sequence[Finding]]) -> None:
    """Write a text file with a line per finding, followed by all of its names, indented. Names that are not UTF-8 are
    escaped. Raises InputError if it cannot be written.
    """
    cannot = as_input_error(f"the report {path} cannot be written", "choose another --report")
    with cannot, atomic_file(path) as file:
        for kind, findings in found.items():
            for finding in findings:
                lines = (f"{kind}: {finding.text}", *(f"  {name}" for name in finding.names))
                file.writelines(f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)


def _look(options: Namespace, problems: list[Finding], notes: list[Finding]) -> str:
    """Add problems (those of images first) and remarks of a data set, and return a summary of what was checked."""
    try:
        source = read_splits(options.dataset, options.root, options.follow_links)
    except NoDataSet as error:
        problems.append(_of(error))
        return "without its folders nothing else can be checked"
    except InputError as error:
        problems.append(_of(error))
        images = _look_below(options, error, problems)
        return (
            "without its lists and folders tracklets and keypoints cannot be checked, "
            f"the {images:,} images below {options.root} were"
        )
    problems += _images(options, source.tracklets)
    if options.keypoints:
        problems += _other_sizes(source)
        try:
            notes += read_keypoints(options.keypoints, source, options.skeleton, options.units, lenient=True)[1]
        except InputError as error:
            problems.append(_of(error))
            problems += _damaged_keypoints(options.keypoints, source, options.skeleton, error)
            notes += unused_keypoints(options.keypoints, source)
    else:
        notes.append(Finding("no --keypoints were given: appearance only"))
    notes += remarks(source, options.frames_per_clip)
    frames = sum(len(t.frames) for t in source.tracklets)
    return f"{source.dataset}, {len(source.tracklets):,} tracklets, {frames:,} frames"


def _of(error: InputError) -> Finding:
    return Finding(str(error), error.names)


def _look_below(options: Namespace, known: InputError, problems: list[Finding]) -> int:
    """Check a folder that is not a valid data set, for the ``known`` reason, and return the number of images."""
    if not options.root.is_dir():
        return 0
    folders = FolderReader(options.dataset, options.root, options.follow_links)
    below = folders.images_below()
    names = [tuple(f"{folder}/{name}".lstrip("/") for name in found) for folder, found in below.items()]
    problems += [Finding(text) for text in folders.problems if text not in known.names]
    problems += _images(options, [Tracklet(frames, 0, 0) for frames in names])
    return sum(map(len, names))


def _images(options: Namespace, tracklets: Sequence[Tracklet]) -> list[Finding]:
    """Decode every frame and return the problems in order."""
    root, size = options.root, (options.height, options.width)
    tasks = []
    for number, part in enumerate(cut(tracklets, 1024)):
        nowhere = np.zeros((sum(len(t.frames) for t in part), 14, 3), np.float32)
        tasks.append(ShardTask(None, root, tuple((number, t) for t in part), nowhere, *size))
    bad: dict[int, list[Finding]] = {}
    with tqdm(total=sum(t.frames for t in tasks), desc="check", unit="frame", disable=None) as bar:
        for task, of_task in run_tasks(work, tasks, options.workers, bar.update):
            number, _ = task.tracklets[0]
            bad[number] = [Finding(f"{root / name} {reason}") for name, reason in of_task.items()]
    return [finding for number in sorted(bad) for finding in bad[number]]


def _other_sizes(source: Source) -> list[Finding]:
    """First frames whose size differs from that of the data set, if it has a single size. Unreadable images are
    ignored.
    """
    wanted, names = source.splits[1].frame_size, []
    for tracklet in source.tracklets if wanted else ():
        with suppress(InputError):
            if (size := image_size(source.root / tracklet.frames[0])) != wanted:
                names.append(f"{tracklet.frames[0]} ({size[0]} x {size[1]})")
    height, width = wanted or (0, 0)
    return counted(
        names,
        f"tracklets have frames of another size than {height} x {width} (height x width), of which keypoints must be "
        "pixels",
    )


def _damaged_keypoints(path: Path, source: Source, skeleton: str | None, known: InputError) -> list[Finding]:
    """Unusable keypoint files in a folder, except those named in ``known``; none if ``path`` is not a folder."""
    if not path.is_dir():
        return []
    names = formats.damaged_files(path, unique_frames(source.tracklets), skeleton)
    return counted([n for n in names if n not in known.names], f"keypoint files in {path} cannot be used")
