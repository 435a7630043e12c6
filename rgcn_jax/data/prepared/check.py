"""Data set check, ``python -m rgcn_jax.data.prepare --check``: reports all problems at once and writes nothing.

Problems do not hide each other. If lists or folders are invalid, all images below the root are decoded anyway; if
keypoints are missing, the existing ones are read.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from rgcn_jax.command import last_line
from rgcn_jax.data.datasets.images import image_size
from rgcn_jax.data.datasets.listing import FolderReader, NoDataSet
from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.prepared import source as prepared_source
from rgcn_jax.data.prepared.shard import check_frames
from rgcn_jax.data.prepared.source import SHOWN, Finding, Source, counted
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.files import atomic_file
from rgcn_jax.runtime.worker_pool import run_tasks
from rgcn_jax.types import unique_frames

_FRAMES_PER_TASK = 1024


def check(options: Namespace, say: Callable[[str], None]) -> int:
    """Check a data set by the parsed flags of the command, and write a report with all names if requested.

    ``say``: prints a line. Returns the exit status: 0 if the data set is usable, else 1.
    """
    problems: list[Finding] = []
    notes: list[Finding] = []
    found = {"problem": problems, "remark": notes}
    if options.report:
        _write_report(options.report, found)  # fails now if it cannot be written, not after hours
    with prepared_source.collected_warnings(notes):
        seen = _look(options, problems, notes)
    for kind, findings in found.items():
        for finding in findings[:SHOWN]:
            say(f"{kind}: {finding.text}")
    if left := sum(len(findings[SHOWN:]) for findings in found.values()):
        say(f"and {left:,} more.")
    if options.report:
        _write_report(options.report, found)
        say(f"{options.report} names all of it.")
    elif left or any(f.names for f in problems) or any(len(f.names) > SHOWN for f in notes):
        say("--report=FILE writes all names to a file.")
    counts = f"{seen}; {len(problems):,} problems, {len(notes):,} remarks"
    if problems:
        say(last_line(f"not usable: {counts}", then="correct what is listed above and rerun the same command"))
        return 1
    given = {name: getattr(options, name) for name in ("dataset", "root", "keypoints", "skeleton", "units")}
    flags = [f"--{name}={value}" for name, value in given.items() if value]
    flags += ["--follow-links"] if options.follow_links else []
    say(last_line(f"usable: {counts}", "rgcn-jax", "prepare", *flags, "--out=prepared"))
    return 0


def _write_report(path: Path, found: Mapping[str, Sequence[Finding]]) -> None:
    """Write a text file with a line per finding, followed by all of its names, indented. Names that are not UTF-8 are
    escaped.
    """
    lines = []
    for kind, findings in found.items():
        for finding in findings:
            lines += [f"{kind}: {finding.text}\n", *(f"  {name}\n" for name in finding.names)]
    cannot = as_input_error(f"the report {path} cannot be written", "choose another --report")
    with cannot, atomic_file(path) as file:
        file.write("".join(lines).encode("utf-8", "backslashreplace"))


def _look(options: Namespace, problems: list[Finding], notes: list[Finding]) -> str:
    """Add problems (those of images first) and remarks of a data set, and return a summary of what was checked."""
    try:
        source = prepared_source.read_splits(options.dataset, options.root, options.follow_links)
    except InputError as error:
        problems.append(Finding(str(error), error.names))
        if isinstance(error, NoDataSet):
            return "without its folders nothing else can be checked"
        images = 0
        if options.root.is_dir():
            folders = FolderReader(options.dataset, options.root, options.follow_links)
            below = folders.images_below()
            frames = [f"{folder}/{name}".lstrip("/") for folder, names in below.items() for name in names]
            problems += [Finding(text) for text in folders.problems if text not in error.names]
            problems += _damaged_images(options, frames)
            images = len(frames)
        return (
            "without its lists and folders tracklets and keypoints cannot be checked, "
            f"the {images:,} images below {options.root} were"
        )
    frames = unique_frames(source.tracklets)
    problems += _damaged_images(options, frames)
    if path := options.keypoints:
        problems += _other_sizes(source)
        try:
            notes += prepared_source.read_keypoints(path, source, options.skeleton, options.units, lenient=True)[1]
        except InputError as error:
            problems.append(Finding(str(error), error.names))
            if path.is_dir():
                damaged = formats.damaged_files(path, frames, options.skeleton)
                damaged = [name for name in damaged if name not in error.names]
                problems += counted(damaged, f"keypoint files in {path} cannot be used")
            notes += prepared_source.unused_keypoints(path, source)
    else:
        notes.append(Finding("no --keypoints were given: appearance only"))
    notes += prepared_source.remarks(source, options.frames_per_clip)
    total = sum(len(tracklet.frames) for tracklet in source.tracklets)
    return f"{source.dataset}, {len(source.tracklets):,} tracklets, {total:,} frames"


def _damaged_images(options: Namespace, frames: Sequence[str]) -> list[Finding]:
    """Decode every frame and return the problems in order."""
    starts = range(0, len(frames), _FRAMES_PER_TASK)
    tasks = [(options.root, frames[start : start + _FRAMES_PER_TASK]) for start in starts]
    bad: dict[str, str] = {}
    with tqdm(total=len(frames), desc="check", unit="frame", disable=None) as bar:
        for _, of_task in run_tasks(check_frames, tasks, options.workers, bar.update):
            bad |= of_task
    return [Finding(f"{options.root / name} {bad[name]}") for name in frames if name in bad]


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
