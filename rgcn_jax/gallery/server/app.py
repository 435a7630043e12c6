"""Routes of the web page, in Starlette: JSON requests and responses, images, and the three files of the page."""

import json
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rgcn_jax.errors import InputError, NotFoundError, printable
from rgcn_jax.gallery.server.ranked_list import to_csv, to_json
from rgcn_jax.gallery.server.requests import box_of, conditions, marks_of, search_request
from rgcn_jax.gallery.server.service import Service
from rgcn_jax.gallery.server.uploads import MAX_FRAMES, File, read_crops, read_keypoints
from rgcn_jax.gallery.server.videos import Videos

MAX_JSON = 2**18
FILES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css")}
FILES |= {f"/{name}": (name, "text/javascript") for name in ("page.js", "query.js", "box.js")}


def make_app(service: Service, videos: Videos) -> Starlette:
    """Create the application. It must be wrapped in ``access.Guard``.

    Args:
      service: operations of the gallery.
      videos: store of uploaded videos.
    """
    routes = _Routes(service, videos)
    return Starlette(
        routes=[
            *(Route(path, _file(*file)) for path, file in FILES.items()),
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
        ],
        exception_handlers={InputError: _refused, HTTPException: _http, ClientDisconnect: _gone, OSError: _full},
    )


class _Routes:
    def __init__(self, service: Service, videos: Videos):
        self._service, self._videos = service, videos

    async def about(self, request: Request) -> Response:
        return JSONResponse({**await run_in_threadpool(self._service.about), "user": _user(request)["user"]})

    async def entries(self, request: Request) -> Response:
        asked = await _json(request)
        offset = asked.pop("offset", 0)
        if not isinstance(offset, int) or not 0 <= offset < 2**40:
            raise InputError("offset: expected a whole number.")
        return JSONResponse(await run_in_threadpool(self._service.entries, conditions(asked), offset))

    async def strip(self, request: Request) -> Response:
        skeletons = "skeletons" in request.query_params
        found = await run_in_threadpool(self._service.strip, request.path_params["id"], skeletons)
        return _image_response(found)

    async def search(self, request: Request) -> Response:
        asked = search_request(await _json(request))
        return JSONResponse(await run_in_threadpool(self._service.search, asked, _user(request)))

    async def export(self, request: Request) -> Response:
        asked = await _json(request)
        form, marks = asked.pop("format", None), marks_of(asked.pop("marks", {}))
        if form not in ("csv", "json"):
            raise InputError('format: expected "csv" or "json".')
        head, matches = await run_in_threadpool(self._service.export, search_request(asked), _user(request))
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

    async def forget(self, request: Request) -> Response:
        self._service.queries.remove(request.path_params["name"])
        return JSONResponse({})

    async def upload_strip(self, request: Request) -> Response:
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

    async def first_frame(self, request: Request) -> Response:
        return _image_response(self._videos.get(request.path_params["name"]).first_frame.read_bytes())

    async def _query(self, request: Request, embed: Callable[[], str]) -> Response:
        name = await run_in_threadpool(embed)
        await run_in_threadpool(self._service.log_upload, name, _user(request))
        query = self._service.queries.get(name)
        found = {"upload": name, "frames": query.frames, "keypoints": query.keypoints, "notes": query.notes}
        return JSONResponse(found)


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    content = resources.files("rgcn_jax.gallery.server").joinpath("page", name).read_bytes()
    return lambda request: Response(content, media_type=kind)


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


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": printable(str(error))}, 404 if isinstance(error, NotFoundError) else 400)


async def _http(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return JSONResponse({"error": detail}, status)


async def _full(request: Request, error: Exception) -> Response:
    """Handle an OSError: the disk for uploads is full, or a file of the server cannot be read."""
    reason = getattr(error, "strerror", None) or "an error"
    return JSONResponse({"error": f"the server cannot keep or read a file ({reason}): try again later."}, 507)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)
