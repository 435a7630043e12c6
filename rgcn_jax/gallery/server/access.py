"""Access control of the gallery's web page: token, host names, request size, and security headers.

Every request needs the token. It is passed once as ``/?token=...``, which sets a cookie that scripts cannot read and
other sites cannot send (HttpOnly, SameSite=Strict), or as ``Authorization: Bearer``. Requests for other host names and
cross-site changes are rejected.
"""

import http.cookies
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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


class TooLarge(Exception):
    """The request body exceeds the size limit."""


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
        app: Any,
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
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        send = _with_headers(send)
        if self._hosts is not None and headers.get("host", "") not in self._hosts:
            await _answer(send, 421, "this server does not answer to that host name")
        elif scope["method"] not in ("GET", "HEAD") and not _same_origin(headers):
            await _answer(send, 403, "another site asked for this")
        elif scope["path"] == "/" and (given := parse_qs(scope["query_string"].decode("latin-1")).get("token")):
            await self._enter(send, given[0])
        elif (user := self._user(headers)) is None:
            await _answer(send, 401, "open the page by the address with its token, which the server has printed")
        else:
            await self._limited({**scope, "user_name": user}, headers, receive, send)

    async def _enter(self, send: Send, token: str) -> None:
        if self._known(token) is None:
            await _answer(send, 401, "this is not the token of the server")
            return
        cookie = f"{self._cookie}={token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", [(b"location", b"/"), (b"set-cookie", cookie.encode())])

    async def _limited(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        length, seen, started = headers.get("content-length", "0"), 0, False
        if not length.isdecimal() or int(length) > self._max_bytes:
            await _answer(send, 413, f"more than {self._max_bytes:,} bytes")
            return

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise TooLarge
            return message

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if seen <= self._max_bytes:  # otherwise respond 413 instead of the application's error
                started = True
                await send(message)

        with suppress(TooLarge):
            await self._app(scope, counted, noted)
        if seen > self._max_bytes and not started:
            await _answer(send, 413, f"more than {self._max_bytes:,} bytes")

    def _user(self, headers: Mapping[str, str]) -> str | None:
        if (given := headers.get("authorization", "")).startswith("Bearer "):
            return self._known(given.removeprefix("Bearer "))
        try:
            found = http.cookies.SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except http.cookies.CookieError:
            return None
        return self._known(found.value) if found else None

    def _known(self, token: str) -> str | None:
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
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, headers: Collection[tuple[bytes, bytes]] = ()) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": text.encode()})
