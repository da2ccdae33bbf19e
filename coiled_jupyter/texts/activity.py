"""Runs in a scheduler: tells what its threads, workers and tasks are doing, without a page of Dask's.

Kept in the scheduler's process; ``call("read", identity, since)`` returns one JSON text, `identity` is the scheduler's id.
The first one adds a SchedulerPlugin that keeps what threads did in a ring; it takes itself out when nobody has read for
`IDLE_SECONDS`. Everything else is read from what the scheduler has anyway.

Rules: Python 3.8, standard library only, never raises; no call holds the event loop for more than some milliseconds.
"""

import json
import sys
import time
from collections import deque
from itertools import islice

NAME = "coiled-jupyter-activity-1"
RING = 20000
"""Tasks that are kept until they are read, of some 500 bytes each."""
PER_READ = 5000
PIECE_SECONDS = 0.008
GROUPS = 200
PREFIXES = 200
WORKERS = 2000
IDLE_SECONDS = 60.0
TEXT = 200
UNITS = 10000
"""Times are counted in units of a tenth of a millisecond."""
ACTIONS = ("compute", "transfer", "disk-read", "disk-write", "deserialize", "erred")
STATES = ("waiting", "queued", "no-worker", "processing", "memory", "released", "erred")


def _plugin(scheduler):
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Activity(SchedulerPlugin):
        name = NAME

        def __init__(self):
            self.ring = deque(maxlen=RING)
            self.count = 0
            self.asked = time.monotonic()
            self.base = time.time()

        def transition(self, key, start, finish, *args, **kwargs):
            # Called for each step of each task, so nothing but an append for one that ends.
            if start == "processing" and (finish == "memory" or finish == "erred"):
                spans = kwargs.get("startstops")
                if spans:
                    self.ring.append((key, kwargs.get("worker"), kwargs.get("thread"), spans, finish == "erred"))
                    self.count += 1

        def watch(self):
            left = IDLE_SECONDS - (time.monotonic() - self.asked)
            if left > 0:
                scheduler.loop.call_later(left + 0.1, self.watch)
            elif scheduler.plugins.get(NAME) is self:
                scheduler.remove_plugin(name=NAME)

    return Activity()


def _events(plugin, since):
    """Return the spans of the tasks that ended after the first `since`, in columns; names by their number."""
    from distributed.utils import key_split

    first = plugin.count - len(plugin.ring)
    # Whoever has counted further has asked an earlier plugin.
    known = 0 < since <= plugin.count
    begin = max(since, first) if known else first
    lanes, prefixes = {}, {}
    lane, prefix, action, start, length = [], [], [], [], []
    taken, end, last = 0, time.perf_counter() + PIECE_SECONDS, 0
    for key, worker, thread, spans, erred in islice(plugin.ring, begin - first, begin - first + PER_READ):
        if taken % 64 == 63 and time.perf_counter() > end:
            break
        taken += 1
        one = lanes.setdefault((str(worker)[:TEXT], str(thread)[:TEXT]), len(lanes))
        two = prefixes.setdefault(str(key_split(key))[:TEXT], len(prefixes))
        for span in spans:
            kind = span.get("action", "compute") if isinstance(span, dict) else span[0]
            begun, ended = (span["start"], span["stop"]) if isinstance(span, dict) else span[1:3]
            at = int((begun - plugin.base) * UNITS)
            lane.append(one)
            prefix.append(two)
            action.append(5 if erred and kind == "compute" else ACTIONS.index(kind) if kind in ACTIONS else 0)
            start.append(at - last)
            length.append(max(int((ended - begun) * UNITS), 0))
            last = at
    return {
        "base": plugin.base,
        "next": begin + taken,
        "missed": begin - since if known else 0,
        "more": plugin.count - begin - taken > 0,
        "lanes": list(lanes),
        "prefixes": list(prefixes),
        "lane": lane,
        "prefix": prefix,
        "action": action,
        "start": start,
        "length": length,
    }


