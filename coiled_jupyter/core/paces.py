"""How often each part looks again and how long it waits before it acts: one struct, so that tests can run faster.

Only paces are here. A limit that protects somebody, such as the time a worker has to hand over its results, stays with
the code that it belongs to and doesn't scale.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

_FLOORS = {
    "silent": 3.0,
    "missed": 20.0,
    "young": 10.0,
    "lost": 5.0,
    "ledger_retry": 0.2,
    "poll": 0.2,
    "tick": 0.2,
    "adopt": 0.3,
}
"""Below the first, what the operating system or Dask itself needs on a busy machine would count as a failure; below the
others, many idle clusters are what makes it busy."""


class Paces(Struct, kw_only=True, frozen=True):
    """Seconds.

    Attributes
    ----------
    poll
        Between two looks of a supervisor at its cluster; the lease is checked at each.
    beat
        Between two messages to a watcher when nothing changes.
    clients
        Age at which the list of the scheduler's clients is asked for again: each request is a line in its log.
    tidy
        Between two checks of the log sizes and of the folder and ledger row of a cluster.
    silent
        Time without a heartbeat after which a worker is named in the cluster's state.
    missed
        Time after which a worker that its nanny doesn't bring back is replaced together with the nanny.
    young
        Time that a new worker has to join before it counts as missing.
    respawn
        Unit of the growing delay before a nanny that keeps ending is started again.
    settled
        Run time after which a nanny that ends is replaced at once.
    lost
        Time that a new supervisor looks for the scheduler before an interrupted sync counts as lost.
    ledger_retry
        Between two attempts to write what could not be written to the ledger.
    sweep
        Between two readings that ask every node, also where nothing seems to have changed.
    adopt
        Between two looks of a service at the ledger.
    unwatched
        Time without an answer from its supervisor after which a cluster's figures count as old.
    look
        Time after a question for which somebody counts as looking, so that kernels are asked.
    ask
        Between two questions to a kernel about its clients.
    tick
        Between two rounds over the kernels.
    fresh
        Age at which a discovered cluster is observed again.

    """

    poll: float = 1.0
    beat: float = 3.0
    clients: float = 5.0
    tidy: float = 10.0
    silent: float = 6.0
    missed: float = 90.0
    young: float = 20.0
    respawn: float = 1.0
    settled: float = 60.0
    lost: float = 30.0
    ledger_retry: float = 1.0
    sweep: float = 30.0
    adopt: float = 2.0
    unwatched: float = 60.0
    look: float = 30.0
    ask: float = 3.0
    tick: float = 1.0
    fresh: float = 2.0

    def scaled(self, factor: float) -> Paces:
        """Return these paces times `factor`, none below what a busy machine needs."""
        scaled = {
            name: max(value * factor, min(value, _FLOORS.get(name, 0.0)))
            for name, value in msgspec.structs.asdict(self).items()
        }
        return Paces(**scaled)


NORMAL = Paces()
"""The paces of everyday use."""
