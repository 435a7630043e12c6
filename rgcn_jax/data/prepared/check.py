"""Data set check, ``python -m rgcn_jax.data.prepare --check``: finds all problems at once and writes nothing.

One problem does not hide the others: where lists or folders are invalid, every image below the root is decoded all the
same; where keypoints are missing, those that are there are read.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from rgcn_jax.data.datasets.listing import FolderReader, NoDataSet
from rgcn_jax.data.prepared.findings import SHOWN, Finding, write_report, wrong
from rgcn_jax.data.prepared.shard_task import ShardTask, cut
from rgcn_jax.data.prepared.shard_worker import work
from rgcn_jax.data.prepared.source import (
    Source,
    collected_warnings,
    damaged_keypoints,
    other_sizes,
    read_keypoints,
    remarks,
    unused_keypoints,
)
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.worker_pool import run_tasks
from rgcn_jax.types import Tracklet


def check(
    options: Namespace, read_source: Callable[[Namespace], Source], say: Callable[[str], None]
) -> tuple[str, int]:
    """Prints all problems and remarks with their first names, and writes a report with all names if requested.

    Args:
      options: of the command.
      read_source: lists the data set; InputError where it cannot.
      say: prints a line.

    Returns:
      What was found, in a clause; and 0 where the data set can be used, else 1.
    """
    if options.report:
        write_report(options.report, [])  # that it can be written is known before anything takes hours
    warned: list[Finding] = []
    with collected_warnings(warned):
        problems, notes, seen = _look(options, read_source)
    notes = [*warned, *notes]
    findings = [*problems, *notes]
    shown = [f for f in findings if f.problem][:SHOWN] + [f for f in findings if not f.problem][:SHOWN]
    for finding in shown:
        say(finding.line)
    if len(shown) < len(findings):
        say(f"and {len(findings) - len(shown):,} more.")
    if options.report:
        write_report(options.report, findings)
        say(f"{options.report} names all of it.")
    elif len(shown) < len(findings) or any(len(f.names) > SHOWN or (f.problem and f.names) for f in findings):
        say("--report=FILE writes all names to a file.")
    usable = "not usable" if problems else "usable"
    return f"{usable}: {seen}; {len(problems):,} problems, {len(notes):,} remarks", 1 if problems else 0


class _Look(NamedTuple):
    """Problems of a data set, the images first; remarks; and what was checked, as a clause."""

    problems: list[Finding]
    notes: list[Finding]
    seen: str


def _look(options: Namespace, read_source: Callable[[Namespace], Source]) -> _Look:
    try:
        source = read_source(options)
    except NoDataSet as error:
        return _Look([wrong(error)], [], "without its folders nothing else can be checked")
    except InputError as error:
        return _look_below(options, wrong(error))
    problems = _images(options, source.root, source.tracklets)
    notes: list[Finding] = []
    if options.keypoints:
        problems += other_sizes(source)
        try:
            notes += read_keypoints(options.keypoints, source, options.skeleton, options.units, lenient=True).remarks
        except InputError as error:
            problems.append(wrong(error))
            problems += damaged_keypoints(options.keypoints, source, options.skeleton, error)
            notes += unused_keypoints(options.keypoints, source)
    else:
        notes.append(Finding("no --keypoints were given: appearance only"))
    notes += remarks(source, options.frames_per_clip)
    frames = sum(len(t.frames) for t in source.tracklets)
    return _Look(problems, notes, f"{source.dataset}, {len(source.tracklets):,} tracklets, {frames:,} frames")


def _look_below(options: Namespace, first: Finding) -> _Look:
    """The same of a folder that cannot be listed as a data set; ``first`` is the reason."""
    problems, images = [first], 0
    if options.root.is_dir():
        folders = FolderReader(options.dataset, options.root, options.follow_links)
        below = folders.images_below()
        names = [tuple(f"{folder}/{name}".lstrip("/") for name in found) for folder, found in below.items()]
        images = sum(map(len, names))
        problems += [Finding(text, problem=True) for text in folders.problems if text not in first.names]
        problems += _images(options, options.root, [Tracklet(frames, 0, 0) for frames in names])
    return _Look(
        problems,
        [],
        "without its lists and folders tracklets and keypoints cannot be checked, "
        f"the {images:,} images below {options.root} were",
    )


def _images(options: Namespace, root: Path, tracklets: Sequence[Tracklet]) -> list[Finding]:
    """Decode every frame; what is wrong with them, in their order."""
    numbered = tuple(enumerate(tracklets))
    tasks = []
    for part in cut(tracklets, 1024):
        frames = sum(len(tracklets[i].frames) for i in part)
        nowhere = np.zeros((frames, 14, 3), np.float32)
        tasks.append(ShardTask(None, root, numbered[part.start : part.stop], nowhere, options.height, options.width))
    bad: dict[int, list[Finding]] = {}
    with tqdm(total=sum(t.frames for t in tasks), desc="check", unit="frame", disable=None) as bar:
        for task, result in run_tasks(work, tasks, options.workers, bar.update):
            of_task = [Finding(f"{root / name} {reason}", problem=True) for name, reason in result.bad.items()]
            bad[task.tracklets[0][0]] = of_task
    return [finding for first in sorted(bad) for finding in bad[first]]
