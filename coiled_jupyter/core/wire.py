"""The wire types: every JSON body of the REST API and of the supervisor's socket, declared once.

OpenAPI (``docs/openapi.json``) and TypeScript (``labextension/src/wire.ts``) are generated from these structs.
Keys are snake_case, times are RFC 3339 in UTC, ids are opaque text. ``None`` means "not known", never "none of it".
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

SCHEMA = 1
"""Version of the shapes below; the page compares it with the one that it was built for."""

Level: TypeAlias = Literal["all", "versions", "none"]
"""How much of a place was read: every distribution, the ten names of Dask's own handler, or nothing."""
Role: TypeAlias = Literal["kernel", "scheduler", "worker"]
RowStatus: TypeAlias = Literal[
    "broken",
    "unknown",
    "split",
    "differs",
    "only_kernel",
    "only_cluster",
    "content_differs",
    "restart_needed",
    "same",
]
Severity: TypeAlias = Literal["block", "warn", "note", "ok"]
Verdict: TypeAlias = Literal["breaks", "unknown", "differs", "equal"]
ClusterStatus: TypeAlias = Literal[
    "starting", "running", "idle", "degraded", "unreachable", "stopping", "stopped", "failed", "lost"
]
ClusterSource: TypeAlias = Literal["managed", "attached", "discovered"]
Basis: TypeAlias = Literal["named", "fits", "warned", "none"]
"""What an explanation rests on: the failure names the package, is a symptom that fits, or is Dask's warning; or nothing."""
StepState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]
Direction: TypeAlias = Literal["to_cluster", "to_kernel"]
ActionKind: TypeAlias = Literal["install", "upgrade", "downgrade", "remove", "build", "refuse"]
ActionCause: TypeAlias = Literal["told", "absent", "unneeded", "required", "replaced", "base", "state", "python"]
Confirmation: TypeAlias = Literal["lost_results", "plain_connection"]
SyncState: TypeAlias = Literal[
    "planned", "building", "rolling", "verifying", "rolling_back", "done", "failed", "cancelled", "lost"
]
"""``failed`` and ``cancelled``: the old state is back; ``lost``: the cluster went, and nothing is claimed."""
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

_Requirements: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=500)], ...], Meta(max_length=2000)
]
_PythonVersion: TypeAlias = Annotated[str, Meta(max_length=20, pattern=r"^[0-9]+(\.[0-9]+){0,2}$")]
Time: TypeAlias = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2026-03-01T12:00:00.000Z"])]


class Wire(Struct, kw_only=True, forbid_unknown_fields=False, omit_defaults=False, frozen=True):
    """Base of all answers: immutable, every key always present."""


