"""Runs in a scheduler: counts what its workers hold and take part in, and does the steps of a roll without a Dask handler.

Kept in the scheduler's process; ``call(verb, identity, …)`` returns one JSON text, `identity` is the scheduler's id. Nothing
blocks its event loop for more than a few milliseconds: all tasks are visited in pieces. The text ``gateway`` is in ``OTHERS``.

Rules: Python 3.8, standard library only, never raises.
"""

import asyncio
import inspect
import itertools
import json
import os
import re
import sys
import time

OTHERS = {}
PIECE_SECONDS = 0.008
WALKS = 8
GET_SHUFFLE = "shuffle_get_or_create"
KEY = "_coiled_jupyter_entries"
LAYER = "coiled-jupyter-layer"
SEAL = "coiled-jupyter-seal"
INSTALLER = re.compile(r"(?:Pip|Conda|Package)Install-|InstallPlugin-|(?:pip|conda)-install-|(?:pip|conda)\Z")
PLUGINS = 20
_walks = {}
_numbers = itertools.count(1)


def _about(scheduler):
    """Return where the scheduler runs, and which arguments its handlers accept."""
    import distributed

    idempotent = []
    for plugin in ("nanny", "worker"):
        handler = scheduler.handlers.get("register_%s_plugin" % plugin)
        try:
            idempotent.append("idempotent" in inspect.signature(handler).parameters)
        except (TypeError, ValueError):
            idempotent.append(False)
    return {
        "host": os.uname().nodename if hasattr(os, "uname") else "",
        "pid": os.getpid(),
        "distributed": distributed.__version__,
        "idempotent": idempotent[0],
        "idempotent_worker": idempotent[1],
        "registered": LAYER in getattr(scheduler, "nanny_plugins", (LAYER,)),
        "sealing": SEAL in getattr(scheduler, "worker_plugins", ()),
        "installers": _installers(scheduler),
    }


def _installers(scheduler):
    """Return ``{name: whether nannies run it}`` of plugins that install packages where a worker starts: ``PipInstall``."""
    found = {}
    # Only its name tells what a plugin does, for it is pickled.
    for nannies, attribute in ((False, "worker_plugins"), (True, "nanny_plugins")):
        for name in list(getattr(scheduler, attribute, ()))[:1000]:
            if INSTALLER.match(str(name)) and len(found) < PLUGINS:
                found[str(name)[:200]] = nannies
    return found


def _active(scheduler):
    """Return the addresses of the workers of each active p2p shuffle; where Dask doesn't tell of any, none."""
    found = []
    try:
        plugin = getattr(scheduler, "plugins", {}).get("shuffle") or scheduler.extensions.get("shuffle")
        shuffles = getattr(plugin, "active_shuffles", None)
        # Of Dask 2023, and of its first months.
        shuffles = getattr(plugin, "states", None) if shuffles is None else shuffles
        shuffles = getattr(plugin, "participating_workers", {}) if shuffles is None else shuffles
        erred = getattr(plugin, "erred_shuffles", ())
        for number, shuffle in list(shuffles.items()):
            barrier = scheduler.tasks.get("shuffle-barrier-%s" % number)
            # A failed one stays until its client lets go of it, and what was done of it is lost already.
            if number in erred or (barrier is not None and barrier.state == "erred"):
                continue
            found.append(frozenset(getattr(shuffle, "participating_workers", shuffle)))
    except Exception:
        return []
    return found


def _shuffles(scheduler, addresses):
    """Return of each active p2p shuffle in which one of these workers takes part how many workers it has."""
    wanted = set(addresses)
    return {"shuffles": [len(workers) for workers in _active(scheduler) if workers & wanted]}


def _hold_shuffles(scheduler, leaving, others, seconds):
    """Have new shuffles wait until workers have left, for some seconds at most; not if one is active, which is told."""
    found = _shuffles(scheduler, [*leaving, *others])
    handler = scheduler.handlers.get(GET_SHUFFLE)
    if found["shuffles"] or handler is None:
        return found
    # Of an earlier hold, which lets all pass by now.
    handler = getattr(handler, KEY, handler)
    wanted, end = set(leaving), time.monotonic() + seconds

    async def held(*args, **kwargs):
        while time.monotonic() < end and not wanted.isdisjoint(scheduler.workers):
            await asyncio.sleep(0.02)
        if scheduler.handlers.get(GET_SHUFFLE) is held:
            scheduler.handlers[GET_SHUFFLE] = handler
        answer = handler(*args, **kwargs)
        return await answer if inspect.isawaitable(answer) else answer

    setattr(held, KEY, handler)
    scheduler.handlers[GET_SHUFFLE] = held
    return found


def _walk(scheduler, number=None):
    """Continue to count what each worker holds; ``walk`` is the number for the next call, or null at the end."""
    if number is None:
        number = next(_numbers)
        for old in list(_walks)[:-WALKS]:
            del _walks[old]
        _walks[number] = _counted(scheduler)
    found, end = [], time.perf_counter() + PIECE_SECONDS
    for worker in _walks.get(number, ()):
        if worker is not None:
            found.append(worker)
        if time.perf_counter() > end:
            return {"walk": number, "workers": found}
    _walks.pop(number, None)
    return {"walk": None, "workers": found}


