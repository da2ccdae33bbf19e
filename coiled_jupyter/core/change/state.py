"""The states of a cluster, and what its supervisor receives to move it to another one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from ..launch import BuildSpec
from ..wire import PlanLost, PlanRoll
from .survey import SurveyPlace

BASE = "base"
"""The id of the state in which a cluster runs in its base environment."""


class Wheel(Struct, frozen=True, kw_only=True):
    """A wheel on this machine that is sent to the nodes."""

    name: str
    version: str
    path: str
    sha256: str


class SyncPlace(Struct, frozen=True, kw_only=True):
    """What one place is to run: a layer with exactly these versions.

    Attributes
    ----------
    key
        Of the `SurveyPlace`.
    layer
        The id of its layer, or None to go back to the base environment.
    lock
        Requirements with hashes; empty where the layer must be there already.
    expected
        Every distribution and its version; empty for a base environment, which may be changed by others.
    imports
        Distributions that must be importable from it.
    send
        Whether what an index has is sent there by this machine: ``yes`` where the place doesn't reach the index, ``may``
        where it couldn't be told, so that it is sent if the place can't fetch it.

    """

    key: str
    host: str
    prefix: str
    layer: str | None
    lock: str = ""
    expected: Mapping[str, str] = {}
    imports: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    send: Literal["", "may", "yes"] = ""


class SyncSpec(Struct, frozen=True, kw_only=True):
    """All that a supervisor needs to carry out one plan; crosses by its socket only.

    Attributes
    ----------
    layer, layer_before
        States, by id.
    alone
        Whether a single worker needs a temporary second.
    lost_ok
        Whether the user agreed to losing what the plan named.
    builds
        Whether an environment has to be built that isn't there yet.
    environ, options
        Of the installer: addresses and credentials of indexes, never stored, logged or shown; and what holds no secret.
    index_options
        The indexes of this machine, from which it fetches what it sends; as secret as `environ`.
    build, interpreter
        For a replacement of the whole cluster: what its new Python is made from, or where it lies.
    sealed
        Why clients send sealed graphs from then on, as a sentence; empty where they don't.

    """

    id: str
    plan: str | None
    cluster: str
    how: str = "roll"
    layer: str = BASE
    layer_before: str = BASE
    places: tuple[SyncPlace, ...] = ()
    rolls: tuple[PlanRoll, ...] = ()
    alone: bool = False
    drain_seconds: float = 120.0
    lost_ok: bool = False
    lost: PlanLost = PlanLost()
    environ: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    index_options: tuple[str, ...] = ()
    only_binary: bool = True
    build: BuildSpec | None = None
    lock: str = ""
    interpreter: str | None = None
    changes: int = 0
    undo_of: str | None = None
    sealed: str = ""
    builds: bool = False


class StatePlace(SyncPlace, frozen=True, kw_only=True):
    """Where a state's layer lies on one place: its folder, its Python, its entries of sys.path, its bytes."""

    path: str
    executable: str = ""
    entries: tuple[str, ...] = ()
    size: int | None = None


def place_of(place: SyncPlace | SurveyPlace, **fields: Any) -> StatePlace:
    """Return what a state has at a place: its base environment, except for the fields that are given."""
    base = {"key": place.key, "host": place.host, "prefix": place.prefix, "layer": None, "path": place.prefix}
    return StatePlace(**{**base, **fields})


class State(Struct, frozen=True, kw_only=True):
    """A state that a cluster was in: its layers by place, or the interpreter that all of it ran on.

    `sealed` is whether clients had to send sealed graphs.
    """

    id: str
    cluster: str
    how: str
    packages: int
    places: tuple[StatePlace, ...] = ()
    interpreter: str | None = None
    sealed: bool = False
    created_at: str = ""
    used_at: str = ""


def layer_id(locks: Mapping[str, str]) -> str:
    """Return the id of a state: of its locks by place."""
    seen = hashlib.blake2b(digest_size=8)
    for key, lock in sorted(locks.items()):
        seen.update(f"{key}\0{lock}\0".encode())
    return seen.hexdigest()
