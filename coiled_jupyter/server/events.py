"""Change notices on Jupyter's event bus: what changed, never the change itself."""

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
            "enum": ["cluster", "environment", "usage", "kernel", "sync", "beat"],
        },
        "id": {"type": "string", "title": "Its id; of a beat: the tags of the answers that still hold"},
        "revision": {
            "type": "integer",
            "title": "Its revision after the change; of a beat: milliseconds since the oldest of them was read",
        },
    },
    "required": ["kind", "id", "revision"],
    "additionalProperties": False,
}


def register(logger: Any) -> None:
    """Make the schema of change notices known to a ``jupyter_events.EventLogger``."""
    if CHANGE not in logger.schemas:
        logger.register_event_schema(_SCHEMA)


def listened(logger: Any) -> bool:
    """Whether any page listens to change notices."""
    # There is no public way to ask; where this one fails, beats go on until nobody has asked for a while.
    known = [getattr(logger, name, None) for name in ("_modified_listeners", "_unmodified_listeners")]
    return not all(isinstance(it, dict) for it in known) or any(it.get(CHANGE) for it in known if it)


def emit(logger: Any, change: Change) -> None:
    """Publish one change notice."""
    logger.emit(schema_id=CHANGE, data=msgspec.to_builtins(change))


def listen(logger: Any, notice: Callable[[str, str], None]) -> None:
    """Call ``notice(kernel_id, action)`` at each kernel action that succeeded."""

    async def heard(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        if data.get("status") == "success" and data.get("kernel_id"):
            notice(data["kernel_id"], data["action"])

    logger.add_listener(schema_id=KERNEL_ACTIONS, listener=heard)
