"""Clusters of a dask-gateway: new ones with the options that it declares, or one of the user's that runs there already.

Where the gateway is, and how one logs in, is said by Dask's configuration in the Python of the cluster, or by an
administrator's arguments, and never by a request.
"""

from __future__ import annotations

from ..core.errors import Invalid
from ..core.launch import ClusterClass
from ..core.wire import Option
from .contract import Entry, Wanted

_MODULE = "dask_gateway"
LOGIN = ("JUPYTERHUB_",)
"""What ``gateway.auth.type: jupyterhub`` logs in with."""
_WHERE = ("address", "proxy_address", "public_address", "auth")
_OWN = (*_WHERE, "cluster_options", "cluster_name", "shutdown_on_close", "asynchronous", "loop", "name", "security")


def _make(wanted: Wanted) -> ClusterClass:
    options = dict(wanted.options)
    joined = options.pop("join")
    if not joined:
        return ClusterClass(module=_MODULE, name="GatewayCluster", kwargs=options, adapts="platform")
    if options:
        raise Invalid(
            f"options.{next(iter(options))}", "A cluster that is joined has its options already", "Leave it out"
        )
    return ClusterClass(module=_MODULE, name="GatewayCluster.from_name", args=(joined,), adapts="platform", joined=True)


ENTRY = Entry(
    name="gateway",
    title="dask-gateway",
    description="A cluster of your dask-gateway; the gateway decides where its workers run and which packages they have",
    options={"join": Option(type="string", description="the name of a cluster of yours that runs there, to join it")},
    requires=("dask-gateway",),
    make=_make,
    asks=ClusterClass(module=_MODULE, name="Gateway"),
    connecting=_WHERE,
    reserved=_OWN,
    login=LOGIN,
)
