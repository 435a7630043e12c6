"""Operations of the gallery's web page, without HTTP: browse, embed uploads, search, export. Searches are logged."""

import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from rgcn_jax.errors import InputError, NotFoundError
from rgcn_jax.gallery.audit import record
from rgcn_jax.gallery.binding import branch_weights
from rgcn_jax.gallery.entry import Entry, Match, Where
from rgcn_jax.gallery.flags import time_text
from rgcn_jax.gallery.frame_images import jpeg, side_by_side, small_frames
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.gallery.server.queries import Queries
from rgcn_jax.gallery.server.ranked_list import described, rows
from rgcn_jax.gallery.server.requests import SearchRequest

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from rgcn_jax.embedder import Embedder

PAGE = 24
"""Entries per page."""


class Service:
    """Gallery operations of the web page. Thread-safe.

    Args:
      gallery: gallery opened with its model.
      embedder: the model.
      queries: store of uploaded queries.
      fpr: false positive rate of the verdicts; None for no verdicts.
    """

    def __init__(self, gallery: Gallery, embedder: "Embedder", queries: Queries, fpr: float | None = None):
        self._gallery, self._embedder, self.queries, self._fpr = gallery, embedder, queries, fpr
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """Return the contents of the gallery and the search settings."""
        with self._lock:
            columns, binding = self._gallery.columns, self._gallery.binding
        times = columns["start"][np.isfinite(columns["start"])]
        with_pose = binding["widths"][1] > 0
        return {
            "entries": len(columns),
            "cameras": np.unique(columns["camera_id"]).tolist(),
            "first": time_text(float(times.min())) if len(times) else None,
            "last": time_text(float(times.max())) if len(times) else None,
            "with_pose": with_pose,
            "fused": branch_weights("fused", self._embedder.config.evaluation, with_pose),
            "detector": self.queries.detect is not None,
            "model": binding["model"][:16],
            "fpr": self._fpr,
        }

    def entries(self, where: Where, offset: int) -> dict[str, Any]:
        """Return a page of entries in the order of adding, and the total count."""
        with self._lock:
            found = list(islice(self._gallery.entries(where), offset, offset + PAGE))
            return {
                "entries": [{"id": i, **described(entry)} for i, entry in found],
                "count": self._gallery.count(where),
            }

    def strip(self, entry_id: int, skeletons: bool) -> bytes | None:
        """Return the frames of an entry side by side as JPEG; None if none can be read.

        Raises:
          InputError: there is no such entry.
        """
        frames, _ = small_frames(self._gallery, self._entry(entry_id), skeletons)
        return jpeg(side_by_side(frames)) if frames else None

    def search(self, request: SearchRequest, user: Mapping[str, str]) -> dict[str, Any]:
        """Return the ranking of a search, after logging the search.

        Raises:
          InputError: there is no such query, or the search is invalid.
        """
        query, matches, threshold = self._found(request)
        self._log("search", request, matches, user)
        verdict = None if threshold is None else {"fpr": self._fpr, "threshold": threshold}
        return {"query": query, "by": request.by, "verdict": verdict, "matches": rows(matches)}

    def export(self, request: SearchRequest, user: Mapping[str, str]) -> tuple[dict[str, Any], Sequence[Match]]:
        """Return the query and the matches of a search, and log the export. Raises InputError as ``search`` does."""
        query, matches, _ = self._found(request)
        self._log("export", request, matches, user)
        return {"query": query, "by": request.by, "conditions": dict(request.log)}, matches

    def log_upload(self, name: str, user: Mapping[str, str]) -> None:
        """Log the upload of a query."""
        query = self.queries.get(name)
        line = {"action": "upload", "query": {"upload": query.hash}, "frames": query.frames}
        record(self._gallery.folder, {**user, **line})

    def _found(self, request: SearchRequest) -> tuple[dict[str, Any], list[Match], float | None]:
        fpr = self._rate(request)
        if request.entry is not None:
            entry = self._entry(request.entry)
            with self._lock:
                matches = self._gallery.similar(request.entry, request.k, request.by, request.where, fpr)
            query = {"id": request.entry, **described(entry)}
        else:
            upload = self.queries.get(request.upload or "")
            self._check_pose(request, upload.keypoints is not None)
            with self._lock:
                matches = self._gallery.search(upload.embedding, request.k, request.by, request.where, fpr)
            query = {"upload": upload.hash, "num_frames": upload.frames}
        threshold = None if fpr is None else self._gallery.threshold(request.by, fpr)
        return query, matches, threshold

    def _rate(self, request: SearchRequest) -> float | None:
        """Return the rate of the verdicts, or None if the row was not calibrated at it."""
        if self._fpr is None or not isinstance(request.by, str):
            return None
        try:
            self._gallery.threshold(request.by, self._fpr)
        except InputError:
            return None
        return self._fpr

    def _check_pose(self, request: SearchRequest, has_keypoints: bool) -> None:
        with_pose = self._gallery.binding["widths"][1] > 0
        weights = branch_weights(request.by, self._embedder.config.evaluation, with_pose)
        if with_pose and not has_keypoints and weights[1] > 0:
            raise InputError("the upload has no keypoints: search by appearance, or upload them too.")

    def _entry(self, entry_id: int) -> Entry:
        with self._lock:
            found = list(self._gallery.entries(Where(ids=[entry_id])))
        if not found:
            raise NotFoundError(f"the gallery has no entry {entry_id}.")
        return found[0][1]

    def _log(self, action: str, request: SearchRequest, matches: Sequence[Match], user: Mapping[str, str]) -> None:
        query = {"entry": request.entry}
        if request.upload is not None:
            query = {"upload": self.queries.get(request.upload).hash}
        line = {"action": action, "query": query, "by": request.by, "k": request.k, **request.log}
        record(self._gallery.folder, {**user, **line, "found": [match.id for match in matches]})
