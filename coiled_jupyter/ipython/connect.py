"""Finds the cluster that is meant and makes a Dask client of it, with its certificates."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Any

from ..activity import doing, following
from ..core.choice import choose
from ..core.errors import NotFound, Unavailable
from ..core.wire import Cluster
from ..factories.local import tls_paths
from ..ledger import Ledger, Row
from ..links.this_process import schedulers, seal
from ..paths import cluster_dir

if TYPE_CHECKING:
    from distributed import Client

GRACE_SECONDS = 10.0
"""How much longer than Dask's own timeout of a connection all steps of connecting may take."""

LEDGER_SECONDS = 2.0
"""How long a cluster that has just started may be told as starting by the ledger."""


def connect(name_or_address: str | None = None, **kwargs: Any) -> Client:
    """Return a client of a cluster.

    Parameters
    ----------
    name_or_address
        Name or id of one of this user's clusters, or the address of any scheduler; without it the cluster of which this
        process has a client already, else the only one.
    kwargs
        For `distributed.Client`.

    Raises
    ------
    NotFound
        There is no such cluster.
    Conflict
        The name fits more than one.
    Unavailable
        It isn't ready yet, or can't be reached.

    """
    try:
        row = _find(name_or_address)
    except NotFound:
        if name_or_address is None or "://" not in name_or_address:
            raise
        return _client(name_or_address, **kwargs)
    if row.spec is None or row.spec.address is None:
        return connect_to(row.snapshot, **kwargs)
    _address(row.snapshot)
    # Somebody else's: by the address, and with the files if any, with which it was attached.
    given = row.spec.tls
    client = _client(
        row.spec.address, {"ca": given.ca, "cert": given.cert, "key": given.key} if given else None, **kwargs
    )
    _seal(row.snapshot)
    return client


def connect_to(cluster: Cluster, **kwargs: Any) -> Client:
    """Return a client of a cluster of ours in the state in which it was seen last; raises Unavailable as `connect`."""
    address = _address(cluster)
    tls = {name: str(path) for name, path in tls_paths(cluster_dir(cluster.id)).items()}
    client = _client(address, tls if address.startswith("tls:") else None, **kwargs)
    _seal(cluster)
    return client


def seal_again() -> None:
    """Have the clients that this process has already send sealed graphs, where their cluster takes such."""
    used = {identity for identity, _ in schedulers()}
    if used:
        for row in Ledger().list():
            if not row.ended and row.snapshot.scheduler and row.snapshot.scheduler.id in used:
                _seal(row.snapshot)


def _seal(cluster: Cluster) -> None:
    if cluster.environment.sealed and cluster.scheduler and cluster.scheduler.id:
        seal(cluster.scheduler.id, on=True)


def _address(cluster: Cluster) -> str:
    """Return the address of a scheduler that runs, or raise Unavailable."""
    if cluster.scheduler is None or cluster.status in ("starting", "stopping"):
        raise Unavailable(f"{cluster.name} is {cluster.status}", "Try again when the panel shows it as running")
    return cluster.scheduler.address


def _client(address: str, tls: dict[str, str] | None = None, **kwargs: Any) -> Client:
    from distributed import Client
    from distributed.security import Security

    if tls is not None:
        files = {"tls_ca_file": tls["ca"], "tls_client_cert": tls["cert"], "tls_client_key": tls["key"]}
        kwargs = {"security": Security(**files, require_encryption=True), **kwargs}
    try:
        with (
            following(lambda text: print(f"… {text}", file=sys.stderr)),
            doing(f"Connecting to the scheduler at {address}"),
        ):
            return (
                Client(address, **kwargs) if kwargs.get("asynchronous") else _in_time(lambda: Client(address, **kwargs))
            )
    except (OSError, asyncio.TimeoutError, NotInTime):
        # Dask's own sentence ends fifty lines of its internals.
        raise Unavailable(
            f"The scheduler at {address} can't be reached", "Check that it runs, and whether it uses TLS (tls://)"
        ) from None


def _in_time(make: Callable[[], Client]) -> Client:
    """Return what `make` returns; TimeoutError if a process that accepts connections and sends nothing holds it up.

    Dask waits for that without a bound, so it waits in a thread of its own.
    """
    import dask
    from dask.utils import parse_timedelta

    made: Future[Client] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001 - it is raised where the client was asked for
            made.set_exception(error)

    threading.Thread(target=run, name="connecting", daemon=True).start()
    return made.result(parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")) + GRACE_SECONDS)


def _find(name: str | None) -> Row:
    """Return the row of a cluster in the ledger, which is written a little later than the panel shows a state."""
    end = time.monotonic() + LEDGER_SECONDS
    while True:
        row = _row(name)
        if row.snapshot.status != "starting" or time.monotonic() > end:
            return row
        time.sleep(0.05)


def _row(name: str | None) -> Row:
    ledger = Ledger()
    # An attached cluster goes on without its supervisor, which ends when nobody looks.
    rows = {
        row.id: row
        for row in ledger.list()
        if not row.ended and (ledger.owner_alive(row) or row.snapshot.source == "attached")
    }
    if name is None:
        used = {identity for identity, _ in schedulers()}
        mine = [row for row in rows.values() if row.snapshot.scheduler and row.snapshot.scheduler.id in used]
        if mine:
            return max(mine, key=lambda row: row.snapshot.created_at)
    return rows[choose(name, [row.snapshot for row in rows.values()]).id]
