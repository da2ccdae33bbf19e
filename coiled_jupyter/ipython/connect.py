"""Finds the cluster that is meant and makes a Dask client of it, with its certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.errors import Conflict, NotFound, Unavailable
from ..factories.local import tls_paths
from ..ledger import Ledger, Row
from ..paths import cluster_dir

if TYPE_CHECKING:
    from distributed import Client


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
        More than one is meant.
    Unavailable
        It isn't ready yet.

    """
    from distributed import Client
    from distributed.security import Security

    if name_or_address is not None and "://" in name_or_address:
        return Client(name_or_address, **kwargs)
    row = _find(name_or_address)
    scheduler = row.snapshot.scheduler
    if scheduler is None or row.snapshot.status in ("starting", "stopping"):
        raise Unavailable(f"{row.name} is {row.snapshot.status}", "Try again when the panel shows it as running")
    tls = {name: str(path) for name, path in tls_paths(cluster_dir(row.id)).items()}
    if row.spec is not None and row.spec.address is not None:
        # Somebody else's: with the files that it was attached with, if any.
        if row.spec.tls is None:
            return Client(row.spec.address, **kwargs)
        tls = {"ca": row.spec.tls.ca, "cert": row.spec.tls.cert, "key": row.spec.tls.key}
    security = Security(
        tls_ca_file=tls["ca"], tls_client_cert=tls["cert"], tls_client_key=tls["key"], require_encryption=True
    )
    return Client(scheduler.address, **{"security": security, **kwargs})


def _find(name: str | None) -> Row:
    ledger = Ledger()
    # An attached cluster goes on without its supervisor, which ends when nobody looks.
    rows = [
        row for row in ledger.list() if not row.ended and (ledger.owner_alive(row) or row.snapshot.source == "attached")
    ]
    found = [row for row in rows if name is None or name in (row.name, row.id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(row.name for row in rows))
    if found:
        raise Conflict(f"More than one cluster is meant: {names}", "Give its name, or its id where names are equal")
    if rows:
        raise NotFound(f"There is no cluster {name}", f"There are: {names}")
    raise NotFound("No cluster is running", "Create one in the panel or with: coiled-jupyter cluster create")
