"""The commands `sync` and `undo`: the plan, a question, progress, and the result, as the panel shows them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..activity import doing
from ..core import wire
from ..core.change.afterwards import headline, sentence
from ..core.change.journal import FINAL
from ..core.change.state import BASE
from ..core.errors import CoiledError, Conflict, Invalid, NotFound
from ..core.wire import Cluster, Layer, Plan, PlanCreate, Sync
from ..links.this_process import schedulers
from ..service.facade import Service
from ..service.plans.held import check_usable
from .base import Output, body, counted, running
from .clusters import meant

FOUND_SECONDS = 3.0
"""How long a cluster of which this process has a client is looked for."""
_KINDS = {
    "install": ("+", "installed"),
    "upgrade": ("↑", "upgraded"),
    "downgrade": ("↓", "downgraded"),
    "remove": ("-", "removed"),
    "build": ("⚒", "built from the notebook's code"),
    "refuse": ("✕", "can't be done"),
}
_REMAINING = 5
"""Differences that stay and are named; the others are counted."""
_AGREEMENTS = {
    "lost_results": ("--lose-results", "results would be lost"),
    "plain_connection": ("--plain-connection", "credentials of the index would cross a connection without TLS"),
}


def add(command: Callable[..., argparse.ArgumentParser], commands: Any) -> None:
    """Add both commands to a parser."""
    sync = command(
        commands,
        "sync",
        "give a running cluster this Python's packages",
        "numpy --cluster mine --dry-run",
        wire.Plan,
        wire.Sync,
        wire.SoftwareInstalled,
    )
    sync.add_argument(
        "packages", nargs="*", metavar="PKG", help="only these packages (default: what matters to the notebook)"
    )
    sync.add_argument(
        "--to-kernel",
        action="store_true",
        help="the other way: a new Jupyter kernel that has the workers' packages; this one stays as it is",
    )
    sync.add_argument(
        "--all",
        action="store_true",
        help="all packages that differ (the default where no notebook runs, as in a shell)",
    )
    sync.add_argument("--rated", action="store_true", help="only packages with severity breaks or risky")
    sync.add_argument("--remove-extra", action="store_true", help="also remove packages that only the cluster has")
    sync.add_argument("--cluster", metavar="X", help="name or id (default: the only cluster)")
    sync.add_argument("--software", metavar="NAME", help="the packages of a software environment instead")
    sync.add_argument(
        "--drain-seconds",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds that running tasks may take to end (default: 120)",
    )
    sync.add_argument("--dry-run", action="store_true", help="print the plan and exit")
    _agree(sync)
    undo = command(
        commands,
        "undo",
        "undo the last sync of a cluster",
        "--cluster mine --list",
        list[wire.Layer],
        wire.Plan,
        wire.Sync,
    )
    undo.add_argument("--cluster", metavar="X", help="name or id (default: the only cluster)")
    undo.add_argument("--to", metavar="LAYER", help=f"an earlier state, or {BASE}; --list shows them")
    undo.add_argument("--list", action="store_true", help="list earlier states and exit")
    undo.add_argument("--dry-run", action="store_true", help="print the plan and exit")
    _agree(undo)


def _agree(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="don't ask for confirmation")
    parser.add_argument("--lose-results", action="store_true", help="continue even if results are lost")
    parser.add_argument("--plain-connection", action="store_true", help="send credentials of the index without TLS")


async def sync(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Plan, ask, carry out and wait; 0 where it is done or nothing is to do, 1 where it failed."""
    if sum(map(bool, (arguments.packages, arguments.rated, arguments.all))) > 1:
        raise Invalid("packages", "Name packages, or use --rated or --all, but only one of these")
    # A new kernel is to be as the workers, whatever this notebook uses.
    default = "all" if arguments.all or arguments.to_kernel else "notebook"
    scope: Any = tuple(arguments.packages) or ("rated" if arguments.rated else default)
    if arguments.to_kernel:
        return await _to_kernel(service, arguments, out, scope)
    raw = {
        "cluster": (await _meant(service, arguments.cluster)).id,
        "scope": scope,
        "remove_extra": arguments.remove_extra,
        "drain_seconds": arguments.drain_seconds,
    }
    if arguments.software is not None:
        raw["from"] = {"software": arguments.software}
    return await _plan_and_run(service, arguments, out, raw)