def _counted(scheduler):
    active = _active(scheduler)
    for address, worker in list(scheduler.workers.items()):
        yield None
        alone = futures = scattered = 0
        for seen, task in enumerate(list(worker.has_what)):
            if seen % 200 == 199:
                yield None
            if task.actor or len(task.who_has or ()) != 1:
                continue
            alone += max(task.nbytes or 0, 0)
            if task.run_spec is None:
                scattered += 1
            elif task.who_wants:
                futures += 1
        metrics = worker.metrics or {}
        yield {
            "address": address,
            "name": str(worker.name),
            "nanny": worker.nanny,
            "alone": alone,
            "memory": int(metrics.get("memory") or 0),
            "memory_limit": int(worker.memory_limit) if worker.memory_limit else None,
            "futures": futures,
            "scattered": scattered,
            "running": len(worker.executing),
            "seceded": len(getattr(worker, "long_running", None) or getattr(worker, "_long_running", ())),
            "shuffles": sum(address in workers for workers in active),
            "actors": len(worker.actors),
        }


def _present(scheduler):
    """Return ``{name: [address, id of the worker, status, nanny]}``."""
    return {
        str(worker.name): [address, worker.server_id, worker.status.name, worker.nanny]
        for address, worker in scheduler.workers.items()
    }


def _stimulus(function):
    """Return the argument by which Dask since 2022.4 wants to be told why something is done."""
    known = "stimulus_id" in inspect.signature(function).parameters
    return {"stimulus_id": "coiled-jupyter-%s" % time.time()} if known else {}


def _reschedule(scheduler, queued):
    """Reschedule the tasks (their keys as text) that these retired workers have not begun."""
    moved = 0
    for address, keys in queued.items():
        worker = scheduler.workers.get(address)
        if worker is None or worker.status.name != "closing_gracefully":
            continue
        keys = set(keys)
        for task in [task for task in worker.processing if str(task.key) in keys]:
            scheduler.transitions({task.key: "released"}, **_stimulus(scheduler.transitions))
            moved += 1
    return {"moved": moved}


def _managers(scheduler):
    """Return the active memory managers: the scheduler's, and those created by retirements."""
    found = [scheduler.extensions.get("amm")]
    for callback in list(scheduler.periodic_callbacks.values()):
        owner = getattr(getattr(callback, "callback", None), "__self__", None)
        if hasattr(owner, "policies"):
            found.append(owner)
    return [manager for manager in found if manager is not None]


def _cancel_retirement(scheduler, addresses):
    """Return retired workers to normal operation."""
    wanted, ended = set(addresses), 0
    for manager in _managers(scheduler):
        for policy in list(manager.policies):
            if type(policy).__name__ == "RetireWorker" and policy.address in wanted:
                policy.no_recipients = True
                manager.policies.discard(policy)
                ended += 1
    for address in addresses:
        worker = scheduler.workers.get(address)
        if worker is not None and worker.status.name == "closing_gracefully":
            message = {"op": "worker-status-change", "status": "running"}
            scheduler.stream_comms[address].send({**message, **_stimulus(scheduler.handle_worker_status_change)})
    return {"ended": ended}


def _restore(scheduler):
    """Remove what was appended to sys.path."""
    import importlib

    entries = getattr(sys, KEY, [])
    sys.path[:] = [entry for entry in sys.path if entry not in entries]
    setattr(sys, KEY, [])
    importlib.invalidate_caches()
    return {"entries": []}


def _extend(scheduler, entries):
    """Append a layer's entries to sys.path, so that packages that aren't installed here can be imported."""
    import importlib

    _restore(scheduler)
    own = "%d.%d" % sys.version_info[:2]
    for entry in entries:
        named = re.search(r"python(\d+\.\d+)", entry)
        if not os.path.isdir(entry) or (named and named.group(1) != own):
            return {"entries": []}
    fresh = [entry for entry in entries if entry not in sys.path]
    sys.path.extend(fresh)
    setattr(sys, KEY, fresh)
    importlib.invalidate_caches()
    return {"entries": fresh}


def _hold_workers(scheduler, names, seconds):
    return OTHERS["gateway"]["hold"](scheduler, names, seconds)


def _release_workers(scheduler, names, away):
    return OTHERS["gateway"]["release"](scheduler, names, away)


_VERBS = {
    "about": _about,
    "walk": _walk,
    "present": _present,
    "shuffles": _shuffles,
    "hold_shuffles": _hold_shuffles,
    "hold_workers": _hold_workers,
    "release_workers": _release_workers,
    "reschedule": _reschedule,
    "cancel_retirement": _cancel_retirement,
    "extend": _extend,
    "restore": _restore,
}


def call(verb, identity, *arguments):
    """Return the JSON answer of a verb; ``error`` says why there is none."""
    try:
        instances = list(sys.modules["distributed.scheduler"].Scheduler._instances)
        scheduler = next(s for s in instances if s.id == identity)
        return json.dumps(_VERBS[verb](scheduler, *arguments))
    except StopIteration:
        return json.dumps({"error": "It's another scheduler by now"})
    except BaseException as error:
        return json.dumps({"error": "It could not be done in the scheduler: %s" % type(error).__name__})