class Request(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Base of all request bodies: a key that isn't declared is an error of the client."""


# ---- environments -------------------------------------------------------------------------------------------------


class Source(Wire, frozen=True, kw_only=True):
    """Where a distribution came from when not from an index (PEP 610), without credentials.

    A ``module`` is no distribution: a file or folder of Python code beside the notebook, which it has imported.
    """

    url: str
    kind: Literal["editable", "directory", "vcs", "archive", "module"]
    commit: str | None = None


class Loaded(Wire, frozen=True, kw_only=True):
    """A version that processes really run, with the nodes (ids or addresses) that run it."""

    version: str
    nodes: tuple[str, ...]


class Package(Wire, frozen=True, kw_only=True):
    """One distribution of an environment; `name` is PEP 503, `version` is text as found on disk.

    Attributes
    ----------
    content
        A digest of the code that would be imported; null until it has been looked at.
    build, channel
        Of a package that conda installed.
    requested
        Whether somebody asked for it by name, as opposed to something that requires it.
    in_use
        Whether a process of this environment has imported it.

    """

    name: str
    version: str
    loaded: tuple[Loaded, ...] = ()
    source: Source | None = None
    installer: str | None = None
    content: str | None = None
    build: str | None = None
    channel: str | None = None
    requested: bool = False
    in_use: bool = False


class Problem(Wire, frozen=True, kw_only=True):
    """Something wrong with an installation, as data."""

    kind: Literal[
        "duplicate", "leftover", "unreadable", "no_record", "missing_files", "edited", "conda_conflict", "truncated"
    ]
    package: str | None
    where: str
    fix: str


class Environment(Wire, frozen=True, kw_only=True):
    """A reading of what one place has installed; for a cluster one per group."""

    id: str
    role: Role
    host: str
    prefix: str
    python: str
    implementation: str
    platform: str
    packages: tuple[Package, ...]
    problems: tuple[Problem, ...]
    level: Level
    digest: str
    nodes: tuple[str, ...]
    taken_at: Time
    content_at: Time | None = None
    """When files were last compared with what was installed; null: not yet."""
    conditional: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Markers (PEP 508) of packages that everything which requires them requires on some platforms or Pythons only."""


# ---- clusters -----------------------------------------------------------------------------------------------------


class Step(Wire, frozen=True, kw_only=True):
    """One step of a start, in order; `seconds` is its duration, so far while it runs."""

    name: str
    state: StepState
    seconds: float | None = None
    text: str = ""


class Adaptive(Wire, frozen=True, kw_only=True):
    """Bounds of adaptive scaling, in workers."""

    minimum: Annotated[int, Meta(ge=0)]
    maximum: Annotated[int, Meta(ge=0)]


class Desired(Wire, frozen=True, kw_only=True):
    """What was asked for, as opposed to what is observed.

    Attributes
    ----------
    lease_seconds
        How long the cluster lives on when no server, kernel or client holds it any more; null where it isn't ours.
    kept
        Whether somebody chose that time: then it isn't cut short by a server that ends.

    """

    workers: int
    adaptive: Adaptive | None = None
    lease_seconds: float | None = None
    kept: bool = False


class Worker(Wire, frozen=True, kw_only=True):
    """One worker as last seen; memory in bytes, `busy` in executing threads."""

    id: str
    name: str
    status: str
    host: str
    threads: int
    busy: int
    memory: int
    memory_limit: int | None
    group: str | None
    restarts: int
    seen_at: Time


class SchedulerInfo(Wire, frozen=True, kw_only=True):
    """The scheduler's address and its own id, the key that joins clients to clusters."""

    address: str
    id: str | None
    dashboard: str | None


class Cores(Wire, frozen=True, kw_only=True):
    """Threads of workers: executing, existing (or still dying), and asked for."""

    busy: int
    allocated: int
    requested: int


class Memory(Wire, frozen=True, kw_only=True):
    """Bytes over all workers; `limit` never exceeds the machine's for local clusters."""

    used: int
    limit: int | None


class ClusterSoftware(Wire, frozen=True, kw_only=True):
    """What the cluster's processes were started from; `python` is a version, known once the workers were read."""

    software: str | None
    layer: str | None
    python: str | None = None
    prefix: str | None = None


class ClientInfo(Wire, frozen=True, kw_only=True):
    """A Dask client that is connected to a scheduler.

    Attributes
    ----------
    versions
        Of the packages that Dask's own check compares, as the client told them; empty where it told none.
    own
        Whether it lives in a kernel of this server; `opened_by` is that kernel's notebook.

    """

    id: str
    host: str | None
    last_seen: Time | None
    versions: dict[str, str]
    own: bool = False
    opened_by: str | None = None


class Cluster(Wire, frozen=True, kw_only=True):
    """A cluster, desired and observed, with the age of each."""

    id: str
    name: str
    source: ClusterSource
    opened_by: str | None
    factory: str
    status: ClusterStatus
    since: Time
    reason: str | None
    steps: tuple[Step, ...]
    desired: Desired
    workers: tuple[Worker, ...]
    scheduler: SchedulerInfo | None
    cores: Cores
    memory: Memory
    tasks: Tasks | None
    environment: ClusterSoftware
    lease_until: Time | None
    clients: int
    created_at: Time
    seen_at: Time | None
    revision: int
    other_clients: tuple[ClientInfo, ...] = ()
    """The clients of its scheduler, where they are known; its notebook's own are marked."""


class KernelInterpreter(Request, frozen=True, kw_only=True):
    """The interpreter of a kernel of this server, as it stands."""

    kernel: str


class AdaptiveRequest(Request, frozen=True, kw_only=True):
    """Bounds of adaptive scaling, in workers."""

    minimum: Annotated[int, Meta(ge=0)]
    maximum: Annotated[int, Meta(ge=0)]


class ClusterCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST clusters``; at most one of `software`, `kernel`, `interpreter` and `requirements`."""

    name: Annotated[str, Meta(min_length=1, max_length=80)] | None = None
    factory: Annotated[str, Meta(max_length=80)] | None = None
    workers: Annotated[int, Meta(ge=0)] | None = None
    threads_per_worker: Annotated[int, Meta(ge=1)] | None = None
    memory_limit: Annotated[int, Meta(ge=1)] | Annotated[str, Meta(max_length=32)] | None = None
    adaptive: AdaptiveRequest | None = None
    environ: dict[Annotated[str, Meta(max_length=200)], Annotated[str, Meta(max_length=8192)]] | None = None
    options: dict[Annotated[str, Meta(max_length=80)], str | int | float | bool | None] | None = None
    software: Annotated[str, Meta(max_length=80)] | None = None
    kernel: Annotated[str, Meta(max_length=200)] | None = None
    interpreter: KernelInterpreter | None = None
    requirements: _Requirements | None = None
    python: _PythonVersion | None = None


class TLSFiles(Request, frozen=True, kw_only=True):
    """Paths of PEM files below the server's `tls_roots`."""

    ca_file: Annotated[str, Meta(min_length=1, max_length=4096)]
    cert_file: Annotated[str, Meta(min_length=1, max_length=4096)]
    key_file: Annotated[str, Meta(min_length=1, max_length=4096)]


class ClusterAttach(Request, frozen=True, kw_only=True):
    """Body of ``POST clusters`` with an address: follow a cluster that somebody else runs."""

    address: Annotated[str, Meta(min_length=1, max_length=500)]
    name: Annotated[str, Meta(min_length=1, max_length=80)] | None = None
    tls: TLSFiles | None = None


class ClusterChange(Request, frozen=True, kw_only=True):
    """Body of ``PATCH clusters/{id}``: exactly one of these; null for `adaptive` ends adaptive scaling."""

    workers: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    adaptive: AdaptiveRequest | UnsetType | None = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType = UNSET
    lease_seconds: Annotated[float, Meta(ge=0, le=2592000)] | UnsetType = UNSET


class ChangedCluster(Cluster, frozen=True, kw_only=True):
    """Answer of ``PATCH clusters/{id}``: the cluster, and for a change of its size what was granted.

    Attributes
    ----------
    granted
        Workers (for adaptive scaling: at most so many) where fewer fit than were asked for, else null.
    limit
        The limit in cores that didn't allow more, else null.

    """

    granted: int | None = None
    limit: int | None = None


class ClusterRestart(Request, frozen=True, kw_only=True):
    """Body of ``POST clusters/{id}/restart``: new worker processes, or everything anew on the same address."""

    what: Literal["workers", "cluster"]


class LogLine(Wire, frozen=True, kw_only=True):
    """One line that a node printed; `at` is null where nothing tells its time."""

    at: Time | None
    node: str
    text: str


class Logs(Wire, frozen=True, kw_only=True):
    """Lines of a cluster's nodes, oldest first; `next` is the `after` of the next question."""

    lines: tuple[LogLine, ...]
    nodes: tuple[str, ...]
    next: str


# ---- usage --------------------------------------------------------------------------------------------------------


class UsageCores(Wire, frozen=True, kw_only=True):
    """Core usage of this user on this host; `limit` is the lowest live one."""

    busy: int
    allocated: int
    requested: int
    limit: int


class Tasks(Wire, frozen=True, kw_only=True):
    """Tasks of the workers; a rate that hasn't been measured yet is null.

    Attributes
    ----------
    in_memory
        Results that the workers hold, each copy counted; null where a worker's Dask doesn't tell.

    """

    running: int
    queued: int
    done_per_second: float | None
    in_memory: int | None = None


class ClusterUsage(Wire, frozen=True, kw_only=True):
    """A cluster's part of the usage; attached ones are shown beside and not counted."""

    id: str
    name: str
    counted: bool
    cores: Cores
    memory: Memory
    seen_at: Time | None


class Usage(Wire, frozen=True, kw_only=True):
    """Answer of ``GET usage``, all figures from one reading."""

    cores: UsageCores
    memory: Memory
    tasks: Tasks
    clusters: tuple[ClusterUsage, ...]
    taken_at: Time


# ---- diff ---------------------------------------------------------------------------------------------------------


class DiffKernel(Wire, frozen=True, kw_only=True):
    """The kernel's side of a diff; `id` is null outside a Jupyter server."""

    id: str | None
    label: str
    python: str | None
    digest: str | None


class DiffGroup(Wire, frozen=True, kw_only=True):
    """Nodes with one role, host, prefix and digest."""

    id: str
    role: Role
    host: str
    prefix: str
    python: str
    digest: str
    nodes: tuple[str, ...]


class DiffCluster(Wire, frozen=True, kw_only=True):
    """The cluster's side of a diff."""

    id: str
    name: str
    groups: tuple[DiffGroup, ...]


class Unread(Wire, frozen=True, kw_only=True):
    """A node that could not be read, with the reason in plain words; the kernel is the node `kernel`."""

    node: str
    reason: str


class Checked(Wire, frozen=True, kw_only=True):
    """What was looked at beyond names and versions: `content` is true once the files of every place were."""

    content: bool


class RowSide(Wire, frozen=True, kw_only=True):
    """A package as the kernel has it; `loaded` is set only where the process runs another version."""

    version: str
    loaded: str | None = None
    source: Source | None = None


class RowGroup(Wire, frozen=True, kw_only=True):
    """A package as one group has it; `version` null means not installed there."""

    group: str
    version: str | None
    loaded: tuple[Loaded, ...] = ()
    source: Source | None = None


class RowSoftware(Wire, frozen=True, kw_only=True):
    """A package as a software environment pins it, the third column."""

    version: str


class Row(Wire, frozen=True, kw_only=True):
    """One package compared; `why` and `fix` are plain English sentences."""

    name: str
    kernel: RowSide | None
    groups: tuple[RowGroup, ...]
    software: RowSoftware | None
    status: RowStatus
    severity: Severity
    in_use: bool
    why: str
    fix: str


class Severities(Wire, frozen=True, kw_only=True):
    """Rows per severity."""

    block: int = 0
    warn: int = 0
    note: int = 0
    ok: int = 0


class Diff(Wire, frozen=True, kw_only=True):
    """A kernel compared with a cluster."""

    verdict: Verdict
    level: Level
    kernel: DiffKernel
    cluster: DiffCluster
    counts: dict[RowStatus, int]
    severities: Severities
    unread: tuple[Unread, ...]
    checked: Checked
    rows: tuple[Row, ...]
    taken_at: Time
    schema: int = SCHEMA


class ExplainRequest(Request, frozen=True, kw_only=True):
    """Body of ``POST explain``: a traceback or a warning of Dask's, as text; without a kernel, of the server's Python."""

    kernel: Annotated[str, Meta(max_length=200)] | None = None
    cluster: Annotated[str, Meta(max_length=200)]
    text: Annotated[str, Meta(min_length=1, max_length=200_000)]


class Cause(Wire, frozen=True, kw_only=True):
    """A row of the diff that explains a failure: the piece of text that points at it, and how that comes about."""

    row: Row
    evidence: str
    why: str


class Explanation(Wire, frozen=True, kw_only=True):
    """Answer of ``POST explain``: gravest cause first; `text` says it in a few sentences, and what couldn't be read."""

    text: str
    causes: tuple[Cause, ...]
    basis: Basis
    verdict: Verdict


class Rule(Wire, frozen=True, kw_only=True):
    """One rule of severity; an empty tuple or null is no condition. The first rule that holds decides."""

    names: tuple[str, ...] = ()
    kind: str | None = None
    statuses: tuple[RowStatus, ...] = ()
    distances: tuple[str, ...] = ()
    direction: str | None = None
    older: str | None = None
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
    """Answer of ``GET rules``: what this user ignores or rates otherwise, and every rule in its order.

    `faults` says which file of rules could not be used, and why; the others hold all the same.
    """

    ignores: tuple[str, ...]
    overrides: dict[str, Severity]
    rules: tuple[Rule, ...]
    faults: tuple[str, ...] = ()


class RulesChange(Request, frozen=True, kw_only=True):
    """Body of ``PATCH rules``; null is unchanged, a null severity takes an override back."""

    ignores: Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=2000)] | None = None
    overrides: Annotated[dict[Annotated[str, Meta(max_length=200)], Severity | None], Meta(max_length=2000)] | None = (
        None
    )


