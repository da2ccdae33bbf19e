"""Plans: everything that a sync would do, decided before anything is touched."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from .base import Request, Time, Wire

Direction: TypeAlias = Literal["to_cluster", "to_kernel"]
ActionKind: TypeAlias = Literal["install", "upgrade", "downgrade", "remove", "build", "refuse"]
ActionCause: TypeAlias = Literal["told", "absent", "unneeded", "required", "replaced", "base", "state", "python"]
Confirmation: TypeAlias = Literal["lost_results", "plain_connection"]


class PlanFrom(Request, frozen=True, kw_only=True):
    """What a cluster becomes equal to: the packages of a kernel, a software environment, or an earlier state."""

    kernel: Annotated[str, Meta(max_length=200)] | None = None
    software: Annotated[str, Meta(max_length=80)] | None = None
    layer: Annotated[str, Meta(max_length=80)] | None = None


class PlanCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST plans``.

    Attributes
    ----------
    cluster, kernel
        The id of the cluster to change, and of the kernel that it is compared with.
    direction
        ``to_kernel`` makes a new kernel that is equal to the cluster; only the command ``sync --to-kernel`` does so.
    source
        What the cluster becomes equal to, ``from`` in JSON; by default `kernel`, or else the Python of the server.
    scope
        ``all`` packages, the ``rated`` ones (rows at ``risky`` or ``breaks``), or a list of names.
    drain_seconds
        How long a restart waits for the running tasks of a worker before it is given up.
    confirm
        The `needs` of an earlier plan that the user has agreed to.

    """

    cluster: Annotated[str, Meta(min_length=1, max_length=200)]
    kernel: Annotated[str, Meta(max_length=200)] | None = None
    direction: Direction = "to_cluster"
    source: PlanFrom | None = field(default=None, name="from")
    scope: (
        Literal["all", "rated"]
        | Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(min_length=1, max_length=2000)]
    ) = "all"
    drain_seconds: Annotated[float, Meta(ge=0, le=86400)] = 120.0
    confirm: Annotated[tuple[Confirmation, ...], Meta(max_length=10)] = ()


class PlanAction(Wire, frozen=True, kw_only=True):
    """What a sync does with one package in one group. The kind ``refuse`` is what it cannot do; `why` says who can.

    Attributes
    ----------
    cause
        The reason in `why`, as a word: the notebook does not have the package (``absent``), no package requires it
        (``unneeded``), another package requires it (``required``), its installation is damaged or of another kind
        (``replaced``), it was so in the base environment or in the earlier state (``base``, ``state``), or the whole
        cluster restarts with another Python (``python``). For every other reason it is ``told``.

    """

    kind: ActionKind
    name: str
    before: str | None
    after: str | None
    group: str
    why: str
    cause: ActionCause = "told"


class PlanRoll(Wire, frozen=True, kw_only=True):
    """Workers (addresses) of one group that restart together. Batches are counted from 1."""

    group: str
    workers: tuple[str, ...]
    batch: int


class PlanLost(Wire, frozen=True, kw_only=True):
    """What a sync would lose: finished results, scattered values, running tasks (they run again), and actors."""

    futures: int = 0
    scattered: int = 0
    running: int = 0
    actors: int = 0
    why: str = ""


class PlanOther(Wire, frozen=True, kw_only=True):
    """Another client of the cluster, which the change affects too."""

    client: str
    host: str | None = None
    opened_by: str | None = None


class Plan(Wire, frozen=True, kw_only=True):
    """Answer of ``POST plans``: everything that a sync would do, decided before anything is changed.

    Attributes
    ----------
    digest
        A digest of what the plan is based on and does. If it is no longer current, a sync of the plan is refused.
    how
        ``roll``: the workers restart in a layer, and their results are kept; ``replace``: the whole cluster restarts;
        ``build``: a new kernel is made beside that of the notebook, for ``to_kernel``; ``nothing``: they are equal
        already; ``refused``: nothing can be done.
    restarts
        The processes that restart, in plain words.
    seconds
        An estimate of the duration of the sync.
    needs
        What the user has to agree to before the plan can be applied.
    temporary
        Whether a second worker is started for the time of the sync, to keep the results of the only one.

    """

    id: str
    digest: str
    cluster: str
    direction: Direction
    how: Literal["roll", "replace", "build", "nothing", "refused"]
    actions: tuple[PlanAction, ...]
    rolls: tuple[PlanRoll, ...]
    restarts: tuple[str, ...]
    lost: PlanLost
    others: tuple[PlanOther, ...]
    seconds: float
    needs: tuple[Confirmation, ...]
    layer: str | None
    created_at: Time
    expires_at: Time
    temporary: bool = False
