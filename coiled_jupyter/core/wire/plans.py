"""Plans: everything that a sync would do, decided before anything is touched."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from .base import Request, Time, Wire
from .diff import Severity

Direction: TypeAlias = Literal["to_cluster", "to_kernel"]
ActionKind: TypeAlias = Literal["install", "upgrade", "downgrade", "remove", "build", "refuse"]
ActionCause: TypeAlias = Literal[
    "told", "absent", "unneeded", "unfit", "required", "replaced", "base", "state", "python"
]
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
        ``notebook``: what matters to the notebook, and what that requires (where no notebook says what matters, such as in
        a shell, everything); ``all`` packages; the ``rated`` ones (rows at ``risky`` or ``breaks``); or a list of names.
    remove_extra
        Whether packages that only the cluster has are removed; else they stay wherever they fit. Those that `scope` names
        are removed in any case.
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
        Literal["notebook", "all", "rated"]
        | Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(min_length=1, max_length=2000)]
    ) = "notebook"
    remove_extra: bool = False
    drain_seconds: Annotated[float, Meta(ge=0, le=86400)] = 120.0
    confirm: Annotated[tuple[Confirmation, ...], Meta(max_length=10)] = ()


class PlanAction(Wire, frozen=True, kw_only=True):
    """What a sync does with one package in one group. The kind ``refuse`` is what it cannot do; `why` says who can.

    Attributes
    ----------
    cause
        The reason in `why`, as a word: the notebook does not have the package (``absent``), no package requires it
        (``unneeded``), it doesn't fit the others (``unfit``), another package requires it (``required``), its installation
        is damaged or of another kind (``replaced``), it was so in the base environment or in the earlier state (``base``,
        ``state``), or the whole cluster restarts with another Python (``python``). For every other reason it is ``told``.
    severity
        How bad its difference is now.
    details
        The resolver's or the installer's own words, where `why` is short for them.

    """

    kind: ActionKind
    name: str
    before: str | None
    after: str | None
    group: str
    why: str
    cause: ActionCause = "told"
    severity: Severity = "same"
    details: str = ""


class PlanRemaining(Wire, frozen=True, kw_only=True):
    """A difference that breaks or is risky and stays so after the sync.

    Attributes
    ----------
    here
        The notebook's version; null where it has none.
    there
        The versions afterwards where it differs; null for nodes that have none.
    where
        The nodes where it differs: the ``workers``, the ``scheduler``, or both, the ``cluster``.
    why
        What that means, and who can change it.
    condition
        Whether it is no package; the versions are values then.

    """

    name: str
    severity: Severity
    here: str | None
    there: tuple[str | None, ...]
    where: Literal["cluster", "scheduler", "workers"]
    why: str
    condition: bool = False


class PlanTotals(Wire, frozen=True, kw_only=True):
    """How many packages get another version, come, go, and can't be done.

    Attributes
    ----------
    extra
        Packages that only the cluster has, whether they stay or go.
    outside
        Other packages that differ and are not in the scope.

    """

    change: int = 0
    install: int = 0
    remove: int = 0
    refuse: int = 0
    extra: int = 0
    outside: int = 0


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


class PlanScheduler(Wire, frozen=True, kw_only=True):
    """What happens so that a scheduler, which doesn't restart, can take the notebook's graphs: `text` says it.

    Attributes
    ----------
    way
        ``append``: it can import packages that it lacks, in addition, from the new environment; ``seal``: the notebook's
        clients send graphs of which it unpickles nothing of the user's, since it has loaded other versions.
    names
        The packages concerned.

    """

    way: Literal["append", "seal"]
    names: tuple[str, ...]
    text: str


class Plan(Wire, frozen=True, kw_only=True):
    """Answer of ``POST plans``: everything that a sync would do, decided before anything is changed.

    Attributes
    ----------
    digest
        A digest of what the plan is based on and does. If it is no longer current, a sync of the plan is refused.
    how
        ``roll``: the workers restart in a layer, and their results are kept; ``replace``: the whole cluster restarts;
        ``in_place``: the workers of a notebook's own cluster restart, one by one, in the environment that they share with
        it, and their results are kept; ``build``: a new kernel is made beside that of the notebook, for ``to_kernel``;
        ``nothing``: they are equal already; ``refused``: nothing can be done.
    restarts
        The processes that restart, and what is sent to their hosts before, in plain words.
    actions
        The worst first.
    seconds
        A rough estimate of the duration of the sync, never an exact figure.
    remaining
        What will still be wrong afterwards, the worst first.
    needs
        What the user has to agree to before the plan can be applied.
    temporary
        Whether a second worker is started for the time of the sync, to keep the results of the only one.
    waits
        What was under way and is waited for before workers restart, and what happens if it takes too long, in plain words.

    """

    id: str
    digest: str
    cluster: str
    direction: Direction
    how: Literal["roll", "replace", "in_place", "build", "nothing", "refused"]
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
    scheduler: tuple[PlanScheduler, ...] = ()
    waits: tuple[str, ...] = ()
    remaining: tuple[PlanRemaining, ...] = ()
    totals: PlanTotals = PlanTotals()
