"""Chunks of finished keypoints on disk, for resumable pose detection: the folder ``OUT.parts`` next to the store.

It contains ``settings.json``, written first, and chunks with the keypoints of some frames each, written atomically, so
that a run can be killed at any time. At the end they are merged into the store, and ``settings.json`` is renamed to
``OUT.settings.json``, which documents how the store was made. That renaming completes the run; the rest of the folder
is removed.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.files import remove_unfinished, write_text, writing
from rgcn_jax.runtime.npz import read_arrays, write_arrays
from rgcn_jax.runtime.user_files import read_text

SETTINGS = "settings.json"


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Hash of all settings that affect the keypoints; chunks with another hash are of another run."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_chunk(
    folder: Path, name: str, frames: Sequence[str], keypoints: Float32[np.ndarray, "n 14 3"], settings_hash: str
) -> None:
    """Write one chunk atomically.

    Args:
      folder: ``Chunks.folder``.
      name: name of the chunk, without a suffix; an existing chunk is replaced.
      frames: the N frames.
      keypoints: keypoints as in the store.
      settings_hash: hash from ``fingerprint``.

    Raises:
      InputError: it cannot be written, for example because the disk is full.
    """
    path = folder / f"{name}.npz"
    arrays = {"names": np.array(frames, np.str_), "keypoints": keypoints, "settings": np.array(settings_hash)}
    with writing(path):
        write_arrays(path, arrays)


class Chunks:
    """Folder of finished chunks of one run, locked while the object is open.

    Args:
      out: the store to create.
      settings: all settings that affect the keypoints, as JSON values.

    Raises:
      InputError: the folder is of a run with other settings (the message lists them) or not one of this program,
        another process is using it, or the store already exists.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]):
        self.folder = out.with_name(f"{out.name}.parts")
        self._out, self._hash = out, fingerprint(settings)
        self._made_with = out.with_name(f"{out.name}.{SETTINGS}")
        self.complete = False
        """Whether an earlier call with the same settings completed the store."""
        self._lock = -1
        with as_input_error(f"{self.folder} cannot be used", "choose another --out"):
            self._check_store(settings)
            if self.complete:
                return
            self.folder.mkdir(exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            try:
                self._open_folder(settings)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Release the folder for other processes."""
        if self._lock >= 0:
            os.close(self._lock)

    def _check_store(self, settings: Mapping[str, Any]) -> None:
        """Determine whether an earlier call completed the store, possibly without removing the chunks."""
        if not self._made_with.exists() and self._out.exists() and not self.folder.exists():
            raise InputError(f"{self._out} already exists: remove it, or choose another --out.")
        if not self._made_with.exists():
            return
        self._remove()
        if not self._out.exists():  # removed by the user
            self._made_with.unlink()
        elif difference := self._difference(self._made_with, settings):
            raise InputError(f"{self._out} already exists, made with {difference}: remove it, or choose another --out.")
        else:
            self.complete = True

    def _open_folder(self, settings: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is writing to {self.folder}: wait for it or stop it.") from None
        remove_unfinished(self.folder)
        present = {entry.name for entry in os.scandir(self.folder)}
        if SETTINGS not in present:
            if present:
                raise InputError(f"{self.folder} contains other files ({min(present)}): choose another --out.")
            write_text(self.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
        elif difference := self._difference(self.folder / SETTINGS, settings):
            raise InputError(
                f"{self.folder} contains unfinished work with {difference}: use the settings of that run to continue "
                "it, choose another --out, or delete the folder."
            )

    @staticmethod
    def _difference(path: Path, settings: Mapping[str, Any]) -> str:
        try:
            before = json.loads(read_text(path))
            before = before if isinstance(before, dict) else {}
        except (ValueError, RecursionError):
            before = {}
        return "; ".join(
            f"{name} {before.get(name)!r}, not {settings.get(name)!r}"
            for name in sorted(before.keys() | settings.keys())
            if before.get(name) != settings.get(name)
        )

    def read(
        self, rows: Mapping[str, int]
    ) -> tuple[Float32[np.ndarray, "n 14 3"], Bool[np.ndarray, "n"], tuple[str, ...]]:
        """Read all finished keypoints.

        Args:
          rows: frame -> its row among the N of the data set.

        Returns:
          The keypoints; the mask of finished rows; and the names of damaged chunks, which are removed, so that their
          frames are unfinished.
        """
        keypoints, done = np.zeros((len(rows), 14, 3), np.float32), np.zeros(len(rows), bool)
        damaged = []
        for path in sorted(self.folder.glob("*.npz")):
            try:
                chunk, _ = read_arrays(path)
                names, values, of = chunk["names"].tolist(), chunk["keypoints"], chunk["settings"].item()
                if of != self._hash or values.shape != (len(names), 14, 3) or not np.isfinite(values).all():
                    raise ValueError("the chunk is of another run")
                at = [rows[name] for name in names]
            except Exception:  # a damaged archive may raise anything
                damaged.append(path.name)
                path.unlink(missing_ok=True)
                continue
            keypoints[at], done[at] = values, True
        return keypoints, done, tuple(damaged)

    def finish(self, store: Path) -> None:
        """Move the finished store, a file in the folder, to its destination, and remove the folder."""
        os.replace(store, self._out)
        os.replace(self.folder / SETTINGS, self._made_with)
        self._remove()

    def _remove(self) -> None:
        """Remove the folder of a completed run, whose settings have already been moved."""
        if not self.folder.is_dir() or (self.folder / SETTINGS).exists():
            return
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".npz", ".tmp", ".part"):
                path.unlink(missing_ok=True)
        self.folder.rmdir()