# ---- plans and syncs ----------------------------------------------------------------------------------------------


class PlanFrom(Request, frozen=True, kw_only=True):
    """What a cluster is to become equal to: a kernel's packages, a software environment, or a state that it had."""

    kernel: Annotated[str, Meta(max_length=200)] | None = None
    software: Annotated[str, Meta(max_length=80)] | None = None
    layer: Annotated[str, Meta(max_length=80)] | None = None


class PlanCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST plans``.

    Attributes
    ----------
    cluster, kernel
        The cluster to change; the kernel that is compared with it.
    direction
        ``to_kernel`` makes a kernel of its own, with the command ``sync --to-kernel`` only.
    source
        What to become equal to, ``from`` on the wire; default: `kernel`, or without one this server's Python.
    scope
        ``all``, ``rated`` (rows at warn or block), or names of packages.
    drain_seconds
        How long a running task may go on before a worker's restart is given up.
    confirm
        What the user has agreed to, of a former plan's `needs`.

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
    """What happens to one package in one group; ``refuse`` is what can't be done, with who can in `why`.

    Attributes
    ----------
    cause
        What `why` says, where that is one of a few things: the notebook doesn't have the package (``absent``), nothing
        needs it (``unneeded``), another package does (``required``), its installation is damaged or of another kind
        (``replaced``), the base environment or the state had it so (``base``, ``state``), or all of the cluster starts
        anew on another Python (``python``). Else ``told``: only the words tell it.

    """

    kind: ActionKind
    name: str
    before: str | None
    after: str | None
    group: str
    why: str
    cause: ActionCause = "told"


