"""Clusters on other machines over SSH, by Dask's own ``SSHCluster``."""

from __future__ import annotations

from typing import Any

from ..core.errors import Invalid
from ..core.launch import ClusterClass
from ..core.wire import Option
from .contract import Entry, Wanted

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})"


def _make(wanted: Wanted) -> ClusterClass:
    options = wanted.options
    hosts = [host.strip() for host in str(options["hosts"]).split(",") if host.strip()]
    if not hosts:
        raise Invalid("options.hosts", "Name at least one machine")
    connect: dict[str, Any] = {"keepalive_interval": 15, "connect_timeout": 20, "login_timeout": 20}
    if options.get("port"):
        connect["port"] = options["port"]
    if options.get("username"):
        connect["username"] = options["username"]
    # A worker that has lost its scheduler ends.
    worker: dict[str, Any] = {"nthreads": wanted.threads_per_worker or 1, "dashboard": False, "death_timeout": 60}
    if wanted.memory_limit:
        worker["memory_limit"] = wanted.memory_limit
    scheduler = {"port": 0, "dashboard": bool(options["dashboard"]), "dashboard_address": ":0"}
    if options["encrypted"]:
        worker["protocol"] = scheduler["protocol"] = "tls://"
    return ClusterClass(
        encrypted=bool(options["encrypted"]),
        module="distributed",
        name="SSHCluster",
        kwargs={
            "hosts": [options.get("scheduler") or hosts[0], *hosts],
            "connect_options": connect,
            "worker_options": worker,
            "scheduler_options": scheduler,
        },
    )


ENTRY = Entry(
    name="ssh",
    title="Machines over SSH",
    description="Scheduler and workers on machines that you can log in to with a key",
    options={
        "hosts": Option(
            type="string",
            description="machines for the workers, separated by commas",
            pattern=rf"\s*{_HOST}(?:\s*,\s*{_HOST})*\s*,?\s*",
            required=True,
        ),
        "scheduler": Option(
            type="string", description="the machine of the scheduler, if not the first of the others", pattern=_HOST
        ),
        "username": Option(
            type="string",
            description="your name there, if it is another one",
            pattern=r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}",
        ),
        "port": Option(type="integer", description="the port of SSH, if not 22", minimum=1, maximum=65535),
        "encrypted": Option(
            type="boolean",
            description="encrypt connections; the machines must see this machine's data folder, as in a shared home",
            default=False,
        ),
        "dashboard": Option(
            type="boolean", description="Dask's own dashboard, which everybody can open who reaches it", default=False
        ),
    },
    takes=("threads_per_worker", "memory_limit"),
    requires=("asyncssh",),
    make=_make,
    hosts=("hosts", "scheduler"),
)
