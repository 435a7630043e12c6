"""Gallery of embedded tracklets with nearest-neighbour search, bound to one model and its settings.

The gallery stores the features of both branches as the run's distance requires (raw, normalised or standardised). The
branch weights can therefore be chosen for every search. Distances equal those of ``Embedder.distance``.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rgcn_jax.errors import InputError, NotFoundError, needs_extra
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.gallery.audit import forget
from rgcn_jax.gallery.binding import By, GalleryModel, binding_of, branch_weights
from rgcn_jax.gallery.crops import erase_crops, files_folder, frame_paths, is_milvus, known_folder
from rgcn_jax.gallery.embedded import EmbeddedStore
from rgcn_jax.gallery.entry import EVERYTHING, Entry, Match, Where
from rgcn_jax.runtime.files import writing
from rgcn_jax.types import UNKNOWN_ID, Embeddings

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from rgcn_jax.embedder import Embedding
    from rgcn_jax.evaluation.embed import TrackletFeature
    from rgcn_jax.gallery.device_search import DeviceSearch
    from rgcn_jax.gallery.milvus import MilvusStore


class Gallery:
    """Enrolled tracklets. Create one with ``Gallery.open``."""

    def __init__(self, store: "EmbeddedStore | MilvusStore", model: GalleryModel | None):
        self._store, self._model = store, model

    @classmethod
    def open(
        cls,
        uri: str | Path,
        model: GalleryModel | None = None,
        files: Path | None = None,
        on_device: bool | None = None,
    ) -> "Gallery":
        """Open a gallery, or create it if it does not exist.

        Args:
          uri: folder of the gallery, a Milvus address or a Milvus Lite file. The address is
            ``milvus://HOST:PORT/NAME``, with ``?index=HNSW`` to create a gallery with approximate search. A Milvus Lite
            path ends in ``.db``.
          model: the ``Embedder`` that the gallery was created with. Without it, entries can only be read and removed,
            and no gallery is created.
          files: folder of crops and audit log of a gallery in Milvus. For Milvus Lite it defaults to the path with
            ``.files`` appended.
          on_device: whether JAX searches an embedded gallery on its first device; None: only on an accelerator.
            Order, ties and distances are the same.

        Raises:
          InputError: there is no gallery and no model, the gallery is corrupt, or it has another model or other
            settings.
        """
        binding = None if model is None else binding_of(model)
        gallery = cls(_open_store(str(uri), binding, files), model)
        if isinstance(gallery._store, EmbeddedStore) and (model is not None or on_device):
            gallery._store.device = _device_search(on_device)
        found = gallery._store.binding
        if binding is not None and found != binding:
            what = [name for name in binding if found.get(name) != binding[name]]
            raise InputError(
                f"the gallery {uri} belongs to another model or other settings: {what[0]} is {found.get(what[0])}, of "
                f"this model {binding[what[0]]}. Features of both must not be compared: name another folder."
            )
        return gallery

    def add(
        self, embeddings: "Sequence[Embedding | TrackletFeature] | Embeddings", entries: Sequence[Entry]
    ) -> list[int]:
        """Enrol tracklets. Atomic and durable on return: a process killed earlier has added none of them.

        Args:
          embeddings: N embeddings, from the embedder or a features file. Any person and camera ids are not used.
          entries: metadata of each tracklet.

        Returns:
          Ids of the entries, ascending and never reused.

        Raises:
          InputError: an entry exists already, a feature is not finite, or the folder cannot be written.
        """
        vectors = self._vectors(embeddings)
        if len(vectors) != len(entries):
            raise InputError(f"there are {len(vectors)} embeddings and {len(entries)} entries.")
        return self._store.add(vectors, entries) if len(entries) else []

    @overload
    def search(
        self, embeddings: "Embedding", k: int = 20, by: By = "fused", where: Where = ..., fpr: float | None = None
    ) -> list[Match]: ...

    @overload
    def search(
        self,
        embeddings: "Sequence[Embedding | TrackletFeature] | Embeddings",
        k: int = 20,
        by: By = "fused",
        where: Where = ...,
        fpr: float | None = None,
    ) -> list[list[Match]]: ...

    def search(
        self, embeddings: Any, k: int = 20, by: By = "fused", where: Where = EVERYTHING, fpr: float | None = None
    ) -> Any:
        """Return the k nearest entries, nearest first. Ties are in the order of adding.

        Args:
          embeddings: one embedding or several.
          k: number of results; fewer if the filter selects fewer.
          by: "fused", "appearance", "pose", or the weights (α, β) of both branches. With weights, the distance is
            sqrt(α² d_a² + β² d_p²).
          where: filter of the entries to search.
          fpr: calibrated false positive rate of the verdict ``Match.same``; None for no verdict.

        Raises:
          InputError: ``by`` or ``k`` is invalid, the model was not calibrated at this rate, or a file is corrupt.
        """
        single = not isinstance(embeddings, Embeddings) and hasattr(embeddings, "appearance")
        found = self._search(self._vectors([embeddings] if single else embeddings), k, by, where, fpr)
        return found[0] if single else found

    def similar(
        self, id: int, k: int = 20, by: By = "fused", where: Where = EVERYTHING, fpr: float | None = None
    ) -> list[Match]:
        """Return the nearest entries of an entry, without the entry itself. Arguments as for ``search``.

        Raises:
          InputError: there is no such entry, or as for ``search``.
        """
        _, vectors = self._store.vectors(Where(ids=[id]))
        if not len(vectors):
            raise NotFoundError(f"the gallery has no entry {id}.")
        return self._search(vectors, k, by, replace(where, not_ids=[id, *(where.not_ids or ())]), fpr)[0]

    def weights(self, by: By) -> tuple[float, float]:
        """Return the branch weights α and β of a search. Raises InputError if ``by`` is invalid."""
        return branch_weights(by, self.model.config.evaluation, self.binding["widths"][1] > 0)

    def threshold(self, by: By, fpr: float) -> float:
        """Return the calibrated distance threshold of the verdict "same person".

        Raises:
          InputError: the model was not calibrated for these settings and rate, or ``by`` is a pair of weights.
        """
        model = self.model
        if model.calibration is None:
            raise InputError("the model has no thresholds: calibrate it by rgcn-jax calibrate.")
        if not isinstance(by, str):
            raise InputError(f"there is no threshold for the weights {by}: search by fused, appearance or pose.")
        return model.calibration.threshold(model.hash, model.config.evaluation, by, fpr)

    def count(self, where: Where = EVERYTHING) -> int:
        """Return the number of entries."""
        return self._store.count(where)

    def entries(self, where: Where = EVERYTHING) -> Iterator[tuple[int, Entry]]:
        """Iterate over ids and entries in the order of adding."""
        return ((i, Entry.from_json(text, i)) for i, text in self._store.entries(where))

    def contains(self, entries: Sequence[Entry]) -> list[bool]:
        """Return for each entry whether it is in the gallery, by source and tracklet."""
        return self._store.contains([entry.key for entry in entries])

    def remove(self, which: Where | Collection[int]) -> int:
        """Erase entries selected by id or by a filter.

        On return, no file contains their features or metadata. Frames that the gallery cut from a video are deleted,
        and the entries are erased from the audit log.

        Returns:
          Number of entries erased.

        Raises:
          InputError: the filter has no condition, or the folder cannot be written.
        """
        where = which if isinstance(which, Where) else Where(ids=which)
        if where == EVERYTHING:
            raise InputError("name what to remove by a condition; delete the folder to remove all.")
        gone = []
        for i, entry in self.entries(where):
            gone.append(i)
            if self._store.folder is not None:
                erase_crops(self._store.folder, entry)
        if self._store.folder is not None:
            forget(self._store.folder, gone)
        return self._store.remove(where)

    def frame_paths(self, entry: Entry) -> list[Path]:
        """Return the paths of an entry's frames; empty if unknown. Raises InputError for an invalid name."""
        return frame_paths(self._store.folder, entry)

    def check(self) -> None:
        """Read all files and verify their checksums. Raises InputError if one is corrupt."""
        self._store.check()

    def compact(self) -> int:
        """Merge small files left by many additions or removals. Return the number of segments.

        In Milvus, returns the number of collections, and Milvus merges asynchronously.
        """
        return self._store.compact()

    @property
    def folder(self) -> Path:
        """Folder of the gallery's own crops and its audit log. Raises InputError if unknown."""
        return known_folder(self._store.folder)

    @property
    def binding(self) -> dict[str, Any]:
        """Binding of the gallery: hash of the model, and settings."""
        return self._store.binding

    @property
    def columns(self) -> np.ndarray:
        """Ids, persons, cameras, times and quality of all entries (``entry.COLUMNS``)."""
        return self._store.columns

    @property
    def model(self) -> GalleryModel:
        """Model of the gallery. Raises InputError if the gallery was opened without it."""
        if self._model is None:
            raise InputError("the gallery was opened without its model: give the model to add or to search.")
        return self._model

    def _vectors(self, embeddings: Any) -> np.ndarray:
        """Convert embeddings to features [N, D_a + D_p] as stored. Raises InputError."""
        model = self.model
        if not isinstance(embeddings, Embeddings):
            if not len(embeddings):
                return np.empty((0, sum(self.binding["widths"])), np.float32)
            a, p = (np.stack([getattr(e, name) for e in embeddings]) for name in ("appearance", "pose"))
            none = np.full(len(embeddings), UNKNOWN_ID, np.int32)
            embeddings = Embeddings(a, p, none, none)
        widths = self.binding["widths"]
        if (found := [embeddings.appearance.shape[1], embeddings.pose.shape[1]]) != widths:
            raise InputError(f"the features have {found} dimensions (appearance, pose), those of the model {widths}.")
        rows = ("appearance", "pose") if widths[1] else ("appearance",)
        kind = model.config.evaluation.distance
        return np.concatenate([fuse(embeddings, row, kind, 1.0, model.statistics) for row in rows], axis=1)

    def _search(self, vectors: np.ndarray, k: int, by: By, where: Where, fpr: float | None) -> list[list[Match]]:
        if k < 1:
            raise InputError(f"k is {k}: expected 1 or more.")
        threshold = None if fpr is None else self.threshold(by, fpr)
        found = self._store.search(vectors, self.weights(by), k, where)
        texts = self._store.texts({i for one in found for i in one.ids.tolist()})
        return [
            [
                Match(i, distance, None if threshold is None else distance <= threshold, texts[i])
                for i, distance in zip(one.ids.tolist(), one.distances.tolist(), strict=True)
                if i in texts  # removed in the meantime by another process
            ]
            for one in found
        ]


def _device_search(on_device: bool | None) -> "DeviceSearch | None":
    if on_device is False or (on_device is None and "jax" not in sys.modules):  # no embedder loaded: use NumPy
        return None
    from rgcn_jax.gallery.device_search import DeviceSearch, has_accelerator

    return DeviceSearch() if on_device or has_accelerator() else None


def _open_store(uri: str, binding: dict[str, Any] | None, files: Path | None) -> "EmbeddedStore | MilvusStore":
    if not is_milvus(uri):
        if files is not None:
            raise InputError("--files is for a gallery in Milvus: another has its own folder.")
        return EmbeddedStore(Path(uri).expanduser(), binding)
    with needs_extra("milvus", f"The gallery {uri} needs pymilvus"):
        from rgcn_jax.gallery.milvus import MilvusStore
        from rgcn_jax.gallery.milvus_collections import parse_address
    files = files_folder(uri, files)
    store = MilvusStore(parse_address(uri if "://" in uri else str(Path(uri).expanduser())), binding, files)
    if files is not None:
        with writing(files):
            files.mkdir(parents=True, exist_ok=True)
    return store
