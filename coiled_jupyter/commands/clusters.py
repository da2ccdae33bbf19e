"""The commands `cluster …`: to create, attach, list, steer and stop clusters."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import bringing
from ..activity import doing
from ..core.choice import ENDED
from ..core.errors import Invalid, NotFound, Timeout
from ..core.launch import LOCAL
from ..core.times import age
from ..core.wire import Cluster, ClusterAttach, ClusterChange, ClusterCreate, ClusterRestart, OffersAsk, Option
from ..links.this_process import schedulers
from ..service.facade import Service
from .base import DONE, FAILED, UNREAD, Output, body, counted, given, running

ATTACH_SECONDS = 15.0
STOP_SECONDS = 30.0


async def run(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Run one of the commands; return how it ended."""
    return await _VERBS[arguments.verb](service, arguments, out)


async def _create(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    raw = {
        "name": arguments.name,
        "factory": arguments.factory,
        "options": await _options(service, arguments.factory, arguments.option) if arguments.option else None,
        "workers": arguments.workers,
        "threads_per_worker": arguments.threads,
        "memory_limit": arguments.memory,
        "requirements": arguments.requirement,
        "python": arguments.python,
        "software": arguments.software,
        "environ": dict(map(_variable, arguments.env)) if arguments.env else None,
    }
    if arguments.adaptive is not None:
        raw["adaptive"] = dict(zip(("minimum", "maximum"), arguments.adaptive, strict=True))
    cluster = await service.clusters.create(body(given(**raw), ClusterCreate))
    try:
        with doing(f"Starting {cluster.name}") as activity:
            while not arguments.no_wait and cluster.status == "starting":
                await asyncio.sleep(0.1)
                cluster = service.clusters.get(cluster.id)
                out.steps(cluster.steps)
                activity.text = running(cluster.steps) or activity.text
    except asyncio.CancelledError:
        # An interrupt: nothing half started is left.
        await service.clusters.delete(cluster.id)
        out.note(f"Cancelled: {cluster.name} stops")
        raise
    out.value(cluster)
    if cluster.status == "failed":
        out.warn(f"{cluster.name} failed: {cluster.reason}")
    else:
        tell_clusters([cluster], out)
    return FAILED if cluster.status in ENDED else DONE


async def _options(service: Service, factory: str | None, texts: Sequence[str]) -> dict[str, object]:
    """Return the options of a factory with values of the types that it declares; the service judges all else."""
    known = [one for one in service.about().factories if one.name == (factory or LOCAL)]
    declared = dict(known[0].options) if known else {}
    if known and known[0].asks and not {text.partition("=")[0] for text in texts} <= declared.keys():
        declared |= (await service.clusters.offers(known[0].name, OffersAsk())).options
    found: dict[str, object] = {}
    for text in texts:
        name, _, value = text.partition("=")
        kind = declared[name].type if name in declared else "string"
        try:
            found[name] = _READ[kind](value)
        except (ValueError, KeyError):
            raise Invalid(f"options.{name}", f"{name} must be a {kind}, not {value[:80]}") from None
    return found


_READ: Mapping[str, Callable[[str], object]] = {
    "boolean": lambda text: {"true": True, "false": False}[text.lower()],
    "integer": int,
    "number": float,
    "string": str,
}


def _variable(text: str) -> tuple[str, str]:
    """Return name and value; a value that others mustn't see in the process list is taken from this shell's environment."""
    name, sign, value = text.partition("=")
    if not sign and name not in os.environ:
        raise Invalid("env", f"There is no variable {name} here", "Set it, or give NAME=VALUE")
    return name, value if sign else os.environ[name]


async def _offers(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    with doing(f"Asking {arguments.factory}"):
        found = await service.clusters.offers(arguments.factory, OffersAsk())
    out.value(found)
    for name, option in found.options.items():
        out.line(f"--option {name}={'' if option.default is None else option.default}  {_allowed(option)}")
    if found.clusters:
        out.line("Clusters of yours that run there:")
    for one in found.clusters:
        out.line(f"--option join={one.name}  {one.status}")
    if not found.options and not found.clusters:
        out.line("It declares no options, and no cluster of yours runs there")
    return DONE


def _allowed(option: Option) -> str:
    """Return what an option is and which values it may have."""
    parts = [option.description, ", ".join(option.choices)]
    if option.minimum is not None or option.maximum is not None:
        low, high = ("" if bound is None else f"{bound:g}" for bound in (option.minimum, option.maximum))
        parts.append(f"from {low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}")
    return ": ".join(filter(None, parts))


async def _attach(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    tls = _certificates(arguments.address, arguments)
    raw = given(address=arguments.address, name=arguments.name, tls=tls)
    cluster = await _met(service, await service.clusters.attach(body(raw, ClusterAttach)))
    out.value(cluster)
    tell_clusters([cluster], out)
    return UNREAD if cluster.status in ("starting", "unreachable") else DONE


def add_certificates(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the files for a ``tls://`` address."""
    for name, what in (("--ca", "the authority"), ("--cert", "the client's certificate"), ("--key", "its key")):
        parser.add_argument(
            name, metavar="FILE", help=f"PEM file of {what}, for tls://; default: that of Dask's configuration"
        )


def _certificates(address: str, arguments: argparse.Namespace) -> dict[str, str] | None:
    """Return the files for an address, of the options or of Dask's configuration; Invalid where one is missing."""
    files = {name: getattr(arguments, name, None) for name in ("ca", "cert", "key")}
    if address.startswith("tls://"):
        if not any(files.values()):
            files = _of_dask()
        missing = [f"--{name}" for name, path in files.items() if not path]
        if missing:
            raise Invalid(
                "tls",
                f"A tls:// address needs certificate files, and there is no {' and no '.join(missing)}",
                "Give --ca, --cert and --key, or set them in Dask's configuration (distributed.comm.tls); "
                "`coiled-jupyter cluster attach` keeps them under a name",
            )
    found = {f"{name}_file": str(Path(path).expanduser().absolute()) for name, path in files.items() if path}
    return found or None


def _of_dask() -> dict[str, str | None]:
    """Return the files that Dask's configuration names for clients; a certificate that isn't in a file has none."""
    with bringing():
        import dask.config

    names = {"ca": "ca-file", "cert": "client.cert", "key": "client.key"}
    told = {name: dask.config.get(f"distributed.comm.tls.{key}", None) for name, key in names.items()}
    files = {name: path if isinstance(path, str) and "\n" not in path else None for name, path in told.items()}
    # Dask lets a key stand in the file of its certificate.
    return {**files, "key": files["key"] or files["cert"] if told["key"] is None else files["key"]}


async def _met(service: Service, cluster: Cluster) -> Cluster:
    """Return an attached cluster once it is known whether it can be reached."""
    deadline = time.monotonic() + ATTACH_SECONDS
    with doing(f"Waiting for the scheduler of {cluster.name}"):
        while cluster.status == "starting" and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            cluster = service.clusters.get(cluster.id)
    return cluster


@contextlib.asynccontextmanager
async def meant(service: Service, arguments: argparse.Namespace) -> AsyncIterator[Cluster]:
    """Yield the cluster that is meant; one at an address is attached for the length of the block if it isn't yet.

    Without a name it is the one of which this process has a client, as a notebook has, else the only one.
    """
    name: str | None = arguments.cluster
    own = schedulers()
    if name is None and own:
        identity, address = own[0]
        listed = {cluster.scheduler.id: cluster.id for cluster in service.clusters.all() if cluster.scheduler}
        name = listed.get(identity) or (address if address.startswith("tcp://") else None)
        if name is None:
            # Its certificates are in this process's memory alone, and another cluster is not meant.
            raise NotFound(
                f"This notebook's client is connected to {address}, which can't be reached without it",
                "Look at the panel, which reads it through the client, or name another cluster with --cluster",
            )
    try:
        known = service.clusters.find(name)
    except NotFound:
        if name is None or "://" not in name:
            raise
        known = None
    if known is not None:
        yield known
        return
    raw = given(address=name, tls=_certificates(str(name), arguments))
    attached = await service.clusters.attach(body(raw, ClusterAttach))
    try:
        yield await _met(service, attached)
    finally:
        await service.clusters.delete(attached.id)


async def _list(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    out.value(service.clusters.all())
    tell_clusters(service.clusters.all(), out)
    return DONE


async def _stop(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    cluster = service.clusters.find(arguments.cluster)
    await service.clusters.delete(cluster.id)
    if cluster.source == "attached" or cluster.joined:
        out.value(cluster)
        out.line(f"{cluster.name} is detached and continues to run")
        return DONE
    deadline = time.monotonic() + STOP_SECONDS
    with doing(f"Waiting until {cluster.name} has stopped"):
        while cluster.status not in ENDED:
            await asyncio.sleep(0.05)
            cluster = service.clusters.get(cluster.id)
            if time.monotonic() > deadline:
                raise Timeout(
                    f"{cluster.name} is still stopping after {STOP_SECONDS:.0f} s",
                    "Look again with `coiled-jupyter status`",
                )
    out.value(cluster)
    out.line(f"{cluster.name} is {cluster.status}")
    return DONE


async def _scale(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    return await _change(service, arguments, out, {"workers": arguments.workers}, arguments.workers)


async def _adapt(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    if arguments.off:
        return await _change(service, arguments, out, {"adaptive": None})
    if arguments.maximum is None:
        raise Invalid("maximum", "Give --maximum, or --off to end it")
    bounds = {"minimum": arguments.minimum, "maximum": arguments.maximum}
    return await _change(service, arguments, out, {"adaptive": bounds}, arguments.maximum)


async def _rename(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    return await _change(service, arguments, out, {"name": arguments.name})


async def _keep(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    return await _change(service, arguments, out, {"lease_seconds": arguments.seconds})


async def _change(
    service: Service, arguments: argparse.Namespace, out: Output, raw: dict[str, Any], asked: int | None = None
) -> int:
    changed = await service.clusters.change(service.clusters.find(arguments.cluster).id, body(raw, ClusterChange))
    out.value(changed)
    tell_clusters([service.clusters.get(changed.id)], out)
    if changed.granted is not None:
        out.line(
            f"  {counted(asked or 0, 'worker', f'{changed.granted} of ')}: the limit of {changed.limit} cores allows no more"
        )
    return DONE


async def _restart(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    before = service.clusters.find(arguments.cluster)
    cluster = await service.clusters.restart(before.id, ClusterRestart(what=arguments.what))
    out.value(cluster)
    out.line(f"{cluster.name}: {'its workers restart' if arguments.what == 'workers' else 'it restarts'}")
    return DONE


async def _logs(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    cluster = service.clusters.find(arguments.cluster)
    after: str | None = None
    while True:
        logs = await service.clusters.logs(cluster.id, node=arguments.node, after=after)
        after = logs.next
        out.value(logs)
        for line in logs.lines:
            out.line(f"{line.node}: {line.text}")
        if not arguments.follow:
            return DONE
        with doing(""):
            await asyncio.sleep(0.5)


def workers_of(cluster: Cluster) -> str:
    """Return how many workers a cluster has, of how many where we start them."""
    if cluster.source == "managed":
        return counted(cluster.desired.workers, "worker", f"{len(cluster.workers)} of ")
    return counted(len(cluster.workers), "worker")


def tell_clusters(clusters: Sequence[Cluster], out: Output) -> None:
    """Print one line per cluster."""
    if not clusters:
        out.line("No clusters. Create one with `coiled-jupyter cluster create`")
    for cluster in clusters:
        seen = age(cluster.seen_at)
        address = cluster.scheduler.address if cluster.scheduler else "-"
        seen_text = "" if seen is None or cluster.status in ENDED else f"  seen {seen:.0f} s ago"
        out.line(f"{cluster.id}  {cluster.name}  {cluster.status}  {workers_of(cluster)}  {address}{seen_text}")
        if cluster.reason:
            out.line(f"  {cluster.reason}")


_VERBS: Mapping[str, Callable[[Service, argparse.Namespace, Output], Awaitable[int]]] = {
    "create": _create,
    "attach": _attach,
    "offers": _offers,
    "list": _list,
    "scale": _scale,
    "adapt": _adapt,
    "restart": _restart,
    "rename": _rename,
    "keep": _keep,
    "logs": _logs,
    "stop": _stop,
}