class PlanRoll(Wire, frozen=True, kw_only=True):
    """Workers (addresses) of one group that restart together, as the `batch`-th, counted from 1."""

    group: str
    workers: tuple[str, ...]
    batch: int


class PlanLost(Wire, frozen=True, kw_only=True):
    """What a sync would lose: finished results, scattered values, running tasks (they start anew), actors."""

    futures: int = 0
    scattered: int = 0
    running: int = 0
    actors: int = 0
    why: str = ""


class PlanOther(Wire, frozen=True, kw_only=True):
    """Another client of the cluster, whom the change affects too."""

    client: str
    host: str | None = None
    opened_by: str | None = None


class Plan(Wire, frozen=True, kw_only=True):
    """Answer of ``POST plans``: everything that a sync of it would do, decided before anything is touched.

    Attributes
    ----------
    digest
        Of what the plan rests on and does; a sync of a plan whose digest isn't the present one is refused.
    how
        ``roll``: workers move to a layer and keep what they hold; ``replace``: all of the cluster starts anew;
        ``build``: a kernel of its own is made beside the notebook's, for ``to_kernel``; ``nothing``: it is equal
        already; ``refused``: nothing of it can be done.
    restarts
        What restarts, in plain words.
    seconds
        How long it will take, roughly.
    needs
        What the user has to agree to before this can be applied.
    temporary
        Whether a second worker is started for a while, which keeps what the only one holds.

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


class SyncCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST syncs``: the id of a plan that this server holds."""

    plan: Annotated[str, Meta(min_length=1, max_length=80)]


