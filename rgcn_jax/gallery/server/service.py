"""Operations of the gallery's web page, without HTTP: browse, embed uploads, search, export. Searches are logged."""

import threading
from collections.abc import Mapping
from contextlib import suppress
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
from rgcn_jax.gallery.server.queries import Queries, Query
from rgcn_jax.gallery.server.ranked_list import described
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

    def search(
        self, request: SearchRequest, user: Mapping[str, str], action: str = "search"
    ) -> tuple[dict[str, Any], list[Match], dict[str, float] | None]:
        """Return the query, its matches, and the rate and threshold of the verdicts, after logging the search.

        Args:
          request: the search.
          user: "user" and "address" for the log.
          action: "search" or "export".

        Raises:
          InputError: there is no such query, the search is invalid, or the log cannot be written.
        """
        verdict = None
        if self._fpr is not None and isinstance(request.by, str):
            with suppress(InputError):  # the row was not calibrated at this rate
                verdict = {"fpr": self._fpr, "threshold": self._gallery.threshold(request.by, self._fpr)}
        options = {"k": request.k, "by": request.by, "where": request.where, "fpr": verdict and self._fpr}
        if request.entry is not None:
            query = {"id": request.entry, **described(self._entry(request.entry))}
            logged = {"entry": request.entry}
            with self._lock:
                matches = self._gallery.similar(request.entry, **options)
        else:
            upload = self.queries.get(request.upload or "")
            with_pose = self._gallery.binding["widths"][1] > 0
            weights = branch_weights(request.by, self._embedder.config.evaluation, with_pose)
            if with_pose and upload.keypoints is None and weights[1] > 0:
                raise InputError("the upload has no keypoints: search by appearance, or upload them too.")
            query, logged = {"upload": upload.hash, "num_frames": upload.frames}, {"upload": upload.hash}
            with self._lock:
                matches = self._gallery.search(upload.embedding, **options)
        line = {"action": action, "query": logged, "by": request.by, "k": request.k, **request.log}
        record(self._gallery.folder, {**user, **line, "found": [match.id for match in matches]})
        return query, matches, verdict

    def log_upload(self, query: Query, user: Mapping[str, str]) -> None:
        """Log the upload of a query. Raises InputError."""
        line = {"action": "upload", "query": {"upload": query.hash}, "frames": query.frames}
        record(self._gallery.folder, {**user, **line})

    def _entry(self, entry_id: int) -> Entry:
        with self._lock:
            found = list(self._gallery.entries(Where(ids=[entry_id])))
        if not found:
            raise NotFoundError(f"the gallery has no entry {entry_id}.")
        return found[0][1]
