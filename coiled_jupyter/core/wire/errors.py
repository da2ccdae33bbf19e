"""Errors: the body of every answer that is not a success."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import field

from .base import Wire

ErrorKind: TypeAlias = Literal[
    "invalid",
    "not_found",
    "conflict",
    "too_large",
    "impossible",
    "too_many",
    "unavailable",
    "timeout",
    "forbidden",
]


class Problematic(Wire, frozen=True, kw_only=True):
    """An error: `message` says what happened and where, and `hint` what to do next. Neither is an exception's text."""

    kind: ErrorKind
    message: str
    hint: str = ""
    data: dict[str, str | int | float | bool | dict[str, int] | None] = field(default_factory=dict)


class ErrorBody(Wire, frozen=True, kw_only=True):
    """The body of every answer that is not a success."""

    error: Problematic
