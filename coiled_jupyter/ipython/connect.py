"""Finds the cluster that is meant and makes a Dask client of it, with its certificates."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Any

from ..activity import doing, following
from ..core.choice import choose
from ..core.errors import NotFound, Unavailable
from ..factories.local import tls_paths
from ..ledger import Ledger, Row
from ..paths import cluster_dir

if TYPE_CHECKING:
    from distributed import Client

GRACE_SECONDS = 10.0
"""How much longer than Dask's own timeout of a connection all steps of connecting may take."""


def connect(name_or_address: str | None = None, **kwargs: Any) -> Client:
    """Return a client of a cluster.

    Parameters
    ----------
    name_or_address
        Name or id of one of this user's clusters, or the address of any scheduler; without it the only cluster.
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
    scheduler = row.snapshot.scheduler
    if scheduler is None or row.snapshot.status in ("starting", "stopping"):
        raise Unavailable(f"{row.name} is {row.snapshot.status}", "Try again when the panel shows it as running")
    tls = {name: str(path) for name, path in tls_paths(cluster_dir(row.id)).items()}
    if row.spec is not None and row.spec.address is not None:
        # Somebody else's: with the files that it was attached with, if any.
        if row.spec.tls is None:
            return _client(row.spec.address, **kwargs)
        tls = {"ca": row.spec.tls.ca, "cert": row.spec.tls.cert, "key": row.spec.tls.key}
    from distributed.security import Security

    security = Security(
        tls_ca_file=tls["ca"], tls_client_cert=tls["cert"], tls_client_key=tls["key"], require_encryption=True
    )
    return _client(scheduler.address, **{"security": security, **kwargs})


def _client(address: str, **kwargs: Any) -> Client:
    from distributed import Client

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
    ledger = Ledger()
    # An attached cluster goes on without its supervisor, which ends when nobody looks.
    rows = {
        row.id: row
        for row in ledger.list()
        if not row.ended and (ledger.owner_alive(row) or row.snapshot.source == "attached")
    }
    return rows[choose(name, [row.snapshot for row in rows.values()]).id]
