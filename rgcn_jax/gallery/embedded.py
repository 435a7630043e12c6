"""Embedded store of a gallery on one machine: segments and a manifest in a folder, crash-safe.

The manifest lists the segments and the committed size of each. It is replaced atomically at the end of every change,
after all listed data is flushed to the disk. A killed process leaves the gallery as before or as after the change.
After ``remove`` returns, no file contains the removed entries. Several processes may change a gallery: each change
holds a lock and starts from the current manifest.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import COLUMNS, Entry, Where, check_new, to_columns
from rgcn_jax.gallery.manifest import LOCK_FILE, MANIFEST, commit, lock, read_manifest
from rgcn_jax.gallery.nearest import Block, Nearest, Weights, nearest
from rgcn_jax.gallery.segment import SEGMENT_BYTES, Segment, open_segment
from rgcn_jax.runtime.files import remove_unfinished, writing

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from rgcn_jax.gallery.device_search import DeviceSearch


class EmbeddedStore:
    """The store in a folder.

    Args:
      folder: folder of the gallery.
      binding: binding of a new gallery, JSON with "widths": [D_a, D_p]; None if the gallery must exist.

    Attributes:
      binding: binding of the gallery.
      device: search on an accelerator; None for the CPU.

    Raises:
      InputError: there is no gallery, the folder has other contents or cannot be written, or a file is corrupt.
    """

    def __init__(self, folder: Path, binding: Mapping[str, Any] | None):
        self.folder = folder
        self.device: DeviceSearch | None = None
        self._manifest: dict[str, Any] = {}
        self._segments: list[Segment] = []
        self._keys: set[int] | None = None
        if not (folder / MANIFEST).exists():
            if binding is None:
                raise InputError(f"there is no gallery in {folder}: rgcn-jax gallery add makes one.")
            self._create(binding)
        self._refresh()
        self.binding: dict[str, Any] = self._manifest["binding"]
        self._split, width = self.binding["widths"][0], sum(self.binding["widths"])
        self._rows = max(SEGMENT_BYTES // (4 * width), 1)

    def _create(self, binding: Mapping[str, Any]) -> None:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [p.name for p in self.folder.iterdir() if p.name != LOCK_FILE and not p.name.startswith(".")]
            if others:
                raise InputError(
                    f"{self.folder} holds {sorted(others)[0]} and no gallery: name a new or an empty folder."
                )
            with lock(self.folder / LOCK_FILE):
                if not (self.folder / MANIFEST).exists():
                    first = {"binding": dict(binding), "next_id": 1, "next_segment": 1, "segments": []}
                    commit(self.folder, first)

    @property
    def columns(self) -> np.ndarray:
        """``COLUMNS`` of all entries, sorted by id."""
        self._refresh()
        return np.concatenate([np.empty(0, COLUMNS), *(segment.columns for segment in self._segments)])

    def count(self, where: Where) -> int:
        """Return the number of entries."""
        self._refresh()
        return sum(int(np.count_nonzero(where.mask(segment.columns))) for segment in self._segments)

    def entries(self, where: Where) -> Iterator[tuple[int, bytes]]:
        """Iterate over ids and JSON texts of entries, sorted by id."""
        self._refresh()
        for segment in list(self._segments):
            rows = np.flatnonzero(where.mask(segment.columns))
            yield from zip(segment.ids[rows].tolist(), segment.texts(rows), strict=True)

    def texts(self, ids: Collection[int]) -> dict[int, bytes]:
        """Return the JSON texts of entries by id, as of the last refresh. Missing ids are omitted."""
        wanted, found = np.array(sorted({*ids}), np.int64), {}
        for segment in self._segments:
            there = segment.ids
            inside = wanted[(wanted >= there[0]) & (wanted <= there[-1])]
            rows = np.searchsorted(there, inside)
            rows = rows[there[rows] == inside]
            found |= zip(there[rows].tolist(), segment.texts(rows), strict=True)
        return found

    def contains(self, keys: Collection[int]) -> list[bool]:
        """Return for each key whether its entry is in the gallery."""
        self._refresh()
        if self._keys is None:
            self._keys = {key for segment in self._segments for key in segment.columns["key"].tolist()}
        return [key in self._keys for key in keys]

    def vectors(self, where: Where) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and features of entries, sorted by id."""
        self._refresh()
        ids, rows = [np.empty(0, np.int64)], [np.empty((0, sum(self.binding["widths"])), np.float32)]
        for segment in self._segments:
            if (mask := where.mask(segment.columns)).any():
                ids.append(segment.ids[mask])
                rows.append(segment.vectors[mask])
        return np.concatenate(ids), np.concatenate(rows)

    def search(self, queries: np.ndarray, weights: tuple[float, float], k: int, where: Where) -> list[Nearest]:
        """Return the k nearest entries of each query."""
        self._refresh()
        if not len(queries):
            return []
        if self.device is not None:
            self.device.forget(segment.state for segment in self._segments)
        blocks = [Block(s.vectors, s.squares(weights), where.mask(s.columns), s.ids, s.state) for s in self._segments]
        return nearest(blocks, queries, Weights(*weights, self._split), k, self.device)

    def add(self, vectors: np.ndarray, entries: Sequence[Entry]) -> list[int]:
        """Add entries with their features and return their ids. Atomic and durable on return."""
        split = self._split
        squares = np.stack(
            [np.einsum("nd,nd->n", x, x, dtype=np.float64) for x in (vectors[:, :split], vectors[:, split:])]
        )
        with self._change() as manifest:
            check_new(entries, self.contains([entry.key for entry in entries]))
            first_id = manifest["next_id"]
            columns, texts = to_columns(entries, first_id, squares)
            segments, at, text_at = list(self._segments), 0, 0
            while at < len(entries):
                if not segments or len(segments[-1].columns) >= self._rows:
                    segments.append(self._new_segment(manifest))
                end = min(at + self._rows - len(segments[-1].columns), len(entries))
                text_end = text_at + int(columns["text"][at:end].sum(dtype=np.int64))
                segments[-1] = segments[-1].append(columns[at:end], texts[text_at:text_end], vectors[at:end])
                at, text_at = end, text_end
            manifest["next_id"] = first_id + len(entries)
            self._replace(manifest, segments)
            if self._keys is not None:
                self._keys.update(columns["key"].tolist())
        return columns["id"].tolist()

    def remove(self, where: Where) -> int:
        """Erase entries and return their number. Segments that contain them are rewritten and the old files deleted."""
        with self._change() as manifest:
            segments, removed = [], 0
            for segment in self._segments:
                gone = where.mask(segment.columns)
                removed += int(np.count_nonzero(gone))
                if not gone.any():
                    segments.append(segment)
                elif not gone.all():
                    segments.append(self._rewritten(manifest, [(segment, ~gone)]))
            self._replace(manifest, segments)
            self._keys = None
        return removed

    def check(self) -> None:
        """Verify the checksums of all features. Those of the entries were verified when they were read."""
        self._refresh()
        for segment in self._segments:
            _ = segment.vectors

    def compact(self) -> int:
        """Merge adjacent segments that fit into one. Return the number of remaining segments."""
        with self._change() as manifest:
            groups: list[list[Segment]] = []
            for segment in self._segments:
                together = sum(len(other.columns) for other in groups[-1]) if groups else self._rows
                if together + len(segment.columns) <= self._rows:
                    groups[-1].append(segment)
                else:
                    groups.append([segment])
            segments = [
                group[0]
                if len(group) == len(group[0].records) == 1
                else self._rewritten(manifest, [(segment, slice(None)) for segment in group])
                for group in groups
            ]
            self._replace(manifest, segments)
        return len(segments)

    def _rewritten(self, manifest: dict[str, Any], parts: Sequence[tuple[Segment, np.ndarray | slice]]) -> Segment:
        """Write a new segment from rows of other segments."""
        columns = np.concatenate([segment.columns[rows] for segment, rows in parts])
        vectors = np.concatenate([segment.vectors[rows] for segment, rows in parts])
        texts = b"".join(text for segment, rows in parts for text in segment.texts(rows))
        return self._new_segment(manifest).append(columns, texts, vectors)

    def _new_segment(self, manifest: dict[str, Any]) -> Segment:
        number = manifest["next_segment"]
        manifest["next_segment"] = number + 1
        return Segment(self.folder, f"{number:08d}", sum(self.binding["widths"]))

    @contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        """Hold the lock and yield a copy of the current manifest to modify. Raises InputError."""
        with writing(self.folder), lock(self.folder / LOCK_FILE):
            self._refresh()
            self._remove_leftovers()
            yield dict(self._manifest)

    def _replace(self, manifest: dict[str, Any], segments: Sequence[Segment]) -> None:
        """Commit new segments, then delete the files of unused ones."""
        manifest["segments"] = [list(segment.state) for segment in segments]
        self._manifest, self._segments = commit(self.folder, manifest), list(segments)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Delete segments that are not in the manifest: leftovers of a killed process, or just replaced."""
        named = {segment[0] for segment in self._manifest["segments"]}
        remove_unfinished(self.folder)
        for path in self.folder.iterdir():
            if path.suffix in (".vectors", ".entries") and path.stem not in named:
                path.unlink(missing_ok=True)

    def _refresh(self) -> None:
        """Read changes by other processes."""
        for _ in range(100):
            manifest = read_manifest(self.folder)
            if manifest.get("generation") == self._manifest.get("generation"):
                return
            known = {segment.state: segment for segment in self._segments}
            width = sum(manifest["binding"]["widths"])
            try:
                segments = [
                    known.get((name, count, size)) or open_segment(self.folder, name, width, count, size)
                    for name, count, size in manifest["segments"]
                ]
            except FileNotFoundError as error:  # replaced in the meantime
                if read_manifest(self.folder)["generation"] == manifest["generation"]:
                    raise InputError(f"{error.filename} is missing: restore the gallery from a copy.") from error
                continue
            self._manifest, self._segments, self._keys = manifest, segments, None
            return
        raise InputError(f"{self.folder} is changed by other processes all the time: try again later.")