async def _meant(service: Service, name: str | None) -> Cluster:
    """Return the cluster of this name; without one, that of which this process has a client, as a notebook has."""
    own = schedulers()
    deadline = time.monotonic() + (FOUND_SECONDS if own else 0.0)
    while True:
        mine = [c for c in service.clusters.all() if own and c.scheduler and c.scheduler.id == own[0][0]]
        if name is None and mine:
            return mine[0]
        try:
            found = service.clusters.find(name)
        except CoiledError:
            if time.monotonic() > deadline:
                raise
        else:
            if name is not None or time.monotonic() > deadline:
                return found
        await asyncio.sleep(0.05)


async def _to_kernel(service: Service, arguments: argparse.Namespace, out: Output, scope: Any) -> int:
    """Plan a kernel with the workers' packages, ask, and make it; 0 if it is done or there is nothing to do."""
    if arguments.software is not None:
        raise Invalid("software", "With --to-kernel the packages are the workers'", "Leave --software out")
    async with meant(service, arguments) as cluster:
        raw = {"cluster": cluster.id, "scope": scope, "direction": "to_kernel"}
        with doing("Planning the kernel"):
            planned = await service.changing.plan_kernel(body(raw, PlanCreate))
    _tell_plan(planned.plan, out)
    if arguments.dry_run or planned.plan.how == "nothing":
        out.value(planned.plan)
        return 1 if planned.plan.how == "refused" else 0
    check_usable(planned.plan)
    if not arguments.yes and not await out.confirmed("Make this kernel?", planned.plan):
        return 1
    out.note("Building it, then starting it once: that takes a while")
    with doing(f"Building and starting {planned.name}"):
        made = await service.changing.make_kernel(planned)
    out.value(made)
    out.line(f"✓ The Jupyter kernel {planned.name} (Coiled) starts and has exactly the planned packages")
    out.line("  Choose it in the notebook's menu Kernel, Change Kernel…; the present environment is as it was")
    out.line(f"  Undo: jupyter kernelspec remove {made.kernel}, and coiled-jupyter software delete {planned.name}")
    return 0


