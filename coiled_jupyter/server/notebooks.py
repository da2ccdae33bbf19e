"""Finds a kernel's notebook: its name, and through Jupyter's contents API what its source, as last saved, imports."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from ..core.notebook import imports

SIZE_LIMIT = 20 * 1024 * 1024


class Notebooks:
    """The names of the notebooks of one server and what they import; parsed again after each save."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._known: dict[str, tuple[Any, frozenset[str]]] = {}

    async def name(self, kernel_id: str) -> str | None:
        """Return the name of a kernel's notebook, or None."""
        session = await self._session(kernel_id)
        return str(session.get("name") or session.get("path") or "") or None

    async def imports(self, kernel_id: str) -> frozenset[str]:
        """Return the top-level modules that a kernel's notebook imports; none if it can't be read."""
        session = await self._session(kernel_id)
        if session.get("type") != "notebook":
            return frozenset()
        return await self._of_notebook(str(session.get("path") or ""))

    async def _session(self, kernel_id: str) -> Mapping[str, Any]:
        """Return a kernel's session: its notebook's rather than a console's."""
        sessions: list[Mapping[str, Any]] = await self._server.session_manager.list_sessions()
        found = [session for session in sessions if (session.get("kernel") or {}).get("id") == kernel_id]
        return min(found, key=lambda session: session.get("type") != "notebook", default={})

    async def _of_notebook(self, path: str) -> frozenset[str]:
        contents = self._server.contents_manager
        try:
            model = await ensure_async(contents.get(path, content=False))
            saved = model.get("last_modified")
            known = self._known.get(path)
            if known is not None and known[0] == saved:
                return known[1]
            if (model.get("size") or 0) > SIZE_LIMIT:
                return frozenset()
            model = await ensure_async(contents.get(path, content=True, type="file", format="text"))
            text = model.get("content")
            found = await asyncio.to_thread(_parse, text if isinstance(text, str) else "")
        except (HTTPError, OSError):
            return frozenset()
        if len(self._known) > 200:
            self._known.clear()
        self._known[path] = (saved, found)
        return found


def _parse(text: str) -> frozenset[str]:
    try:
        return imports(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return frozenset()
