"""The plan of a preparation, saved at its start: only the same plan resumes it, and differences are reported."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.prepared.findings import SHOWN
from rgcn_jax.data.prepared.format import FORMAT_VERSION, INDEX, KEYPOINTS
from rgcn_jax.data.prepared.index import index_arrays
from rgcn_jax.data.prepared.opened import stored_keypoints
from rgcn_jax.data.prepared.source import Source, SourceKeypoints
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.files import atomic_file
from rgcn_jax.runtime.handed_over import read_text
from rgcn_jax.runtime.npz import read_arrays, write_arrays

PLAN = "plan.json"


class Plan:
    """What decides all that is written but for the pixels.

    Args:
      source: what is prepared.
      keypoints: of all its frames; None: appearance only.
      height: of the frames, in pixels.
      width: likewise.
      shards: how many files of frames.
    """

    def __init__(self, source: Source, keypoints: SourceKeypoints | None, height: int, width: int, shards: int):
        self._source = source
        self._index = index_arrays(source.tracklets, source.splits)
        names = self.frames()
        self.keypoints = keypoints.values if keypoints else np.zeros((len(names), 14, 3), np.float32)
        """Of all frames [n, 14, 3]; zeros without keypoints."""
        digest = hashlib.sha256()
        for name in sorted(self._index):
            digest.update(name.encode() + self._index[name].tobytes())
        self._summary = {
            "version": FORMAT_VERSION,
            "dataset": source.dataset,
            "height": height,
            "width": width,
            "shards": shards,
            "tracklets": digest.hexdigest(),
            "keypoints": hashlib.sha256(self.keypoints.tobytes()).hexdigest() if keypoints else None,
        }

    def frames(self) -> list[str]:
        """The names of all frames in the order of their records."""
        return [frame for tracklet in self._source.tracklets for frame in tracklet.frames]

    def write(self, folder: Path) -> None:
        """Keeps it in a folder, ``plan.json`` last: with that everything is there. Raises OSError."""
        write_arrays(folder / INDEX, self._index, compressed=True)
        with atomic_file(folder / KEYPOINTS) as file:
            np.save(file, self.keypoints)
        with atomic_file(folder / PLAN, "w") as file:
            file.write(json.dumps(self._summary, indent=2) + "\n")

    def compare(self, folder: Path) -> None:
        """Raises ``InputError`` if something else was prepared in a folder; it tells what differs."""
        try:
            before = json.loads(read_text(folder / PLAN))
            different = [name for name in self._summary if before.get(name) != self._summary[name]]
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{folder / PLAN} cannot be read ({error}): delete {folder}, or choose another --out."
            ) from error
        if different:
            told = "; ".join(self._difference(folder, before, different))
            raise InputError(
                f"{folder} was prepared from something else: {told}. Give what that was made from to continue it, or "
                "delete it, or choose another --out."
            )

    def _difference(self, folder: Path, before: dict[str, Any], different: Sequence[str]) -> list[str]:
        told = [
            f"{name} {before.get(name)!r}, not {self._summary[name]!r}"
            for name in different
            if name not in ("tracklets", "keypoints", "shards")
        ]
        if "tracklets" in different:
            return [*told, *self._other_tracklets(folder)]
        if "keypoints" in different:
            told.append(self._other_keypoints(folder, before.get("keypoints")))
        if "shards" in different:
            told.append(f"{before.get('shards')!r} shards, not {self._summary['shards']} (--frames_per_shard)")
        return told

    def _other_tracklets(self, folder: Path) -> list[str]:
        try:
            before = read_arrays(folder / INDEX, ["names"])[0]["names"].tobytes().decode("utf-8").split("\0")
        except Exception:  # a damaged archive raises nearly anything
            return ["other tracklets"]
        known, wanted = set(before), self.frames()
        added = [name for name in wanted if name not in known]
        gone = sorted(known.difference(wanted))
        told = [
            f"{len(names):,} frames {what}: {listed(names, SHOWN)}"
            for names, what in ((added, "were added since"), (gone, "are gone since"))
            if names
        ]
        return told or ["the same frames, but other tracklets, ids, cameras or splits"]

    def _other_keypoints(self, folder: Path, before: str | None) -> str:
        if before is None or self._summary["keypoints"] is None:
            return "it has no keypoints" if before is None else "it has keypoints, and now no --keypoints are given"
        names = self.frames()
        changed = _rows_that_differ(folder / KEYPOINTS, self.keypoints)
        if changed is None:
            return "other keypoints"
        return f"the keypoints of {len(changed):,} frames were others: {listed([names[row] for row in changed], SHOWN)}"


def _rows_that_differ(path: Path, keypoints: Float32[np.ndarray, "n 14 3"]) -> np.ndarray | None:
    try:
        before = stored_keypoints(path)
        return np.flatnonzero((before != keypoints).any(axis=(1, 2)))
    except (OSError, ValueError, EOFError):
        return None