async def undo(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Go back to the state before the last sync, or to a chosen one."""
    cluster = service.clusters.find(arguments.cluster)
    known = [layer for layer in await service.changing.layers() if cluster.id in layer.known_by]
    if arguments.list:
        out.value(known)
        _tell_layers(known, cluster.environment.layer or BASE, out)
        return 0
    target = arguments.to
    if target is None:
        last = next((s for s in await service.changing.syncs() if s.cluster == cluster.id and s.state == "done"), None)
        if last is None or last.layer != cluster.environment.layer or last.undone_by is not None:
            raise NotFound("There is no sync of this cluster to undo", "Choose a state with --to; --list shows them")
        target = last.layer_before or BASE
    raw = {"cluster": cluster.id, "from": {"layer": target}}
    return await _plan_and_run(service, arguments, out, raw)


async def _plan_and_run(service: Service, arguments: argparse.Namespace, out: Output, raw: dict[str, Any]) -> int:
    agreed = [name for name, (flag, _) in _AGREEMENTS.items() if getattr(arguments, flag[2:].replace("-", "_"))]
    with doing("Planning the sync"):
        plan = await service.changing.plan(body({**raw, "confirm": agreed}, PlanCreate))
    _tell_plan(plan, out)
    if arguments.dry_run or plan.how == "nothing":
        out.value(plan)
        return 1 if plan.how == "refused" else 0
    missing = [f"{_AGREEMENTS[need][1]} (agree with {_AGREEMENTS[need][0]})" for need in plan.needs]
    if missing:
        raise Conflict(f"This needs your agreement: {'; '.join(missing)}", "Nothing was changed")
    check_usable(plan)
    if not arguments.yes and not await out.confirmed("Go on?", plan):
        return 1
    done = await _follow(service, await service.changing.sync(plan.id), out)
    out.value(done)
    if done.result is not None:
        out.line(f"{'✓' if done.state == 'done' else '✕'} {done.result.text}")
        for group in done.result.groups:
            out.line(
                f"  {'✓' if group.verified else '✕'} {len(group.nodes)} {group.role} on {group.host}: {group.text}"
            )
    return 0 if done.state == "done" else 1


async def _follow(service: Service, sync: Sync, out: Output) -> Sync:
    said = 0
    try:
        with doing("Carrying out the sync") as activity:
            while True:
                sync = await service.changing.find_sync(sync.id)
                new = max(sync.log.next - said, 0)
                for line in sync.log.lines[-new:] if new else ():
                    out.note(f"    {line}")
                said = sync.log.next
                out.steps(sync.steps)
                if sync.state in FINAL:
                    return sync
                activity.now(running(sync.steps))
                await asyncio.sleep(0.1)
    except asyncio.CancelledError:
        # An interrupt: what was begun goes back by itself; the supervisor sees to it without this command.
        with contextlib.suppress(CoiledError):
            await service.changing.cancel(sync.id)
            out.note(
                "Cancelled: the old state comes back"
                if sync.undoable
                else "Cancelled: workers that had restarted run what is installed now, the others are as they were"
            )
        raise


def _tell_plan(plan: Plan, out: Output) -> None:
    """Print a plan: what stays wrong, totals, what is lost, what restarts, then the packages, the worst first."""
    if plan.remaining:
        out.line(f"{headline(plan.remaining)}:")
        for left in plan.remaining[:_REMAINING]:
            mark = "✕" if left.severity == "breaks" else "!"
            out.line(f"  {mark} {sentence(left)}. {left.why}".rstrip())
        if len(plan.remaining) > _REMAINING:
            out.line(f"  and {len(plan.remaining) - _REMAINING} more")
    if plan.how == "nothing":
        who = "this environment" if plan.direction == "to_kernel" else "the cluster"
        out.line(f"There is nothing to do: {who} has these packages already")
        _tell_outside(plan, out)
        return
    totals = plan.totals
    packages = _counts(
        (totals.change, "change"),
        (totals.install, "install"),
        (totals.remove, "remove"),
        (totals.refuse, "can't be done"),
    )
    if packages:
        out.line(f"Packages: {packages}")
    _tell_effects(plan, out)
    _tell_actions(plan, out)
    _tell_outside(plan, out)


def _counts(*counts: tuple[int, str]) -> str:
    """Return the counts that aren't zero, each with what it counts."""
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _tell_outside(plan: Plan, out: Output) -> None:
    """Print what the plan leaves as it is, and how to have it too."""
    totals = plan.totals
    if totals.outside:
        verb = "differs and stays as it is" if totals.outside == 1 else "differ and stay as they are"
        out.line(f"{counted(totals.outside, 'other package')} {verb}; --all has them too")
    if totals.extra and not any(action.cause == "absent" for action in plan.actions):
        verb = "stays" if totals.extra == 1 else "stay"
        out.line(f"{counted(totals.extra, 'extra package')} {verb} on the cluster; --remove-extra removes them")


def _tell_actions(plan: Plan, out: Output) -> None:
    seen: set[tuple[object, ...]] = set()
    told = {left.name for left in plan.remaining[:_REMAINING]}
    for action in plan.actions:
        if action.kind == "refuse" and action.name in told:
            continue
        key = (action.kind, action.name, action.before, action.after, action.why)
        if key in seen:
            continue
        seen.add(key)
        mark, what = _KINDS[action.kind]
        versions = f"{action.before or '-'} → {action.after or '-'}" if action.before or action.after else ""
        rated = f" [{action.severity}]" if action.severity in ("breaks", "risky") else ""
        out.line(f"{mark} {action.name}  {versions}{rated}  {what}. {action.why}".rstrip())
    if any(action.details for action in plan.actions):
        out.line("The resolver's own words are in the answer of --json")


def _tell_effects(plan: Plan, out: Output) -> None:
    """Print what is lost, what restarts, and roughly how long it takes."""
    lost = plan.lost
    if plan.how in ("roll", "replace", "in_place"):
        what = _counts(
            (lost.futures, "results"),
            (lost.scattered, "scattered values"),
            (lost.running, "running tasks"),
            (lost.actors, "actors"),
        )
        out.line(f"Lost: {what}. {lost.why}" if what else "Nothing is lost.")
        for line in (*plan.restarts, *(way.text for way in plan.scheduler), *plan.waits):
            out.line(line)
        if plan.others:
            out.line(f"Others use this cluster too: {counted(len(plan.others), 'client')}")
        out.line(f"About {plan.seconds:.0f} s")
    elif plan.how == "build":
        out.line("A new environment with a Jupyter kernel gets these packages; this one isn't changed")


def _tell_layers(layers: Sequence[Layer], present: str, out: Output) -> None:
    if not layers:
        out.line("No state but the present one is known")
    for layer in layers:
        mark = "*" if layer.id == present else " "
        size = sum(place.size or 0 for place in layer.places)
        out.line(f"{mark} {layer.id}  {counted(layer.packages, 'package')}  {size / 1e6:.0f} MB  used {layer.used_at}")
