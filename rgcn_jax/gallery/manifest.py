"""Manifest of an embedded gallery, ``gallery.json``: its binding and its segments.

JSON fields besides "format" and "version":

- "binding": model and settings.
- "next_id" and "next_segment": numbers of the next entry and segment.
- "segments": name, number of entries and bytes of the entries file of each segment.
- "generation": incremented by every change.
- "checksum": CRC-32 of the other fields.
"""

import fcntl
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rgcn_jax.errors import MALFORMED, as_input_error
from rgcn_jax.runtime.files import write_text
from rgcn_jax.runtime.user_files import read_text

MANIFEST, LOCK_FILE = "gallery.json", "lock"
FORMAT, VERSION = "rgcn_jax gallery", 1


def commit(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the manifest atomically after flushing the names of the listed files to the disk.

    The caller holds the lock.

    Returns:
      The manifest as written, with the incremented generation.

    Raises:
      OSError: the folder cannot be flushed.
      InputError: the file cannot be written.
    """
    described = {"format": FORMAT, "version": VERSION, "generation": manifest.get("generation", 0) + 1}
    content = {**manifest, **described}
    content["checksum"] = _checksum(content)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    write_text(folder / MANIFEST, json.dumps(content) + "\n")
    return content


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest. Raises InputError if it is missing, corrupt or of another version."""
    path = folder / MANIFEST
    with as_input_error(
        f"{path} is not the manifest of a gallery of this program", "restore it from a copy", MALFORMED
    ):
        manifest = json.loads(read_text(path))
        if manifest["format"] != FORMAT or manifest["version"] != VERSION:
            raise ValueError(f"format {manifest['format']!r}, version {manifest['version']!r}")
        if _checksum(manifest) != manifest["checksum"]:
            raise ValueError("checksum mismatch")
        _check(manifest)
    return manifest


@contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a file, which is created. The kernel releases the lock if the process dies. Raises OSError.

    Yields whether the file is locked: False only with ``wait=False``, if another process holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        held = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def _check(manifest: Mapping[str, Any]) -> None:
    """Validate the fields: the folder may be untrusted. Raises ValueError, KeyError or TypeError."""
    check_binding(manifest["binding"])
    numbers, names = [manifest["next_id"], manifest["generation"]], set()
    for name, count, size in manifest["segments"]:
        if not re.fullmatch("[0-9]{8,12}", name) or name in names or count < 1:
            raise ValueError(f"a segment {name!r} of {count} entries")
        numbers += [count, size]
        names.add(name)
    after = manifest["next_segment"]
    if not all(type(n) is int and 0 <= n < 2**62 for n in (*numbers, after)) or after >= 10**12:
        raise ValueError("a number is none")
    if any(int(name) >= after for name in names):
        raise ValueError("the next segment is one that is there")


def check_binding(binding: Any) -> None:
    """Validate a binding. Raises ValueError, KeyError or TypeError."""
    widths = binding["widths"]
    if not isinstance(widths, list) or len(widths) != 2 or not all(type(n) is int and n >= 0 for n in widths):
        raise ValueError("the widths are none")
    if not 1 <= sum(widths) < 2**31 or not isinstance(binding["model"], str):
        raise ValueError("the binding is none")
    if not isinstance(binding["settings"], dict):
        raise ValueError("the settings are none")


def _checksum(manifest: Mapping[str, Any]) -> int:
    content = {name: value for name, value in manifest.items() if name != "checksum"}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
