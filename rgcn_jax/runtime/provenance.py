"""Provenance of a result: versions, source, data and machine, for ``results.json``.

Nothing here names a user, a host or a folder: the same data give the same fingerprint on every machine.
"""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import rgcn_jax
from rgcn_jax.errors import as_input_error
from rgcn_jax.runtime.cores import usable_cores
from rgcn_jax.runtime.handed_over import read_text
from rgcn_jax.runtime.json_lines import append_json_line, read_json_lines
from rgcn_jax.types import Split

PACKAGES = ("rgcn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
CHANGES_FILE = "config_changes.jsonl"


def provenance(split: Split) -> dict[str, Any]:
    """``versions``, ``git`` (None where the package lies in no checkout), ``data`` (``fingerprint``), ``devices`` (the
    kind of each) and ``hardware``.
    """
    return {
        "versions": versions(),
        "git": git_commit(Path(__file__).resolve().parents[2]),
        "data": fingerprint(split),
        "devices": [device.device_kind for device in jax.devices()],
        "hardware": hardware(),
    }


def versions() -> dict[str, str]:
    """Of Python, of the packages that numbers depend on, and of TensorFlow where it was used to read frames."""
    found = {name: _version(name) for name in PACKAGES}
    if tensorflow := sys.modules.get("tensorflow"):
        found["tensorflow"] = str(getattr(tensorflow, "__version__", "unknown"))
    return found | {"python": platform.python_version()}


def _version(name: str) -> str:
    """Of an installed package; a checkout of this one that is not installed has it in its source."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return rgcn_jax.__version__ if name == "rgcn_jax" else "unknown"


def git_commit(folder: Path) -> dict[str, Any] | None:
    """``commit`` and ``dirty`` of the checkout whose root is ``folder``; None where it is none, or git is missing.

    ``dirty``: a tracked file differs from the commit. A checkout further up is some other project's.
    """
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return None

    def output_of(*arguments: str) -> str:
        return subprocess.run(
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        return {
            "commit": output_of("rev-parse", "HEAD"),
            "dirty": bool(output_of("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):  # not ours to read, or no commit yet
        return None


def fingerprint(split: Split) -> dict[str, Any]:
    """The data: persons, tracklets and frames of each subset, and a SHA-256 over the names.

    The hash is of the sorted lines "part, person id, camera id, path of each frame relative to the root", so that two
    results with the same one saw the same tracklets. It sees no pixel and no keypoint.
    """
    parts = {"train": split.train, "query": split.query, "gallery": split.gallery, "junk": split.junk}
    lines = sorted(
        "\t".join([part, str(t.person_id), str(t.camera_id), *t.frames]) for part, ts in parts.items() for t in ts
    )
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    counts = {
        part: {
            "people": len({t.person_id for t in tracklets}),
            "tracklets": len(tracklets),
            "frames": sum(len(t.frames) for t in tracklets),
        }
        for part, tracklets in parts.items()
    }
    return {"name": split.name, "partition": split.split_description, **counts, "sha256": digest.hexdigest()}


def hardware() -> dict[str, Any]:
    """Platform, devices and processes of JAX; the processor and the cores that may be used. Neither host nor user."""
    return {
        "platform": jax.default_backend(),
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cpu": _cpu(),
        "cpu_cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    try:
        for line in read_text("/proc/cpuinfo").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except (OSError, ValueError):
        pass
    return platform.processor()


def note_changes(workdir: Path, step: int, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Adds the config fields that changed when a run was resumed at ``step`` to ``config_changes.jsonl``."""
    if not changes:
        return
    changed = {name: list(values) for name, values in changes.items()}
    record = json.loads(json.dumps({"after_step": step, "changes": changed}))  # tuples are lists then
    if noted_changes(workdir)[-1:] != [record]:  # a start that ended right after this wrote it already
        append_json_line(workdir / CHANGES_FILE, record)


def noted_changes(workdir: Path) -> list[dict[str, Any]]:
    """All that ``note_changes`` wrote, in order; a line that a killed process left half written is no record.

    Raises:
      InputError: the file cannot be read.
    """
    with as_input_error(f"{workdir / CHANGES_FILE} cannot be read"):
        return [record for record, _ in read_json_lines(workdir / CHANGES_FILE)[0]]
