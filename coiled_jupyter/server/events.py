"""Change notices on Jupyter's event bus: which object changed, never its content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..core.wire import Change

CHANGE = "https://events.coiled-jupyter.org/change/v1"
KERNEL_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"

_SCHEMA = {
    "$id": CHANGE,
    "version": "1",
    "title": "Something that Coiled Jupyter shows has changed",
    "description": "A notice without content: ask the REST API for the new state.",
    "personal-data": False,
    "type": "object",
    "properties": {
        "kind": {
            "type": "string",
            "title": "What changed",
            "enum": ["cluster", "environment", "usage", "kernel", "sync"],
        },
        "id": {"type": "string", "title": "Its id"},
        "revision": {"type": "integer", "title": "Its revision after the change"},
    },
    "required": ["kind", "id", "revision"],
    "additionalProperties": False,
}


def register(logger: Any) -> None:
    """Register the schema of change notices with a ``jupyter_events.EventLogger``."""
    if CHANGE not in logger.schemas:
        logger.register_event_schema(_SCHEMA)


def emit(logger: Any, change: Change) -> None:
    """Publish one change notice."""
    logger.emit(schema_id=CHANGE, data=msgspec.to_builtins(change))


def listen(logger: Any, notice: Callable[[str, str], None]) -> None:
    """Call ``notice(kernel_id, action)`` after each kernel action that succeeded."""

    async def listener(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        if data.get("status") == "success" and data.get("kernel_id"):
            notice(data["kernel_id"], data["action"])

    logger.add_listener(schema_id=KERNEL_ACTIONS, listener=listener)
