"""What the commands share: requests checked as the routes check them, and their JSON."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from .core.errors import Invalid

_T = TypeVar("_T")


def body(raw: dict[str, Any], kind: type[_T]) -> _T:
    """Return a request of the REST API, checked as there."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise Invalid(path.rstrip("`"), f"{path.rstrip('`')}: {text}") from None


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def print_json(value: Any) -> None:
    """Print exactly what a route answers."""
    print(msgspec.json.encode(value).decode())
