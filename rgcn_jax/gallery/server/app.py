"""Web page of a gallery, in Starlette: browse entries, upload queries, search, export. Searches and uploads are logged.

A handler that is no coroutine runs in a thread.
"""

import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rgcn_jax.errors import InputError, NotFoundError, printable
from rgcn_jax.gallery.audit import record
from rgcn_jax.gallery.entry import Entry, Match, Where
from rgcn_jax.gallery.flags import time_text
from rgcn_jax.gallery.frame_images import jpeg, side_by_side, small_frames
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.gallery.server.queries import Queries
from rgcn_jax.gallery.server.ranked_list import described, rows, to_csv, to_json
from rgcn_jax.gallery.server.requests import SearchRequest, box_of, conditions, marks_of, search_request
from rgcn_jax.gallery.server.uploads import MAX_FRAMES, File, read_crops, read_keypoints
from rgcn_jax.gallery.server.videos import Videos

MAX_JSON = 2**18
PAGE = 24
"""Entries per page."""


def make_app(gallery: Gallery, queries: Queries, videos: Videos, fpr: float | None = None) -> Starlette:
    """Create the application. It must be wrapped in ``access.Guard``.

    Args:
      gallery: gallery opened with its model.
      queries: store of uploaded queries.
      videos: store of uploaded videos.
      fpr: false positive rate of the verdicts; None for no verdicts.
    """
    page = _Page(gallery, queries, videos, fpr)
    return Starlette(
        routes=[
            Route("/api/gallery", page.about),
            Route("/api/entries", _of_json(page.entries), methods=["POST"]),
            Route("/strip/{id:int}.jpg", page.strip),
            Route("/api/search", _of_json(page.search), methods=["POST"]),
            Route("/api/export", _of_json(page.export), methods=["POST"]),
            Route("/api/queries", page.upload, methods=["POST"]),
            Route("/api/queries/{name}", page.forget, methods=["DELETE"]),
            Route("/upload/{name}.jpg", page.upload_strip),
            Route("/api/videos", page.video, methods=["POST"]),
            Route("/api/videos/{name}/person", _of_json(page.person), methods=["POST"]),
            Route("/video/{name}.jpg", page.first_frame),
            Mount("/", StaticFiles(packages=[("rgcn_jax.gallery.server", "page")], html=True)),
        ],
        exception_handlers=dict.fromkeys((InputError, HTTPException, ClientDisconnect, OSError), _failed),
    )


