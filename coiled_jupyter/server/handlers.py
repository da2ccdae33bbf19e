"""Handles requests by the table of routes: decodes bodies, encodes answers, turns errors into status codes."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import re
from collections.abc import Awaitable, Callable
from http.client import responses
from itertools import groupby
from typing import Any

import msgspec
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..core import wire
from ..core.errors import CoiledError, Invalid, TooLarge
from . import etag
from .routes import ROUTES, UNKNOWN, Request, Route

PREFIX = "/coiled-jupyter/api/"
STATUS: dict[wire.ErrorKind, int] = {
    "invalid": 400,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "impossible": 422,
    "too_many": 429,
    "unavailable": 503,
    "timeout": 504,
}
_KINDS = {status: kind for kind, status in STATUS.items()} | {401: "forbidden", 405: "invalid"}
_HINTS = {
    403: "Sign in to Jupyter again; a script needs the server's token in its Authorization header",
    500: "This is a bug in coiled-jupyter: please report it with the server's log",
}
BODY_LIMIT = 1024 * 1024
"""The largest body of a request in bytes."""
PACKED_FROM = 4096
"""Bytes from which an answer is compressed; that of a diff is a tenth then."""
PACKING = 5
QUERY_LIMIT = 2000
"""The most characters of one query argument."""


class Handler(APIHandler):
    """What all routes share: the decoding of bodies, the form of answers and errors, and ETags."""

    auth_resource = "coiled-jupyter"
    _body_sent = b""

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        # Polling by an open page isn't the user's activity: it would keep an idle server from being culled.
        return self.request.method not in ("GET", "HEAD")

    @property
    def _user(self) -> str:
        # Plans belong to one user; for requests with the server's token, Jupyter makes up a user name each time.
        if self.token_authenticated:
            return "token"
        return str(getattr(self.current_user, "username", "") or "")

    async def answer(self, route: Route, path_id: str = "") -> None:
        """Call a route's function, and send its result."""
        query = {name: self._argument(name, required=required) for name, required in route.query.items()}
        body = self._body(route.body) if route.body else None
        result = route.call(self.settings["coiled_jupyter_service"], Request(path_id, query, body, self._user))
        if inspect.isawaitable(result):
            result = await result
        self.set_status(route.status)
        if route.location:
            path = route.location.format_map({name: getattr(result, name, "") for name in ("id", "name")})
            self.set_header("Location", self.request.path.partition(PREFIX)[0] + PREFIX + path)
        if route.answer is None:
            self.finish()
            return
        encoded = msgspec.json.encode(result)
        if len(encoded) < PACKED_FROM or "gzip" not in self.request.headers.get("Accept-Encoding", ""):
            self._send(encoded)
        else:
            # In a thread: what thousands of packages take would hold up the server.
            self._send(encoded, await asyncio.to_thread(gzip.compress, encoded, PACKING))

    def _send(self, body: bytes, packed: bytes = b"") -> None:
        self._body_sent = body
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")
        if packed:
            self.set_header("Content-Encoding", "gzip")
            self.set_header("Vary", "Accept-Encoding")
        self.finish(packed or body)

    def compute_etag(self) -> str:
        """Return an ETag that leaves out the times of current readings, and set the header with their age."""
        tag, age = etag.of(self._body_sent)
        if age is not None:
            self.set_header(etag.AGE, round(1000 * age))
        return f'"{tag}"'

    def _body(self, kinds: tuple[type[wire.Request], ...]) -> wire.Request:
        """Return the request's body as one of `kinds`, or raise Invalid with the field that is wrong."""
        if len(self.request.body) > BODY_LIMIT:
            raise TooLarge("The request is larger than 1 MiB")
        try:
            kind = kinds[0] if len(kinds) == 1 else self._kind(kinds)
            return msgspec.json.decode(self.request.body, type=kind)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            field = path.rstrip("`").lstrip(".")
            named = re.search(r"(?:unknown|required) field `([^`]{0,80})", text)
            if named and not field:
                field = named[1]
            raise Invalid(field or "body", f"{field or 'The body'}: {text}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("body", "The body isn't JSON") from None

    def _kind(self, kinds: tuple[type[wire.Request], ...]) -> type[wire.Request]:
        given = msgspec.json.decode(self.request.body, type=dict[str, msgspec.Raw]).keys()
        required = {kind: {f.encode_name for f in msgspec.structs.fields(kind) if f.required} for kind in kinds}
        return next((kind for kind in kinds if required[kind] <= given), kinds[-1])

    def _argument(self, name: str, *, required: bool) -> str | None:
        value = self.get_query_argument(name, None)
        if value is not None and len(value) > QUERY_LIMIT:
            raise Invalid(name, f"{name} is too long")
        if required and not value:
            raise Invalid(name, f"The query needs `{name}`")
        return value or None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send an error as an ErrorBody, without the text of any Python exception."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, CoiledError):
            status_code = STATUS[error.kind]
            body = error.to_wire()
        else:
            message = responses.get(status_code, "Error")
            if isinstance(error, web.HTTPError) and status_code < 500 and error.log_message:
                message = error.log_message
            kind = _KINDS.get(status_code, "unavailable")
            body = wire.ErrorBody(error=wire.Problematic(kind=kind, message=message, hint=_HINTS.get(status_code, "")))
        self.clear_header("Content-Length")
        self.set_status(status_code)
        self._send(msgspec.json.encode(body))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log our own errors as one line; everything else as tornado does."""
        if isinstance(value, CoiledError):
            self.log.info("%s %s: %s", self.request.method, self.request.path, value.message)
        else:
            super().log_exception(typ, value, tb)


def handlers() -> list[tuple[str, type[Handler]]]:
    """Return the handlers of all routes, by patterns relative to the server's base URL; that of unknown routes is last."""
    made = []
    for path, routes in groupby(sorted((*ROUTES, *UNKNOWN), key=_order), key=lambda route: route.path):
        pattern = re.sub(r"\{\w+\}", "([^/]{1,80})", path)
        verbs = {route.method.lower(): _verb(route) for route in routes}
        made.append((PREFIX + pattern, type(f"Handler of {path}", (Handler,), verbs)))
    return made


def _order(route: Route) -> tuple[bool, str]:
    return route in UNKNOWN, route.path


def _verb(route: Route) -> Callable[..., Awaitable[None] | None]:
    async def verb(handler: Handler, *path: str) -> None:
        await handler.answer(route, *path)

    permitted: Callable[..., Awaitable[None]] = authorized(route.permission)(verb)
    return web.authenticated(permitted)
