"""Rules: how differences are rated, and what a user ignores or rates otherwise."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .base import Request, Wire
from .diff import RowStatus, Severity
from .environments import Role


class Rule(Wire, frozen=True, kw_only=True):
    """One rule for severities. An empty list or null is no condition; the first rule that matches decides."""

    names: tuple[str, ...] = ()
    kind: str | None = None
    statuses: tuple[RowStatus, ...] = ()
    distances: tuple[str, ...] = ()
    direction: str | None = None
    older: str | None = None
    newer: str | None = None
    dask: str | None = None
    imported: bool | None = None
    in_use: bool | None = None
    requested: bool | None = None
    role: Role | None = None
    platform: str | None = None
    python: str | None = None
    problems: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    severity: Severity
    why: str
    fix: str = ""
    origin: str = "shipped"


class Rules(Wire, frozen=True, kw_only=True):
    """Answer of ``GET rules``: what this user ignores or overrides, and all rules in their order.

    `faults` names the files of rules that could not be used, with the reason; the other files are used.
    """

    ignores: tuple[str, ...]
    overrides: dict[str, Severity]
    rules: tuple[Rule, ...]
    faults: tuple[str, ...] = ()


class RulesChange(Request, frozen=True, kw_only=True):
    """Body of ``PATCH rules``. What is null is left unchanged; a severity of null removes an override."""

    ignores: Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=2000)] | None = None
    overrides: Annotated[dict[Annotated[str, Meta(max_length=200)], Severity | None], Meta(max_length=2000)] | None = (
        None
    )