class _Page:
    def __init__(self, gallery: Gallery, queries: Queries, videos: Videos, fpr: float | None):
        self._gallery, self._queries, self._videos, self._fpr = gallery, queries, videos, fpr
        self._lock = threading.Lock()  # of the gallery

    def about(self, request: Request) -> Response:
        with self._lock:
            columns, binding = self._gallery.columns, self._gallery.binding
        times = columns["start"][np.isfinite(columns["start"])]
        found = {
            "entries": len(columns),
            "cameras": np.unique(columns["camera_id"]).tolist(),
            "first": time_text(float(times.min())) if len(times) else None,
            "last": time_text(float(times.max())) if len(times) else None,
            "with_pose": binding["widths"][1] > 0,
            "fused": self._gallery.weights("fused"),
            "detector": self._queries.detect is not None,
            "model": binding["model"][:16],
            "fpr": self._fpr,
        }
        return JSONResponse({**found, "user": request.scope["user_name"]})

    def entries(self, request: Request, asked: dict[str, Any]) -> Response:
        """Return a page of entries in the order of adding, and the total count."""
        offset = asked.pop("offset", 0)
        if not isinstance(offset, int) or not 0 <= offset < 2**40:
            raise InputError("offset: expected a whole number.")
        where, _ = conditions(asked)
        with self._lock:
            found = list(islice(self._gallery.entries(where), offset, offset + PAGE))
            count = self._gallery.count(where)
        return JSONResponse({"entries": [{"id": i, **described(entry)} for i, entry in found], "count": count})

    def strip(self, request: Request) -> Response:
        entry = self._entry(request.path_params["id"])
        frames, _ = small_frames(self._gallery, entry, "skeletons" in request.query_params)
        if not frames:
            raise HTTPException(404, "no frames available")
        return _image(jpeg(side_by_side(frames)))

    def search(self, request: Request, asked: dict[str, Any]) -> Response:
        search = search_request(asked)
        query, matches, verdict = self._found(request, search, "search")
        return JSONResponse({"query": query, "by": search.by, "verdict": verdict, "matches": rows(matches)})

    def export(self, request: Request, asked: dict[str, Any]) -> Response:
        form, marks = asked.pop("format", None), marks_of(asked.pop("marks", {}))
        if form not in ("csv", "json"):
            raise InputError('format: expected "csv" or "json".')
        search = search_request(asked)
        query, matches, _ = self._found(request, search, "export")
        head = {"query": query, "by": search.by, "conditions": search.log}
        text = to_csv(matches, marks) if form == "csv" else to_json(head, matches, marks)
        headers = {"content-disposition": f'attachment; filename="ranking.{form}"'}
        return Response(text, media_type="text/csv" if form == "csv" else "application/json", headers=headers)

    async def upload(self, request: Request) -> Response:
        async with request.form(max_files=MAX_FRAMES + 1, max_fields=4) as form:
            files, given = _files(form, "files"), _files(form, "keypoints")

            def embed() -> Response:
                frames = read_crops(files)
                return self._added(request, frames, read_keypoints(given[0], len(frames)) if given else None)

            return await run_in_threadpool(embed)

    def forget(self, request: Request) -> Response:
        self._queries.remove(request.path_params["name"])
        return JSONResponse({})

    def upload_strip(self, request: Request) -> Response:
        strips = self._queries.get(request.path_params["name"]).strip
        return _image(strips["skeletons" in request.query_params])

    async def video(self, request: Request) -> Response:
        async with request.form(max_files=2, max_fields=2) as form:
            files, tracks = _files(form, "video"), _files(form, "tracks")
            if not files:
                raise InputError("there is no video.")
            name, video = await run_in_threadpool(self._videos.add, files[0], tracks[0] if tracks else None)
        return JSONResponse({"video": name, "width": video.width, "height": video.height, "tracks": video.tracks})

    def person(self, request: Request, asked: dict[str, Any]) -> Response:
        name = request.path_params["name"]
        video = self._videos.get(name)
        if isinstance(track := asked.get("track"), int):
            chosen, note = {"track": track}, f"track {track} of the file"
        else:
            chosen = {"box": box_of(asked.get("box"), video.width, video.height)}
            note = "followed by a simple tracker: look whether all frames show the same person"
        return self._added(request, self._videos.crops(name, chosen), None, note)

    def first_frame(self, request: Request) -> Response:
        return _image(self._videos.get(request.path_params["name"]).first_frame)

    def _added(self, request: Request, frames: list[np.ndarray], keypoints: np.ndarray | None, *notes: str) -> Response:
        """Embed and log an upload."""
        name = self._queries.add(frames, keypoints, notes)
        query = self._queries.get(name)
        self._log(request, {"action": "upload", "query": {"upload": query.hash}, "frames": query.frames})
        found = {"upload": name, "frames": query.frames, "keypoints": query.keypoints, "notes": query.notes}
        return JSONResponse(found)

    def _found(
        self, request: Request, search: SearchRequest, action: str
    ) -> tuple[dict[str, Any], list[Match], dict[str, float] | None]:
        """Return the query, its matches, and the rate and threshold of the verdicts, after logging the search."""
        verdict = None
        if self._fpr is not None and isinstance(search.by, str):
            with suppress(InputError):  # the row was not calibrated at this rate
                verdict = {"fpr": self._fpr, "threshold": self._gallery.threshold(search.by, self._fpr)}
        options = {"k": search.k, "by": search.by, "where": search.where, "fpr": verdict and self._fpr}
        if search.entry is not None:
            query = {"id": search.entry, **described(self._entry(search.entry))}
            logged = {"entry": search.entry}
            with self._lock:
                matches = self._gallery.similar(search.entry, **options)
        else:
            upload = self._queries.get(search.upload or "")
            if upload.keypoints is None and self._gallery.weights(search.by)[1] > 0:
                raise InputError("the upload has no keypoints: search by appearance, or upload them too.")
            query, logged = {"upload": upload.hash, "num_frames": upload.frames}, {"upload": upload.hash}
            with self._lock:
                matches = self._gallery.search(upload.embedding, **options)
        line = {"action": action, "query": logged, "by": search.by, "k": search.k, **search.log}
        self._log(request, {**line, "found": [match.id for match in matches]})
        return query, matches, verdict

    def _entry(self, entry_id: int) -> Entry:
        with self._lock:
            found = list(self._gallery.entries(Where(ids=[entry_id])))
        if not found:
            raise NotFoundError(f"the gallery has no entry {entry_id}.")
        return found[0][1]

    def _log(self, request: Request, line: Mapping[str, Any]) -> None:
        user = {"user": request.scope["user_name"], "address": request.client.host if request.client else ""}
        record(self._gallery.folder, {**user, **line})


def _of_json(handler: Callable[[Request, dict[str, Any]], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler of requests with a JSON object, which calls ``handler`` with it in a thread."""

    async def handle(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_JSON:
                raise InputError("the request is too large.")
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InputError("the request is no JSON.") from error
        if not isinstance(asked, dict):
            raise InputError("the request is no JSON object.")
        return await run_in_threadpool(handler, request, asked)

    return handle


def _image(content: bytes) -> Response:
    return Response(content, media_type="image/jpeg")


def _files(form: Mapping[str, Any], name: str) -> list[File]:
    found = form.getlist(name)  # pyright: ignore[reportAttributeAccessIssue]
    return [File(one.filename or "", one.file) for one in found if isinstance(one, UploadFile)]


async def _failed(request: Request, error: Exception) -> Response:
    """Convert an exception to a response with a message."""
    status, text = 400, ""  # ClientDisconnect
    if isinstance(error, InputError):
        status, text = 404 if isinstance(error, NotFoundError) else 400, printable(str(error))
    elif isinstance(error, HTTPException):
        status, text = error.status_code, error.detail
    elif isinstance(error, OSError):
        status = 507
        text = f"the server cannot keep or read a file ({error.strerror or 'an error'}): try again later."
    return JSONResponse({"error": text}, status)
