"""Walkers in MARS's layout for the tests of the prepared form, and the command that prepares them, as a process."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rgcn_jax.data import prepare
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.prepared import check, shard, writer
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.write import write as write_walkers
from tests.commands import status

REPOSITORY = Path(__file__).parents[3]
SPEC = WalkersSpec(
    train_identities=4,
    test_identities=4,
    group_size=2,
    cameras=2,
    tracklets_per_camera=1,
    min_frames=3,
    max_frames=12,
    distractors=1,
    junk=1,
)


def write(root: Path, layout: str = "mars", height: int = 256, width: int = 128, spec: WalkersSpec = SPEC) -> Path:
    """The data set with its OpenPose files; returns the folder."""
    write_walkers(generate(spec), root, layout, height, width)
    return root


def command(root: Path, *others: object, dataset: str = "mars", keypoints: Path | None = None) -> list[str]:
    """The command line, one worker."""
    return [
        *(sys.executable, "-m", "rgcn_jax.data.prepare", f"--dataset={dataset}", f"--root={root}"),
        *(f"--keypoints={keypoints or root / 'openpose'}", "--workers=1"),
        *map(str, others),
    ]


def environment() -> dict[str, str]:
    """A user's: TensorFlow may say what it says."""
    here = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return {**here, "PYTHONPATH": str(REPOSITORY)}


def run(root: Path, *others: object, blocks: int | None = None, **options) -> subprocess.CompletedProcess:
    """Runs the command to its end; no file may grow beyond so many blocks of 512 bytes."""
    # By a shell, since a fork of this process, in which JAX has threads, would be warned of.
    limited = ["sh", "-c", f"trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"", "sh"] if blocks else []
    return subprocess.run(
        [*limited, *command(root, *others, **options)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_here(root: Path, *others: object, finish: int | None = None, **options) -> int | str:
    """The command in this process, which does the tasks itself: a worker takes three seconds to load TensorFlow. With
    ``finish`` it is interrupted once it has done so many. The exit status.
    """

    def run_tasks(work, tasks, workers, progress):
        for number, task in enumerate(tasks):
            if number == finish:
                raise KeyboardInterrupt
            yield task, work(task, lambda: progress(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard, "_set_environment", lambda: None)
        patch.setattr(writer, "run_tasks", run_tasks)
        patch.setattr(check, "run_tasks", run_tasks)
        return status(prepare.main, command(root, *others, **options)[3:])


def records(builder: Any, part: str) -> Sequence[Any]:
    """A part of a builder's data set."""
    # Any builder: the decorators of TensorFlow Datasets hide from a type checker what its method takes.
    return builder.as_data_source(part)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder; a shard of an unfinished preparation without the key in its name."""
    return {
        path.stem if "array_record" in path.stem else path.name: path.read_bytes() for path in sorted(folder.iterdir())
    }


def without_source(files: dict[str, bytes]) -> dict[str, object]:
    """The same without the hash of the images' times, for folders that were prepared from two copies of the images."""
    marker = json.loads(files["rgcn_jax.json"])
    del marker["source"]
    return {**files, "rgcn_jax.json": marker}


def spoil(root: Path) -> list[str]:
    """Five frames of the training set, each in another way; what is to be said of each."""
    frames = [t.frames[1] for t in mars.load(root).train[:5]]
    truncated, empty, text, gif, vast = (root / frame for frame in frames)
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    empty.write_bytes(b"")
    text.write_bytes(b"<html>404</html>")
    gif.write_bytes(base64.b64decode("R0lGODdhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="))
    jpeg = vast.read_bytes()
    size = jpeg.index(b"\xff\xc0") + 5
    vast.write_bytes(jpeg[:size] + b"\xff\xff\x00\x40" + jpeg[size + 4 :])
    return [
        f"{truncated} is truncated, or no JPEG or PNG image",
        f"{empty} is empty",
        f"{text} is truncated, or no JPEG or PNG image",
        f"{gif} is truncated, or no JPEG or PNG image",
        f"{vast} has 64 x 65,535 pixels: make it smaller, 8,192 are read at most",
    ]
