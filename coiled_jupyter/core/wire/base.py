"""What all wire types share: their base classes, the version of their shapes, and times."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

SCHEMA = 2
"""Version of the wire types; the page compares it with the one that it was built for."""
Time: TypeAlias = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2026-03-01T12:00:00.000Z"])]


class Wire(Struct, kw_only=True, forbid_unknown_fields=False, omit_defaults=False, frozen=True):
    """Base of all answers: immutable, and every key is always present."""


class Request(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Base of all request bodies: a key that isn't declared is an error of the client."""
