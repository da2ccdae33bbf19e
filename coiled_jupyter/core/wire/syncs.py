"""Syncs: plans that are being carried out or were, and the layers that they made."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from .base import Request, Time, Wire
from .clusters import StepState
from .environments import Role
from .plans import Direction, PlanLost

SyncState: TypeAlias = Literal[
    "planned", "building", "rolling", "verifying", "rolling_back", "done", "failed", "cancelled", "lost"
]
"""After ``failed`` and ``cancelled`` the earlier state is restored. ``lost``: the cluster ended during the sync."""


class SyncCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST syncs``: the id of a plan that this server holds."""

    plan: Annotated[str, Meta(min_length=1, max_length=80)]


class SyncStep(Wire, frozen=True, kw_only=True):
    """One step of a sync. `group` is null if it concerns all; `seconds` is its duration so far or in all.

    `started_at` is when it began; while it runs, its duration grows from there.
    """

    name: str
    state: StepState
    group: str | None = None
    seconds: float | None = None
    text: str = ""
    started_at: Time | None = None


class SyncLog(Wire, frozen=True, kw_only=True):
    """The last lines that the installer and the steps printed. `next` is the number of all lines so far."""

    lines: tuple[str, ...] = ()
    next: int = 0


class SyncGroup(Wire, frozen=True, kw_only=True):
    """The outcome in one group, as read from its nodes after the sync."""

    group: str
    role: Role
    host: str
    nodes: tuple[str, ...]
    verified: bool
    text: str


class SyncResult(Wire, frozen=True, kw_only=True):
    """How a sync ended, in plain words, and what was read from each group afterwards."""

    text: str
    groups: tuple[SyncGroup, ...] = ()
    lost: PlanLost = field(default_factory=PlanLost)


class Sync(Wire, frozen=True, kw_only=True):
    """A plan that is being carried out, or has been.

    Attributes
    ----------
    layer, layer_before
        The layers that the cluster runs in after it and before it; null is the base environment.
    changes
        The number of packages that differ between the two.
    undoable
        Whether there is an earlier state to go back to: a restart in place installs nothing, so it leaves none.

    """

    id: str
    plan: str | None
    cluster: str
    direction: Direction
    state: SyncState
    steps: tuple[SyncStep, ...]
    log: SyncLog
    result: SyncResult | None
    undo_of: str | None
    undone_by: str | None
    started_at: Time
    ended_at: Time | None
    layer: str | None = None
    layer_before: str | None = None
    changes: int = 0
    undoable: bool = True
    revision: int = 0


class LayerPlace(Wire, frozen=True, kw_only=True):
    """A folder of a layer: there is one for each host and base environment. `size` is in bytes."""

    host: str
    prefix: str
    path: str
    size: int | None


class Layer(Wire, frozen=True, kw_only=True):
    """A state of a cluster: an environment on top of its base environment, which itself has the id ``base``.

    Attributes
    ----------
    clusters
        The ids of the clusters that run in it now.
    known_by
        The ids of the clusters that can go back to it.

    """

    id: str
    packages: int
    places: tuple[LayerPlace, ...]
    clusters: tuple[str, ...]
    known_by: tuple[str, ...]
    created_at: Time
    used_at: Time
