"""Routes of the web page, in Starlette: JSON requests and responses, images, and the files of the page."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rgcn_jax.errors import InputError, NotFoundError, printable
from rgcn_jax.gallery.server.ranked_list import rows, to_csv, to_json
from rgcn_jax.gallery.server.requests import box_of, conditions, marks_of, search_request
from rgcn_jax.gallery.server.service import Service
from rgcn_jax.gallery.server.uploads import MAX_FRAMES, File, read_crops, read_keypoints
from rgcn_jax.gallery.server.videos import Videos

MAX_JSON = 2**18


def make_app(service: Service, videos: Videos) -> Starlette:
    """Create the application. It must be wrapped in ``access.Guard``.

    Args:
      service: operations of the gallery.
      videos: store of uploaded videos.
    """
    routes = _Routes(service, videos)
    return Starlette(
        routes=[
            Route("/api/gallery", routes.about),
            Route("/api/entries", routes.entries, methods=["POST"]),
            Route("/strip/{id:int}.jpg", routes.strip),
            Route("/api/search", routes.search, methods=["POST"]),
            Route("/api/export", routes.export, methods=["POST"]),
            Route("/api/queries", routes.upload, methods=["POST"]),
            Route("/api/queries/{name}", routes.forget, methods=["DELETE"]),
            Route("/upload/{name}.jpg", routes.upload_strip),
            Route("/api/videos", routes.video, methods=["POST"]),
            Route("/api/videos/{name}/person", routes.person, methods=["POST"]),
            Route("/video/{name}.jpg", routes.first_frame),
            Mount("/", StaticFiles(packages=[("rgcn_jax.gallery.server", "page")], html=True)),
        ],
        exception_handlers=dict.fromkeys((InputError, HTTPException, ClientDisconnect, OSError), _failed),
    )


class _Routes:
    def __init__(self, service: Service, videos: Videos):
        self._service, self._videos = service, videos

    def about(self, request: Request) -> Response:
        return JSONResponse({**self._service.about(), "user": _user(request)["user"]})

    async def entries(self, request: Request) -> Response:
        asked = await _json(request)
        offset = asked.pop("offset", 0)
        if not isinstance(offset, int) or not 0 <= offset < 2**40:
            raise InputError("offset: expected a whole number.")
        where, _ = conditions(asked)
        return JSONResponse(await run_in_threadpool(self._service.entries, where, offset))

    def strip(self, request: Request) -> Response:
        return _image_response(self._service.strip(request.path_params["id"], "skeletons" in request.query_params))

    async def search(self, request: Request) -> Response:
        asked = search_request(await _json(request))
        query, matches, verdict = await run_in_threadpool(self._service.search, asked, _user(request))
        return JSONResponse({"query": query, "by": asked.by, "verdict": verdict, "matches": rows(matches)})

    async def export(self, request: Request) -> Response:
        asked = await _json(request)
        form, marks = asked.pop("format", None), marks_of(asked.pop("marks", {}))
        if form not in ("csv", "json"):
            raise InputError('format: expected "csv" or "json".')
        search = search_request(asked)
        query, matches, _ = await run_in_threadpool(self._service.search, search, _user(request), "export")
        head = {"query": query, "by": search.by, "conditions": search.log}
        text = to_csv(matches, marks) if form == "csv" else to_json(head, matches, marks)
        headers = {"content-disposition": f'attachment; filename="ranking.{form}"'}
        return Response(text, media_type="text/csv" if form == "csv" else "application/json", headers=headers)

    async def upload(self, request: Request) -> Response:
        async with request.form(max_files=MAX_FRAMES + 1, max_fields=4) as form:
            files = _files(form, "files")
            given = _files(form, "keypoints")

            def embed() -> str:
                frames = read_crops(files)
                return self._service.queries.add(frames, read_keypoints(given[0], len(frames)) if given else None)

            return await self._query(request, embed)

    def forget(self, request: Request) -> Response:
        self._service.queries.remove(request.path_params["name"])
        return JSONResponse({})

    def upload_strip(self, request: Request) -> Response:
        strips = self._service.queries.get(request.path_params["name"]).strip
        return _image_response(strips["skeletons" in request.query_params])

    async def video(self, request: Request) -> Response:
        async with request.form(max_files=2, max_fields=2) as form:
            files, tracks = _files(form, "video"), _files(form, "tracks")
            if not files:
                raise InputError("there is no video.")
            name, video = await run_in_threadpool(self._videos.add, files[0], tracks[0] if tracks else None)
        return JSONResponse({"video": name, "width": video.width, "height": video.height, "tracks": video.tracks})

    async def person(self, request: Request) -> Response:
        name, asked = request.path_params["name"], await _json(request)
        video = self._videos.get(name)
        if isinstance(track := asked.get("track"), int):
            chosen, note = {"track": track}, f"track {track} of the file"
        else:
            chosen = {"box": box_of(asked.get("box"), video.width, video.height)}
            note = "followed by a simple tracker: look whether all frames show the same person"
        return await self._query(
            request, lambda: self._service.queries.add(self._videos.crops(name, chosen), None, [note])
        )

    def first_frame(self, request: Request) -> Response:
        return _image_response(self._videos.get(request.path_params["name"]).first_frame.read_bytes())

    async def _query(self, request: Request, embed: Callable[[], str]) -> Response:
        name = await run_in_threadpool(embed)
        query = self._service.queries.get(name)
        await run_in_threadpool(self._service.log_upload, query, _user(request))
        found = {"upload": name, "frames": query.frames, "keypoints": query.keypoints, "notes": query.notes}
        return JSONResponse(found)


def _image_response(found: bytes | None) -> Response:
    if found is None:
        raise HTTPException(404, "no frames available")
    return Response(found, media_type="image/jpeg")


def _user(request: Request) -> dict[str, str]:
    return {"user": request.scope["user_name"], "address": request.client.host if request.client else ""}


async def _json(request: Request) -> dict[str, Any]:
    """Read the JSON object of a request. Raises InputError."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_JSON:
            raise InputError("the request is too large.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("the request is no JSON.") from error
    if not isinstance(found, dict):
        raise InputError("the request is no JSON object.")
    return found


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
        text = f"the server cannot keep or read a file ({error.strerror or 'an error'}): try again later."
        status = 507
    return JSONResponse({"error": text}, status)
