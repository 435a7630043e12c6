"""Chunks of finished keypoints, kept on disk until all are there: the folder ``OUT.parts`` beside the store.

It holds ``settings.json``, written first, and chunks: the keypoints of some frames each, written atomically, so that a
run may be killed at any moment. When all are there they become the store, and ``settings.json`` becomes
``OUT.settings.json``, which from then on documents how the store was made. With that last renaming the run is
finished; what is left of the folder is removed.
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
from rgcn_jax.runtime.handed_over import read_text
from rgcn_jax.runtime.npz import read_arrays, write_arrays

SETTINGS = "settings.json"


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A hash of everything that decides about the keypoints: chunks with another one are of another run."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_chunk(
    folder: Path, name: str, frames: Sequence[str], keypoints: Float32[np.ndarray, "n 14 3"], settings_hash: str
) -> None:
    """Write one chunk atomically.

    Args:
      folder: ``Chunks.folder``.
      name: of the chunk, without a suffix; a chunk of that name is replaced.
      frames: the N frames.
      keypoints: as the store will have them.
      settings_hash: of ``fingerprint``.

    Raises:
      InputError: it cannot be written, for example because the disk is full.
    """
    path = folder / f"{name}.npz"
    arrays = {"names": np.array(frames, np.str_), "keypoints": keypoints, "settings": np.array(settings_hash)}
    with writing(path):
        write_arrays(path, arrays)


class Chunks:
    """The folder of finished chunks of one run, locked while the object is open.

    Args:
      out: the store that is being made.
      settings: everything that decides about the keypoints, as JSON values.

    Raises:
      InputError: the folder is of a run with other settings (the message says which), another process is at work in
        it, the store is there already, or the folder is not one of ours.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]):
        self.folder = out.with_name(f"{out.name}.parts")
        self._out, self._hash = out, fingerprint(settings)
        self._made_with = out.with_name(f"{out.name}.{SETTINGS}")
        self.complete = False
        """The store was finished by an earlier call with the same settings: nothing is left to do."""
        self._lock = -1
        with as_input_error(f"{self.folder} cannot be used", "choose another --out"):
            self._look_at_the_store(settings)
            if self.complete:
                return
            self.folder.mkdir(exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            try:
                self._take_up(settings)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let another process take the folder up."""
        if self._lock >= 0:
            os.close(self._lock)

    def _look_at_the_store(self, settings: Mapping[str, Any]) -> None:
        """Whether an earlier call finished it, perhaps without having removed the chunks."""
        if not self._made_with.exists() and self._out.exists() and not self.folder.exists():
            raise InputError(f"{self._out} is there already: remove it, or choose another --out.")
        if not self._made_with.exists():
            return
        self._remove()
        if not self._out.exists():  # its user has removed it
            self._made_with.unlink()
        elif difference := self._difference(self._made_with, settings):
            raise InputError(
                f"{self._out} is there already, made with {difference}: remove it, or choose another --out."
            )
        else:
            self.complete = True

    def _take_up(self, settings: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process is writing to {self.folder}: wait for it or stop it.") from None
        remove_unfinished(self.folder)
        present = {entry.name for entry in os.scandir(self.folder)}
        if SETTINGS not in present:
            if present:
                raise InputError(f"{self.folder} holds other files ({min(present)}): choose another --out.")
            write_text(self.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
        elif difference := self._difference(self.folder / SETTINGS, settings):
            raise InputError(
                f"{self.folder} holds unfinished work with {difference}: give the settings of that run to continue it, "
                "choose another --out, or delete the folder."
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
        """All that is finished.

        Args:
          rows: frame -> its row among the N of the data set.

        Returns:
          The keypoints; which rows are finished; and the names of damaged chunks, which are removed, their frames being
          unfinished again.
        """
        keypoints, done = np.zeros((len(rows), 14, 3), np.float32), np.zeros(len(rows), bool)
        damaged = []
        for path in sorted(self.folder.glob("*.npz")):
            try:
                chunk, _ = read_arrays(path)
                names, values, of = chunk["names"].tolist(), chunk["keypoints"], chunk["settings"].item()
                if of != self._hash or values.shape != (len(names), 14, 3) or not np.isfinite(values).all():
                    raise ValueError("it is of another run")
                at = [rows[name] for name in names]
            except Exception:  # a damaged archive raises nearly anything
                damaged.append(path.name)
                path.unlink(missing_ok=True)
                continue
            keypoints[at], done[at] = values, True
        return keypoints, done, tuple(damaged)

    def finish(self, store: Path) -> None:
        """Move the finished store, a file within the folder, to its place, and remove the folder."""
        os.replace(store, self._out)
        os.replace(self.folder / SETTINGS, self._made_with)
        self._remove()

    def _remove(self) -> None:
        """Remove the folder of a finished run, which has no settings any more."""
        if not self.folder.is_dir() or (self.folder / SETTINGS).exists():
            return
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".npz", ".tmp", ".part"):
                path.unlink(missing_ok=True)
        self.folder.rmdir()
