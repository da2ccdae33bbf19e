"""Reads, through Jupyter's contents API, what the source of a kernel's notebook imports; the last saved one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from ..core.notebook import imports

SIZE_LIMIT = 20 * 1024 * 1024


class Imports:
    """What the notebooks of one server import, looked at again when they were saved."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._known: dict[str, tuple[Any, frozenset[str]]] = {}

    async def of_kernel(self, kernel_id: str) -> frozenset[str]:
        """Return the top-level modules that the notebook of a kernel names; none where it can't be read."""
        for session in await self._server.session_manager.list_sessions():
            if (session.get("kernel") or {}).get("id") == kernel_id and session.get("type") == "notebook":
                return await self._of_notebook(str(session.get("path") or ""))
        return frozenset()

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