def _number(value):
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e18 else 0


def _worker(state, now):
    metrics = state.metrics or {}
    # Of all versions of Dask since 2022.2.
    spilled = metrics.get("spilled_bytes", metrics.get("spilled_nbytes", 0))
    if isinstance(spilled, dict):
        spilled = spilled.get("disk", 0)
    elif isinstance(spilled, (tuple, list)):
        spilled = spilled[-1] if spilled else 0
    network = metrics.get("host_net_io") or {}
    counts = metrics.get("task_counts") or {}
    executing = counts.get("executing", 0) if counts or "executing" not in metrics else metrics["executing"]
    return {
        "id": str(state.address)[:TEXT],
        "name": str(state.name)[:TEXT],
        "status": str(getattr(state.status, "name", state.status))[:TEXT],
        "threads": _number(state.nthreads),
        "cpu": _number(metrics.get("cpu")),
        "memory": _number(metrics.get("memory")),
        "managed": _number(metrics.get("managed_bytes", state.nbytes)),
        "spilled": _number(spilled),
        "limit": _number(state.memory_limit) or None,
        "received": _number(network.get("read_bps", metrics.get("read_bytes"))),
        "sent": _number(network.get("write_bps", metrics.get("write_bytes"))),
        "executing": _number(executing),
        "processing": len(state.processing),
        "stored": len(state.has_what),
        "seen": round(max(now - state.last_seen, 0.0), 1),
    }


def _states(prefix):
    """Return ``{state: tasks}`` of a prefix."""
    groups = prefix.groups
    if len(groups) > GROUPS:
        # As many groups as tasks: what each state was entered costs nothing to know.
        counts = dict(prefix.state_counts)
        left = counts.get("released", 0) + counts.get("forgotten", 0)
        return {"memory": max(counts.get("memory", 0) - left, 0), "erred": counts.get("erred", 0)}
    found = {}
    for group in list(groups):
        for state, count in group.states.items():
            if count and state in STATES:
                found[state] = found.get(state, 0) + count
    return found


def _prefixes(scheduler):
    end, found = time.perf_counter() + PIECE_SECONDS, []
    for name, prefix in list(scheduler.task_prefixes.items()):
        states = _states(prefix)
        if states:
            found.append({"name": str(name)[:TEXT], "states": states})
        if time.perf_counter() > end:
            break
    # Those of which most is still to be done come first, then the largest.
    found.sort(
        key=lambda one: (
            -sum(n for s, n in one["states"].items() if s not in ("memory", "released")),
            -sum(one["states"].values()),
        )
    )
    return found[:PREFIXES]


def _read(scheduler, since):
    plugin = scheduler.plugins.get(NAME)
    if plugin is None:
        plugin = _plugin(scheduler)
        scheduler.add_plugin(plugin, name=NAME)
        plugin.watch()
    plugin.asked = time.monotonic()
    now = time.time()
    workers = [_worker(state, now) for state in islice(list(scheduler.workers.values()), WORKERS)]
    return {
        "now": now,
        "stream": _events(plugin, since),
        "workers": workers,
        "prefixes": _prefixes(scheduler),
        "tasks": len(scheduler.tasks),
        "queued": len(getattr(scheduler, "queued", ())),
        "no_worker": len(scheduler.unrunnable),
        "processing": sum(worker["processing"] for worker in workers),
    }


def call(verb, identity, *arguments):
    """Return the JSON answer of a verb; ``error`` says why there is none."""
    try:
        instances = list(sys.modules["distributed.scheduler"].Scheduler._instances)
        scheduler = next(s for s in instances if s.id == identity)
        return json.dumps({"read": _read}[verb](scheduler, *arguments), separators=(",", ":"))
    except StopIteration:
        return json.dumps({"error": "It's another scheduler by now"})
    except BaseException as error:
        return json.dumps({"error": "It could not be read in the scheduler: %s" % type(error).__name__})
