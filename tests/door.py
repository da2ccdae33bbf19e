"""The routes of sync over a test's own service, as the page and scripts reach them: real requests, real handlers."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from jupyter_server.serverapp import ServerApp
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from coiled_jupyter.core.errors import from_wire
from coiled_jupyter.core.wire import ErrorBody, Plan, PlanCreate, Sync
from coiled_jupyter.server.handlers import handlers
from coiled_jupyter.service.facade import Service


class _App(ServerApp):
    def init_signal(self) -> None:
        """Leave signals to pytest."""


class Door:
    """A service whose plans and syncs go by REST; everything else is the service's own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._token = secrets.token_hex(16)
        self._app = _App(token=self._token, open_browser=False, allow_root=True, allow_unauthenticated_access=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def open(self) -> None:
        """Listen on loopback, in the running loop."""
        self._app.initialize(argv=[], find_extensions=False, new_httpserver=False)
        self._app.web_app.settings["coiled_jupyter_service"] = self._service
        self._app.web_app.add_handlers(".*", handlers())
        self._server = HTTPServer(self._app.web_app)
        (socket,) = sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self._url = f"http://127.0.0.1:{socket.getsockname()[1]}/coiled-jupyter/api"

    async def shut(self) -> None:
        """Listen no more."""
        self._server.stop()
        await self._server.close_all_connections()
        await self._app._cleanup()

    async def _ask(self, method: str, path: str, kind: Any, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self._token}", "Content-Type": "application/json"}
        data = msgspec.json.encode(body) if body is not None else b"" if method == "POST" else None
        request = HTTPRequest(f"{self._url}/{path}", method, headers, data, request_timeout=120)
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        if answer.code >= 400:
            raise from_wire(msgspec.json.decode(answer.body, type=ErrorBody))
        return msgspec.json.decode(answer.body, type=kind)

    async def plan(self, body: PlanCreate) -> Plan:
        """``POST plans``."""
        return await self._ask("POST", "plans", Plan, body)

    async def sync(self, plan: str, user: str | None = None) -> Sync:
        """``POST syncs``; for another user, whom this server doesn't know, the service itself."""
        if user is not None:
            return await self._service.changing.sync(plan, user)
        return await self._ask("POST", "syncs", Sync, {"plan": plan})

    async def undo(self, sync: str) -> Sync:
        """``POST syncs/{id}/undo``."""
        return await self._ask("POST", f"syncs/{sync}/undo", Sync)

    async def held_plan(self, plan: str) -> Plan:
        """``GET plans/{id}``."""
        return await self._ask("GET", f"plans/{plan}", Plan)

    async def cancel_sync(self, sync: str) -> Sync:
        """``DELETE syncs/{id}``."""
        return await self._ask("DELETE", f"syncs/{sync}", Sync)