class SyncStep(Wire, frozen=True, kw_only=True):
    """One step of a sync; `group` is null where it concerns all, `seconds` is its duration, so far while it runs."""

    name: str
    state: StepState
    group: str | None = None
    seconds: float | None = None
    text: str = ""


class SyncLog(Wire, frozen=True, kw_only=True):
    """The last lines of what the installer and the steps said; `next` counts all lines so far."""

    lines: tuple[str, ...] = ()
    next: int = 0


class SyncGroup(Wire, frozen=True, kw_only=True):
    """What became of one group, as read from it afterwards."""

    group: str
    role: Role
    host: str
    nodes: tuple[str, ...]
    verified: bool
    text: str


class SyncResult(Wire, frozen=True, kw_only=True):
    """How a sync ended, in plain words, and what every group was seen to have."""

    text: str
    groups: tuple[SyncGroup, ...] = ()
    lost: PlanLost = field(default_factory=PlanLost)


class Sync(Wire, frozen=True, kw_only=True):
    """A plan being carried out, or one that was.

    Attributes
    ----------
    layer, layer_before
        The state of the cluster after it, and before it; null is its base environment.
    changes
        How many packages differ between the two.

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
    revision: int = 0


class LayerPlace(Wire, frozen=True, kw_only=True):
    """Where a layer was built: one folder per host and base environment; `size` in bytes."""

    host: str
    prefix: str
    path: str
    size: int | None


class Layer(Wire, frozen=True, kw_only=True):
    """A state that a cluster had: an environment beside its base one; the base itself has the id ``base``.

    Attributes
    ----------
    clusters
        Ids of the clusters that run in it now.
    known_by
        Ids of the clusters that could go back to it.

    """

    id: str
    packages: int
    places: tuple[LayerPlace, ...]
    clusters: tuple[str, ...]
    known_by: tuple[str, ...]
    created_at: Time
    used_at: Time


# ---- software environments ---------------------------------------------------------------------------------------


class SoftwareFile(Request, frozen=True, kw_only=True):
    """A file of requirements; its name tells its kind, such as ``environment.yml``."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    text: Annotated[str, Meta(max_length=1_000_000)]


class SoftwareCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST software``: a name, and exactly one of `kernel`, `requirements` and `file`.

    Attributes
    ----------
    python
        The Python to choose packages for; default: the kernel's, the file's, or the server's own.
    replace
        Whether an environment of this name gives way.

    """

    name: Annotated[str, Meta(max_length=80, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    kernel: Annotated[str, Meta(max_length=200)] | None = None
    requirements: _Requirements | None = None
    file: SoftwareFile | None = None
    python: _PythonVersion | None = None
    replace: bool = False


class SoftwarePackage(Wire, frozen=True, kw_only=True):
    """A package as a software environment pins it."""

    name: str
    version: str


class LeftOut(Wire, frozen=True, kw_only=True):
    """What was asked for, or is in the kernel, and isn't in the software environment; `why` in plain words."""

    name: str
    why: str


class Software(Wire, frozen=True, kw_only=True):
    """A software environment: a named set of packages, locked with the hashes of their files.

    Attributes
    ----------
    python, platform
        What the packages were chosen for, such as ``3.11.7`` and ``linux-x86_64``.
    source
        What it was made from: ``kernel``, ``requirements``, a file's name, or the workers of a cluster.
    packages
        Empty in lists; `count` is always there.
    built
        The folder in which it is built on this machine, or null; `size` in bytes.
    used_by
        Names of the clusters that run it, and of the Jupyter kernels that were installed from it.

    """

    name: str
    python: str
    platform: str
    source: str
    count: int
    packages: tuple[SoftwarePackage, ...]
    left_out: tuple[LeftOut, ...]
    built: str | None
    size: int | None
    used_by: tuple[str, ...]
    created_at: Time


