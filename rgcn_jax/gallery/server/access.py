"""Access control of the gallery's web page: token, host names, request size, and security headers.

Every request needs the token. It is passed once as ``/?token=...``, which sets a cookie that scripts cannot read and
other sites cannot send (HttpOnly, SameSite=Strict), or as ``Authorization: Bearer``. Requests for other host names and
cross-site changes are rejected.
"""

import secrets
from collections.abc import Collection, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class Guard:
    """ASGI middleware that checks every request before the application.

    Args:
      app: the ASGI application.
      users: maps tokens to users.
      hosts: accepted values of the Host header; None for all.
      max_bytes: maximum size of a request.
      cookie: name of the cookie. It must differ between ports, because browsers share cookies among the ports of a
        host.
    """

    def __init__(
        self,
        app: ASGIApp,
        users: Mapping[str, str],
        hosts: Collection[str] | None,
        max_bytes: int,
        cookie: str = "rgcn_jax_gallery",
    ):
        self._app, self._users, self._hosts = app, dict(users), hosts
        self._max_bytes, self._cookie = max_bytes, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject a request, or pass it to the application with ``scope["user_name"]``."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await WebSocketClose(1008)(scope, receive, send)
        elif isinstance(user := self._checked(Request(scope)), Response):
            await user(scope, receive, _with_headers(send))
        else:
            await self._app({**scope, "user_name": user}, self._counted(receive), _with_headers(send))

    def _checked(self, request: Request) -> str | Response:
        """Return the user of a request, or the response that rejects it or sets the cookie."""
        headers = request.headers
        if self._hosts is not None and headers.get("host", "") not in self._hosts:
            return PlainTextResponse("this server does not answer to that host name", 421)
        if request.method not in ("GET", "HEAD") and not _same_origin(headers):
            return PlainTextResponse("another site asked for this", 403)
        if request.scope["path"] == "/" and (token := request.query_params.get("token")):
            if self._user(token) is None:
                return PlainTextResponse("this is not the token of the server", 401)
            entered = RedirectResponse("/", 303)
            entered.set_cookie(self._cookie, token, httponly=True, samesite="strict")
            return entered
        given = headers.get("authorization", "")
        bearer = given.removeprefix("Bearer ") if given.startswith("Bearer ") else None
        if (user := self._user(bearer or request.cookies.get(self._cookie, ""))) is None:
            return PlainTextResponse("open the page by the address with its token, which the server has printed", 401)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or float(length) > self._max_bytes:
            return PlainTextResponse(self._too_large, 413)
        return user

    @property
    def _too_large(self) -> str:
        return f"more than {self._max_bytes:,} bytes"

    def _counted(self, receive: Receive) -> Receive:
        """Limit the size of a request that does not state it."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return counted

    def _user(self, token: str) -> str | None:
        """Return the user of a token, or None. Takes the same time for every wrong token."""
        user = None
        for known, name in self._users.items():
            if secrets.compare_digest(known.encode(), token.encode("utf-8", "surrogatepass")):
                user = name
        return user


def _same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request is not cross-site. Browsers send its origin; requests without one are accepted."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return sending
