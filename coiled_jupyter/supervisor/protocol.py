"""The protocol of a supervisor's socket: one JSON object per line, each a tagged struct that both ends share."""

from __future__ import annotations

from msgspec import Raw, Struct

from ..core.change.state import SyncSpec
from ..core.change.survey import IndexQuestion
from ..core.wire import Cluster, ClusterChange, Problematic, Sync


class Call(Struct, frozen=True, tag_field="call", tag=str.lower):
    """An operation of a supervisor."""


class ReadNodes(Call, frozen=True):
    """Read the nodes; `wanted` are import names of code beside the notebook, to look for there.

    A reading that was begun up to `within` seconds before is enough.
    """

    wanted: tuple[str, ...] = ()
    within: float = 0.0


class ReadActivity(Call, frozen=True):
    """Read what the cluster is doing; `after` is the cursor of an earlier answer."""

    after: str | None = None


class Watch(Call, frozen=True):
    """Send the cluster at each change, and its sync while one runs, until the connection ends."""


class Change(Call, frozen=True):
    """Change size, name or lease."""

    change: ClusterChange


class Restart(Call, frozen=True):
    """Restart the ``workers`` or the whole ``cluster``."""

    what: str


class Survey(Call, frozen=True):
    """Survey the cluster's processes for a plan; with a question, ask each place whether it reaches the index."""

    question: IndexQuestion | None = None


class BeginSync(Call, frozen=True):
    """Begin a sync."""

    spec: SyncSpec


class CancelSync(Call, frozen=True):
    """Cancel the running sync."""

    sync: str


class RemoveLayer(Call, frozen=True):
    """Remove the folders of a state's layers."""

    layer: str


class Stop(Call, frozen=True):
    """Stop the cluster."""


class Release(Call, frozen=True):
    """Note that a holder ends: a cluster without another holder stops at once."""


AnyCall = (
    ReadNodes | ReadActivity | Watch | Change | Restart | Survey | BeginSync | CancelSync | RemoveLayer | Stop | Release
)


class Request(Struct, frozen=True):
    """A call with its number on its connection.

    It isn't begun after `until`, a time of the clock that all processes of this machine share (`time.monotonic`), nor
    after its connection has ended: the client has reported its failure by then. A call without `until` is a notice,
    which is processed whenever it is read.
    """

    id: int
    until: float | None
    call: AnyCall


class Message(Struct, frozen=True, tag_field="message", tag=str.lower):
    """A message of a supervisor."""


class Answer(Message, frozen=True):
    """What a call returned."""

    id: int
    result: Raw


class Refusal(Message, frozen=True):
    """Why a call failed."""

    id: int
    error: Problematic


class ClusterState(Message, frozen=True):
    """The cluster as it is now, for a watcher."""

    cluster: Cluster


class SyncState(Message, frozen=True):
    """The sync as it is now, for a watcher."""

    sync: Sync


AnyMessage = Answer | Refusal | ClusterState | SyncState


class Changed(Struct, frozen=True):
    """The cluster after a change, with the workers granted and the limit if fewer than requested were."""

    cluster: Cluster
    granted: int | None = None
    limit: int | None = None