class SoftwareExport(Wire, frozen=True, kw_only=True):
    """A software environment as a file for other tools."""

    filename: str
    text: str


class SoftwareInstalled(Wire, frozen=True, kw_only=True):
    """A software environment that is built here: the name of its Jupyter kernel, and its folder."""

    kernel: str
    prefix: str


class SoftwareFreed(Wire, frozen=True, kw_only=True):
    """Built environments that were removed because nothing uses them, and the bytes that no other folder shares."""

    builds: int = 0
    size: int = 0


# ---- about, errors, events ----------------------------------------------------------------------------------------


class Option(Wire, frozen=True, kw_only=True):
    """A declared option of a cluster factory."""

    type: Literal["boolean", "integer", "number", "string"]
    description: str
    default: str | int | float | bool | None = None
    minimum: float | None = None
    maximum: float | None = None


class Factory(Wire, frozen=True, kw_only=True):
    """A kind of cluster that can be created."""

    name: str
    description: str
    options: dict[str, Option]


class Limits(Wire, frozen=True, kw_only=True):
    """What this user may have at once."""

    cores: int
    workers: int
    clusters: int


class About(Wire, frozen=True, kw_only=True):
    """Answer of ``GET about``."""

    version: str
    schema: int
    uv: str | None
    limits: Limits
    factories: tuple[Factory, ...]


class Problematic(Wire, frozen=True, kw_only=True):
    """What went wrong: `message` says what and where, `hint` what to do next; never an exception's text."""

    kind: ErrorKind
    message: str
    hint: str = ""
    data: dict[str, str | int | float | bool | dict[str, int] | None] = field(default_factory=dict)


class Doctor(Wire, frozen=True, kw_only=True):
    """What a report of a problem needs, without secrets.

    Attributes
    ----------
    contents
        What is in it, in plain words, for whoever passes it on.
    system
        The server's machine and Python.
    packages
        What is installed beside the server.
    environments, logs
        By the cluster's id: its groups, and the last lines of its processes.
    plans
        What syncs would do: those that were made in the last ten minutes; from a shell one for each cluster.
    failed
        What could not be told, and why.

    """

    contents: tuple[str, ...]
    about: About
    system: dict[str, str]
    packages: tuple[SoftwarePackage, ...]
    usage: Usage
    clusters: tuple[Cluster, ...]
    kernel: Environment | None
    environments: dict[str, tuple[Environment, ...]]
    diffs: tuple[Diff, ...]
    plans: tuple[Plan, ...]
    syncs: tuple[Sync, ...]
    layers: tuple[Layer, ...]
    software: tuple[Software, ...]
    logs: dict[str, tuple[LogLine, ...]]
    failed: tuple[str, ...]
    taken_at: Time


class ErrorBody(Wire, frozen=True, kw_only=True):
    """Body of every answer that is not a success."""

    error: Problematic


class Change(Wire, frozen=True, kw_only=True):
    """An event on Jupyter's bus: something changed, ask for it."""

    kind: Literal["cluster", "environment", "usage", "kernel", "sync", "beat"]
    id: str
    revision: int
