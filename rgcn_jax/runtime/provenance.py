"""Provenance of a result: versions, source commit, data fingerprint and hardware, for ``results.json``.

Contains no names of users, hosts or folders; the fingerprint of the data is the same on every machine.
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
from rgcn_jax.runtime.json_lines import append_json_line, read_json_lines
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.types import Split

PACKAGES = ("rgcn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
CHANGES_FILE = "config_changes.jsonl"


def provenance(split: Split) -> dict[str, Any]:
    """``versions``, ``git`` (None outside of a checkout), ``data`` (``fingerprint``), ``devices`` (kind of each) and
    ``hardware`` (platform, devices and processes of JAX; processor and number of usable cores).
    """
    return {
        "versions": versions(),
        "git": git_commit(Path(__file__).resolve().parents[2]),
        "data": fingerprint(split),
        "devices": [device.device_kind for device in jax.devices()],
        "hardware": {  # no host or user name
            "platform": jax.default_backend(),
            "devices": jax.device_count(),
            "processes": jax.process_count(),
            "cpu": _cpu(),
            "cpu_cores": usable_cores(),
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def versions() -> dict[str, str]:
    """Versions of Python, of packages that affect results, and of TensorFlow if it was used to read frames."""
    found = {name: _version(name) for name in PACKAGES}
    if tensorflow := sys.modules.get("tensorflow"):
        found["tensorflow"] = str(getattr(tensorflow, "__version__", "unknown"))
    return found | {"python": platform.python_version()}


def _version(name: str) -> str:
    """Version of an installed package; of a checkout of this package from its source."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return rgcn_jax.__version__ if name == "rgcn_jax" else "unknown"


def git_commit(folder: Path) -> dict[str, Any] | None:
    """``commit`` and ``dirty`` of the checkout with root ``folder``; None if it is not one, or git is missing.

    ``dirty``: whether a tracked file differs from the commit. A checkout in a parent folder is ignored.
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
    except (OSError, subprocess.SubprocessError):  # not readable, or no commit yet
        return None


def fingerprint(split: Split) -> dict[str, Any]:
    """Persons, tracklets and frames of each subset, and a SHA-256 of the names.

    The hash is of the sorted lines "subset, person id, camera id, path of each frame relative to the root", so results
    with equal hashes are of the same tracklets. Pixels and keypoints are not included.
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


def _cpu() -> str:
    try:
        for line in read_text("/proc/cpuinfo").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except (OSError, ValueError):
        pass
    return platform.processor()


def note_changes(workdir: Path, step: int, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Append the config fields that changed when a run was resumed at ``step`` to ``config_changes.jsonl``."""
    if not changes:
        return
    changed = {name: list(values) for name, values in changes.items()}
    record = json.loads(json.dumps({"after_step": step, "changes": changed}))  # converts tuples to lists
    if noted_changes(workdir)[-1:] != [record]:  # already recorded if the last start ended right afterwards
        append_json_line(workdir / CHANGES_FILE, record)


def noted_changes(workdir: Path) -> list[dict[str, Any]]:
    """Read all records of ``note_changes``, in order; a truncated line is ignored. Raises InputError for an unreadable
    file.
    """
    with as_input_error(f"{workdir / CHANGES_FILE} cannot be read"):
        return [record for record, _ in read_json_lines(workdir / CHANGES_FILE)[0]]
