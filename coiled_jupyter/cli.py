"""The `coiled-jupyter` command: status, diff and clusters without a browser, on the same service as the server.

Exit codes: 0 done (diff: no row at or above --fail-on), 1 such rows or a failure, 2 usage, 3 could not read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import cli_software, cli_sync
from .cli_base import body, given, print_json
from .configuration import read as read_configuration
from .core.cluster import age
from .core.errors import CoiledError, Invalid, NotFound, Timeout, Unavailable
from .core.wire import (
    Cluster,
    ClusterAttach,
    ClusterChange,
    ClusterCreate,
    ClusterRestart,
    Diff,
    ExplainRequest,
    Explanation,
    Row,
)
from .service import ENDED, Service

DONE, FAILED, USAGE, UNREAD = 0, 1, 2, 3
_TEXT_LIMIT = 200_000
CONTENT_SECONDS = 20.0
ATTACH_SECONDS = 15.0
_ORDER = ("block", "warn", "note", "ok")
_MARKS = {"block": "✕", "warn": "!", "note": "+", "ok": "✓"}
_VERDICTS = {
    "breaks": "✕ These differences will break tasks",
    "differs": "! There are differences",
    "equal": "✓ Equal",
    "unknown": "? Unknown: not everything could be read",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="coiled-jupyter",
        description="See how this Python's libraries and a Dask cluster's differ, and run clusters that match.",
        epilog="Example: coiled-jupyter cluster create --requirement numpy==1.26.4 && coiled-jupyter diff",
    )
    top.add_argument("--version", action="store_true", help="print the version and leave")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _command(commands, "status", "clusters and core usage (the default)")
    diff = _command(commands, "diff", "compare this interpreter with a cluster")
    diff.add_argument("--cluster", metavar="X", help="name or id; the only one if left out")
    diff.add_argument("--software", metavar="NAME", help="show what a software environment has beside it")
    diff.add_argument("--all", action="store_true", help="print equal packages too")
    diff.add_argument(
        "--fail-on", choices=("block", "warn", "note"), default="warn", help="least severity that exits with 1"
    )
    explain = _command(commands, "explain", "name the differences behind a traceback or a warning of Dask's")
    explain.add_argument("file", nargs="?", metavar="FILE", help="a file with its text; standard input if left out")
    explain.add_argument("--cluster", metavar="X", help="name or id; the only one if left out")
    cli_sync.add(_command, commands)
    cli_software.add(_command, commands)
    cluster = commands.add_parser("cluster", help="create, list and stop clusters")
    verbs = cluster.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = _command(verbs, "create", "start a local cluster")
    create.add_argument("name", nargs="?", help="a name of your own")
    create.add_argument("--workers", type=int, metavar="N", help="workers to begin with; 2 if left out")
    create.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each worker")
    create.add_argument("--memory", metavar="SIZE", help="memory of each worker, such as 4GiB")
    create.add_argument(
        "--requirement", action="append", metavar="REQ", help="a package of its environment, such as numpy==1.26.4"
    )
    create.add_argument("--python", metavar="X.Y", help="Python of that environment")
    create.add_argument("--software", metavar="NAME", help="a software environment instead")
    create.add_argument(
        "--adaptive", nargs=2, type=int, metavar=("MIN", "MAX"), help="let it grow and shrink with its work"
    )
    create.add_argument(
        "--env",
        action="append",
        metavar="NAME[=VALUE]",
        help="a variable for its workers; without a value this shell's",
    )
    create.add_argument("--no-wait", action="store_true", help="return before it runs")
    attach = _command(verbs, "attach", "follow a cluster that somebody else runs")
    attach.add_argument("address", metavar="ADDRESS", help="such as tcp://10.0.0.7:8786 or tls://host:8786")
    attach.add_argument("--name", metavar="NAME", help="a name of your own")
    attach.add_argument("--ca", metavar="FILE", help="PEM file of the authority, for tls://")
    attach.add_argument("--cert", metavar="FILE", help="PEM file of the client's certificate")
    attach.add_argument("--key", metavar="FILE", help="PEM file of its key")
    _command(verbs, "list", "list clusters")
    scale = _command(verbs, "scale", "give a cluster a fixed number of workers")
    scale.add_argument("workers", type=int, metavar="N", help="workers; as many as the limit allows")
    scale.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    adapt = _command(verbs, "adapt", "let a cluster grow and shrink with its work")
    adapt.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    adapt.add_argument("--minimum", type=int, default=0, metavar="N", help="workers that always stay")
    adapt.add_argument("--maximum", type=int, metavar="N", help="workers at most")
    adapt.add_argument("--off", action="store_true", help="keep the number of workers that it has now")
    restart = _command(verbs, "restart", "start the workers of a cluster anew, or all of it at the same address")
    restart.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    restart.add_argument("--what", choices=("workers", "cluster"), default="workers", help="default: workers")
    rename = _command(verbs, "rename", "give a cluster another name")
    rename.add_argument("cluster", metavar="X", help="name or id")
    rename.add_argument("name", metavar="NAME", help="its new name")
    keep = _command(verbs, "keep", "choose how long a cluster lives on when nobody holds it")
    keep.add_argument("seconds", type=float, metavar="SECONDS", help="such as 3600")
    keep.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    logs = _command(verbs, "logs", "print what the processes of a cluster have printed")
    logs.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    logs.add_argument("--node", metavar="NAME", help="scheduler, or the name of a worker; all if left out")
    logs.add_argument("--follow", action="store_true", help="go on until interrupted")
    stop = _command(verbs, "stop", "stop a cluster, take an ended one off the list, or let go of an attached one")
    stop.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    return top


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.add_argument("--json", action="store_true", help="print exactly the JSON of the REST API")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    if arguments.version:
        from . import __version__

        print(f"coiled-jupyter {__version__}")
        return DONE
    try:
        return asyncio.run(_run(arguments))
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    except CoiledError as error:
        if getattr(arguments, "json", False):
            print_json(error.to_wire())
        else:
            field = str(error.data.get("field", ""))
            where = f"{field}: " if field and field not in error.message else ""
            hint = f"\n  {error.hint}" if error.hint else ""
            print(f"coiled-jupyter: {where}{error.message}{hint}", file=sys.stderr)
        if isinstance(error, Invalid):
            return USAGE
        return UNREAD if isinstance(error, (NotFound, Unavailable, Timeout)) else FAILED


async def _run(arguments: argparse.Namespace) -> int:
    service = Service(read_configuration())
    await service.start()
    try:
        await _settle(service)
        command = arguments.command or "status"
        if command in ("sync", "undo"):
            return await {"sync": cli_sync.sync, "undo": cli_sync.undo}[command](service, arguments)
        if command == "software":
            return await cli_software.run(service, arguments)
        if command == "cluster":
            return await _VERBS[arguments.verb](service, arguments)
        return await {"status": _status, "diff": _diff, "explain": _explain}[command](service, arguments)
    finally:
        # The command only visits: clusters live on by their lease.
        await service.close(release=False)


async def _settle(service: Service) -> None:
    """Give the first snapshots of live clusters a moment to arrive."""
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        live = [c for c in service.clusters() if c.status not in ENDED]
        if all(service.followed(c.id) for c in live):
            return
        await asyncio.sleep(0.02)


async def _status(service: Service, arguments: argparse.Namespace) -> int:
    usage = service.usage()
    if getattr(arguments, "json", False):
        print_json(usage)
        return DONE
    cores = usage.cores
    print(f"Cores: {cores.busy} busy, {cores.allocated} allocated, {cores.requested} requested, limit {cores.limit}")
    _print_clusters(service.clusters())
    return DONE


async def _diff(service: Service, arguments: argparse.Namespace) -> int:
    diff = await _compared(service, service.find(arguments.cluster).id, arguments.software)
    if arguments.json:
        print_json(diff)
    else:
        _print_diff(diff, everything=arguments.all, software=arguments.software)
    limit = _ORDER.index(arguments.fail_on)
    if any(_ORDER.index(row.severity) <= limit for row in diff.rows):
        return FAILED
    return UNREAD if diff.verdict == "unknown" else DONE


async def _compared(service: Service, cluster_id: str, software: str | None) -> Diff:
    """Return a diff for which the files were looked at too, as far as that ends in time."""
    deadline = time.monotonic() + CONTENT_SECONDS
    while True:
        diff = await service.diff(cluster_id, software=software)
        waiting = diff.verdict == "unknown" and diff.level == "all" and not diff.unread and not diff.checked.content
        if not waiting or time.monotonic() > deadline:
            return diff
        await asyncio.sleep(0.2)


async def _explain(service: Service, arguments: argparse.Namespace) -> int:
    # In a thread, since standard input may wait for a person.
    text = await asyncio.to_thread(_text, arguments.file)
    explanation = await service.explain(
        body({"cluster": service.find(arguments.cluster).id, "text": text}, ExplainRequest)
    )
    if arguments.json:
        print_json(explanation)
    else:
        _print_explanation(explanation)
    return UNREAD if explanation.verdict == "unknown" and not explanation.causes else DONE


def _text(path: str | None) -> str:
    """Return what is to be explained, of a file or of standard input."""
    if path is None and sys.stdin is not None and sys.stdin.isatty():
        print("Paste the traceback, then press Ctrl-D", file=sys.stderr)
    try:
        # One character more than is allowed, so that a longer text is refused and not cut.
        with open(
            path if path is not None else 0, encoding="utf-8", errors="replace", closefd=path is not None
        ) as file:
            return file.read(_TEXT_LIMIT + 1)
    except (OSError, ValueError):
        raise Invalid("file", f"{path or 'Standard input'} can't be read", "Name a file with the traceback") from None


async def _create(service: Service, arguments: argparse.Namespace) -> int:
    raw = {
        "name": arguments.name,
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
    cluster = await service.create(body(given(**raw), ClusterCreate))
    shown: set[str] = set()
    while not arguments.no_wait and cluster.status == "starting":
        await asyncio.sleep(0.1)
        cluster = service.cluster(cluster.id)
        if not arguments.json:
            _print_steps(cluster, shown)
    if arguments.json:
        print_json(cluster)
    elif cluster.status == "failed":
        print(f"coiled-jupyter: {cluster.name} failed: {cluster.reason}", file=sys.stderr)
    else:
        _print_clusters([cluster])
    return FAILED if cluster.status in ENDED else DONE


def _variable(text: str) -> tuple[str, str]:
    """Return name and value; a value that others mustn't see in a list of processes comes from this shell's own."""
    name, sign, value = text.partition("=")
    if not sign and name not in os.environ:
        raise Invalid("env", f"There is no variable {name} here", "Set it, or give NAME=VALUE")
    return name, value if sign else os.environ[name]


async def _attach(service: Service, arguments: argparse.Namespace) -> int:
    raw: dict[str, Any] = {"address": arguments.address, "name": arguments.name}
    files = {"ca_file": arguments.ca, "cert_file": arguments.cert, "key_file": arguments.key}
    if any(files.values()):
        raw["tls"] = {key: str(Path(path).absolute()) for key, path in files.items() if path}
    cluster = await service.attach(body(given(**raw), ClusterAttach))
    deadline = time.monotonic() + ATTACH_SECONDS
    while cluster.status == "starting" and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        cluster = service.cluster(cluster.id)
    if arguments.json:
        print_json(cluster)
    else:
        _print_clusters([cluster])
    return UNREAD if cluster.status in ("starting", "unreachable") else DONE


async def _list(service: Service, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json(service.clusters())
    else:
        _print_clusters(service.clusters())
    return DONE


async def _stop(service: Service, arguments: argparse.Namespace) -> int:
    cluster = service.find(arguments.cluster)
    await service.delete(cluster.id)
    if cluster.source == "attached":
        if arguments.json:
            print_json(cluster)
        else:
            print(f"{cluster.name} is no longer followed; it goes on")
        return DONE
    deadline = time.monotonic() + 30
    while cluster.status not in ENDED:
        await asyncio.sleep(0.05)
        cluster = service.cluster(cluster.id)
        if time.monotonic() > deadline:
            raise Timeout(f"{cluster.name} is still stopping after 30 s", "Look again with `coiled-jupyter status`")
    if arguments.json:
        print_json(cluster)
    else:
        print(f"{cluster.name} is {cluster.status}")
    return DONE


async def _scale(service: Service, arguments: argparse.Namespace) -> int:
    return await _change(service, arguments, {"workers": arguments.workers}, arguments.workers)


async def _adapt(service: Service, arguments: argparse.Namespace) -> int:
    if arguments.off:
        return await _change(service, arguments, {"adaptive": None})
    if arguments.maximum is None:
        raise Invalid("maximum", "Give --maximum, or --off to end it")
    bounds = {"minimum": arguments.minimum, "maximum": arguments.maximum}
    return await _change(service, arguments, {"adaptive": bounds}, arguments.maximum)


async def _rename(service: Service, arguments: argparse.Namespace) -> int:
    return await _change(service, arguments, {"name": arguments.name})


async def _keep(service: Service, arguments: argparse.Namespace) -> int:
    return await _change(service, arguments, {"lease_seconds": arguments.seconds})


async def _change(
    service: Service, arguments: argparse.Namespace, raw: dict[str, Any], asked: int | None = None
) -> int:
    changed = await service.change(service.find(arguments.cluster).id, body(raw, ClusterChange))
    if arguments.json:
        print_json(changed)
        return DONE
    _print_clusters([service.cluster(changed.id)])
    if changed.granted is not None:
        print(f"  {changed.granted} of {asked} workers: the limit of {changed.limit} cores allows no more")
    return DONE


async def _restart(service: Service, arguments: argparse.Namespace) -> int:
    before = service.find(arguments.cluster)
    cluster = await service.restart(before.id, ClusterRestart(what=arguments.what))
    if arguments.json:
        print_json(cluster)
    else:
        print(f"{cluster.name}: {'its workers start' if arguments.what == 'workers' else 'it starts'} anew")
    return DONE


async def _logs(service: Service, arguments: argparse.Namespace) -> int:
    cluster = service.find(arguments.cluster)
    after: str | None = None
    while True:
        logs = await service.logs(cluster.id, node=arguments.node, after=after)
        after = logs.next
        if arguments.json:
            print_json(logs)
        else:
            for line in logs.lines:
                print(f"{line.node}: {line.text}", flush=arguments.follow)
        if not arguments.follow:
            return DONE
        await asyncio.sleep(0.5)


_VERBS = {
    "create": _create,
    "attach": _attach,
    "list": _list,
    "scale": _scale,
    "adapt": _adapt,
    "restart": _restart,
    "rename": _rename,
    "keep": _keep,
    "logs": _logs,
    "stop": _stop,
}


def _print_steps(cluster: Cluster, shown: set[str]) -> None:
    for step in cluster.steps:
        if step.state in ("done", "failed") and step.name not in shown:
            shown.add(step.name)
            print(f"{'✓' if step.state == 'done' else '✕'} {step.name}  {step.seconds or 0:.1f} s", file=sys.stderr)


def _print_clusters(clusters: Sequence[Cluster]) -> None:
    if not clusters:
        print("No clusters. Make one with `coiled-jupyter cluster create`")
    for cluster in clusters:
        seen = age(cluster.seen_at)
        address = cluster.scheduler.address if cluster.scheduler else "-"
        workers = f"{len(cluster.workers)} workers"
        if cluster.source == "managed":
            workers = f"{len(cluster.workers)} of {cluster.desired.workers} workers"
        seen_text = "" if seen is None or cluster.status in ENDED else f"  seen {seen:.0f} s ago"
        print(f"{cluster.id}  {cluster.name}  {cluster.status}  {workers}  {address}{seen_text}")
        if cluster.reason:
            print(f"  {cluster.reason}")


def _print_diff(diff: Diff, *, everything: bool, software: str | None) -> None:
    print(f"{diff.kernel.label} · Python {diff.kernel.python}  against  {diff.cluster.name}")
    print(_VERDICTS[diff.verdict])
    for unread in diff.unread:
        print(f"? {unread.node}: {unread.reason}")
    rows = [row for row in diff.rows if everything or row.severity != "ok"]
    table = [("", "Package", "Here", "Cluster", software or "", "Why"), *(_cells(row) for row in rows)]
    # The third column is there where it was asked for.
    columns = [i for i in range(6) if i != 4 or software is not None]
    widths = [max(len(line[i]) for line in table) for i in range(5)] + [0]
    for line in table if rows else ():
        print("  ".join(line[i].ljust(widths[i]) for i in columns).rstrip())
    print(", ".join(f"{getattr(diff.severities, severity)} {severity}" for severity in _ORDER))


def _print_explanation(explanation: Explanation) -> None:
    print(explanation.text)
    for cause in explanation.causes:
        print(f"{_MARKS[cause.row.severity]} {cause.row.name}: {cause.why}")
        print(f"    seen: {cause.evidence}")
        print(f"    fix:  {cause.row.fix}")


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    versions = sorted({group.version or "-" for group in row.groups})
    cluster = versions[0] if len(versions) == 1 else " / ".join(versions)
    here = row.kernel.version if row.kernel else "-"
    software = row.software.version if row.software else "-"
    return _MARKS[row.severity], row.name, here, cluster or "-", software, row.why


if __name__ == "__main__":
    sys.exit(main())
