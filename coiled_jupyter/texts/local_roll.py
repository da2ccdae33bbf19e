"""Restarts the workers of a cluster that lives in this process, one after the other, and loses nothing that they hold.

Kept by the handler of a kernel's control channel; ``call(request)`` returns one JSON text at once. A roll runs on the
cluster's own event loop, so a running cell doesn't hold it up, unless that loop is the cell's (``asynchronous=True``).

Requests: ``{"verb": "look", "scheduler": id}``; ``{"verb": "begin", "ticket": text, "scheduler": id, "workers": [address,
…], "seconds": s, "lossy": bool}``, which may be repeated with the same ticket; ``{"verb": "tell", "ticket": text, "after":
n}``; ``{"verb": "stop", "ticket": text}``.

Rules: Python 3.8, standard library only, never raises, never imports Dask: if the user hasn't, there are no clusters.
"""

import asyncio
import json
import sys
import time

KEPT = 4
LINES = 200
PAUSE = 0.05
BEAT_SECONDS = 0.25
# Seconds after which the loop of a closed cluster counts as ended.
GONE_SECONDS = 5.0
# Seconds that a worker may take to answer, to hand over what it holds, and to come back.
ASK_SECONDS = 10.0
HAND_SECONDS = 60.0
JOIN_SECONDS = 120.0
# Seconds that a temporary worker is tried to be emptied for; after that it stays, since it holds something.
LEAVE_SECONDS = 3600.0
# Tasks that are looked at before others have a turn on the loop.
PIECE = 2000
# The part of a worker's memory limit up to which it takes what others hand over; Dask begins to spill above.
ROOM = 0.6
LOST = "distributed.deploy.lost-worker-timeout"
LONG = "1h"
HELPER = "coiled-jupyter-temporary"
MARK = "_coiled_jupyter_roll"

# Evaluated in a worker where it is unpickled, so it must not raise: what runs, what hasn't begun, and its status.
_BUSY = (
    "(lambda ws: __import__('json').dumps(["
    "sum(len(w.state.all_running_tasks) for w in ws),"
    "[str(t.key) for w in ws for t in w.state.tasks.values() if t.state in ('ready', 'waiting', 'constrained')],"
    "[w.status.name for w in ws]]))"
    "(list(getattr(getattr(__import__('sys').modules.get('distributed.worker'), 'Worker', None), '_instances', ())))"
)

_rolls = {}
_leaving = set()


class _MadeThere:
    """Pickles as a call of the builtin `eval`."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return eval, (self.text,)


class _Stop(Exception):
    """The roll ends; `why` is a word that the reader knows, `worker` the name of the worker concerned."""

    def __init__(self, why, worker="", what=""):
        super().__init__(why)
        self.why, self.worker, self.what = why, str(worker), what


def _module(name):
    return sys.modules.get("distributed." + name)


def _cluster(scheduler):
    """Return the cluster of this process whose scheduler has this id, or None."""
    instances = getattr(getattr(_module("deploy.spec"), "SpecCluster", None), "_instances", ())
    for _ in range(5):
        try:
            found = list(instances)
            break
        except RuntimeError:
            # Another thread has made a cluster meanwhile.
            continue
    else:
        found = []
    for cluster in found:
        if getattr(getattr(cluster, "scheduler", None), "id", None) == scheduler:
            return cluster
    return None


def _kind(cluster):
    """Return how a cluster's workers run: under ``nannies`` of this process, as its ``threads``, or ``elsewhere``."""
    if cluster is None:
        return "elsewhere"
    nodes = list(cluster.workers.values())
    nanny, worker = getattr(_module("nanny"), "Nanny", ()), getattr(_module("worker"), "Worker", ())
    if all(isinstance(node, nanny) for node in nodes):
        return "nannies"
    return "threads" if any(isinstance(node, worker) for node in nodes) else "elsewhere"


def _look(request):
    cluster = _cluster(request["scheduler"])
    kind = _kind(cluster)
    nodes = list(cluster.workers.values()) if kind == "nannies" else []
    return {
        "kind": kind,
        "asynchronous": bool(getattr(cluster, "asynchronous", False)),
        "workers": [address for address in (node.worker_address for node in nodes) if address],
    }


def _begin(request):
    ticket = str(request["ticket"])
    if ticket in _rolls:
        # The answer to the first request was late.
        return {"ticket": ticket}
    cluster = _cluster(request["scheduler"])
    if cluster is None or cluster.status.name != "running":
        return {"error": "gone"}
    if _kind(cluster) != "nannies":
        return {"error": "threads"}
    other = getattr(cluster, MARK, None)
    if other is not None and (other.state == "running" or other.leaving):
        # Perhaps of another copy of this text, as a command of this kernel has one.
        return {"error": "leaving" if other.leaving else "running"}
    for old in list(_rolls)[:-KEPT]:
        if _rolls[old].state != "running":
            del _rolls[old]
    roll = _rolls[ticket] = _Roll(cluster, request)
    setattr(cluster, MARK, roll)
    try:
        cluster.loop.asyncio_loop.call_soon_threadsafe(roll.start)
    except BaseException:
        roll.state = "failed"
        return {"error": "gone"}
    return {"ticket": ticket}


def _tell(request):
    roll = _rolls.get(str(request["ticket"]))
    return {"state": "unknown"} if roll is None else roll.told(int(request.get("after", 0)))


def _stop(request):
    roll = _rolls.get(str(request["ticket"]))
    if roll is not None:
        roll.stop()
    return {"stopped": roll is not None}


class _Roll:
    """One roll of a cluster."""

    def __init__(self, cluster, request):
        self.cluster, self.scheduler = cluster, cluster.scheduler
        self.planned = [str(address) for address in request["workers"]]
        self.seconds = float(request["seconds"])
        self.lossy = bool(request.get("lossy"))
        self.state, self.why, self.worker, self.what = "running", "", "", ""
        self.doing = ["begin", "", time.monotonic()]
        self.done, self.lines, self.count = 0, [], 0
        self.stopping = self.leaving = False
        self.turned = time.monotonic()
        self.task = self.helper = None
        # Each step has a bound of its own; this one is for what nobody has thought of.
        bound = self.seconds + 2 * HAND_SECONDS + 2 * JOIN_SECONDS
        self.end = time.monotonic() + bound * (len(self.planned) + 2)

    # ---- from other threads -----------------------------------------------------------------------------------

    def stop(self):
        self.stopping = True
        if self.task is None and self.state == "running":
            self.state = "cancelled"

    def told(self, after):
        now = time.monotonic()
        closed = self.cluster.status.name in ("closing", "closed", "failed")
        if self.state == "running" and closed and now - self.turned > GONE_SECONDS:
            # Its loop has ended with it.
            self.state, self.why = "failed", "closed"
        lines, count = list(self.lines), self.count
        return {
            "state": self.state,
            "why": self.why,
            "worker": self.worker,
            "what": self.what,
            "doing": self.doing[0],
            "of": self.doing[1],
            "since": round(now - self.doing[2], 3),
            "done": self.done,
            "silent": round(now - self.turned, 3),
            "lines": lines[len(lines) - max(count - after, 0) :] if count > after else [],
            "next": count,
        }

    # ---- on the cluster's loop --------------------------------------------------------------------------------

    def start(self):
        if self.state == "running":
            self.task = asyncio.ensure_future(self.run())

    def say(self, text):
        self.lines = [*self.lines, text[:500]][-LINES:]
        self.count += 1

    def now(self, doing, worker=""):
        if self.doing[:2] != [doing, str(worker)]:
            self.doing = [doing, str(worker), time.monotonic()]

    async def beat(self):
        while True:
            self.turned = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    async def turn(self):
        """Let others have a turn; raise `_Stop` if this is to end."""
        if self.stopping:
            raise _Stop("cancelled")
        if self.cluster.status.name != "running":
            raise _Stop("closed")
        if time.monotonic() > self.end:
            raise _Stop("late")
        await asyncio.sleep(PAUSE)

    async def run(self):
        config = sys.modules["dask"].config
        beat = asyncio.ensure_future(self.beat())
        before = config.get(LOST, "15s")
        adaptive = getattr(self.cluster, "_adaptive", None)
        timer = getattr(adaptive, "periodic_callback", None)
        timer = timer if timer is not None and timer.is_running() else None
        state = "failed"
        try:
            # After that time the cluster closes the nanny of a worker that is away.
            config.set({LOST: LONG})
            if timer is not None:
                timer.stop()
                self.say("Adaptive scaling is paused")
            await self.all()
            state = "done"
        except _Stop as stop:
            self.why, self.worker, self.what = stop.why, stop.worker, stop.what
            state = "cancelled" if stop.why == "cancelled" else "failed"
        except BaseException as error:
            self.why, self.what = "bug", type(error).__name__
        try:
            beat.cancel()
            if config.get(LOST, None) == LONG:
                config.set({LOST: before})
            # One that the user has replaced or stopped meanwhile stays as it is.
            mine = getattr(self.cluster, "_adaptive", None) is adaptive
            if timer is not None and mine and getattr(adaptive, "periodic_callback", None) is timer:
                timer.start()
            if self.helper is not None:
                self.leaving = True
                task = asyncio.ensure_future(self.leave(self.helper))
                _leaving.add(task)
                task.add_done_callback(_leaving.discard)
        finally:
            self.state = state

    async def all(self):
        self.helper = await self.lend()
        for address in self.planned:
            nanny = next((n for n in self.cluster.workers.values() if n.worker_address == address), None)
            if nanny is not None and address in self.scheduler.workers:
                await self.one(nanny, address)
            # Else it is new since the plan, and so is its process.
            self.done += 1
        if self.helper is not None:
            self.now("helper")
            if await self.dismissed(self.helper, self.seconds):
                self.helper = None
            else:
                self.say("The temporary worker stays until its last task has ended")

    async def one(self, nanny, address):
        worker = self.scheduler.workers[address]
        before = worker.server_id
        try:
            await self.empty(address, worker.name, self.seconds, self.turn)
        except BaseException:
            self.unfence(address)
            raise
        self.now("restart", worker.name)
        try:
            said = await nanny.restart(timeout=JOIN_SECONDS)
            if said != "OK" and not nanny.is_alive():
                await asyncio.wait_for(nanny.instantiate(), JOIN_SECONDS)
        except Exception as error:
            said = type(error).__name__
        # What the nanny says proves nothing, in either direction: a new process does.
        end = time.monotonic() + JOIN_SECONDS
        while not any(
            ws.nanny == nanny.address and ws.server_id != before and ws.status.name == "running"
            for ws in list(self.scheduler.workers.values())
        ):
            if self.cluster.status.name != "running":
                raise _Stop("closed")
            if time.monotonic() > end:
                raise _Stop("away", worker.name, str(said)[:200])
            await asyncio.sleep(PAUSE)
        self.say("Restarted: worker %s" % (worker.name,))

    async def empty(self, address, name, seconds, turn):
        """Fence a worker, and wait until nothing runs on it and nothing lies on it alone; `_Stop` if that can't be."""
        end = time.monotonic() + seconds
        while True:
            # A shuffle that begins counts fenced workers in, and never ends with one.
            self.now("shuffle", name)
            while _shuffles(self.scheduler, address):
                if time.monotonic() > end:
                    raise _Stop("shuffle", name)
                await turn()
            if not self.lossy and not await self.fits(address):
                raise _Stop("full", name)
            self.now("hand over", name)
            await self.fence(address, name)
            while not _shuffles(self.scheduler, address):
                worker = self.scheduler.workers.get(address)
                if worker is None:
                    raise _Stop("gone", name)
                running, queued, fenced = await self.busy(address)
                if fenced:
                    # It begins none of these any more.
                    for task in [task for task in worker.processing if str(task.key) in queued]:
                        self.scheduler.transitions(
                            {task.key: "released"}, stimulus_id="coiled-jupyter-%s" % time.time()
                        )
                if running == 0 and not worker.processing:
                    if self.lossy or not await self.alone(address):
                        return
                    # Results of what ran since it was fenced.
                    await self.fence(address, name)
                else:
                    self.now("tasks", name)
                if time.monotonic() > end:
                    raise _Stop(
                        "silent" if running is None else "busy" if running or worker.processing else "held", name
                    )
                await turn()
            self.unfence(address)

    async def fence(self, address, name):
        """Have the scheduler retire a worker, but neither close nor forget it."""
        retiring = self.scheduler.retire_workers(workers=[address], close_workers=False, remove=False)
        try:
            accepted = await asyncio.wait_for(retiring, HAND_SECONDS)
        except asyncio.TimeoutError:
            accepted = ()
        if address not in accepted and not self.lossy:
            worker = self.scheduler.workers.get(address)
            raise _Stop("actors" if worker is not None and worker.actors else "held", name)

    def unfence(self, address):
        """Return a fenced worker to normal operation, and stop the transfer of its values."""
        for manager in self.managers():
            for policy in list(manager.policies):
                if type(policy).__name__ == "RetireWorker" and policy.address == address:
                    policy.no_recipients = True
                    manager.policies.discard(policy)
        worker = self.scheduler.workers.get(address)
        if worker is not None and worker.status.name == "closing_gracefully":
            message = {"op": "worker-status-change", "status": "running", "stimulus_id": "coiled-jupyter"}
            self.scheduler.stream_comms[address].send(message)

    def managers(self):
        """Return the active memory managers: the scheduler's, and those created by retirements."""
        found = [self.scheduler.extensions.get("amm")]
        for callback in list(self.scheduler.periodic_callbacks.values()):
            owner = getattr(getattr(callback, "callback", None), "__self__", None)
            if hasattr(owner, "policies"):
                found.append(owner)
        return [manager for manager in found if manager is not None]

    async def busy(self, address):
        """Return how many tasks run on a worker (None: unknown), keys of those that haven't begun, and if it is fenced."""
        serialize = _module("protocol.serialize").Serialize
        message = {"op": "echo", "data": serialize(_MadeThere(_BUSY))}
        try:
            asking = self.scheduler.broadcast(msg=message, workers=[address])
            answers = await asyncio.wait_for(asking, ASK_SECONDS)
            running, queued, statuses = json.loads(answers[address])
        except Exception:
            return None, (), False
        return running, set(queued), set(statuses) == {"closing_gracefully"}

    async def alone(self, address):
        """Whether anything but actors lies on this worker alone."""
        async for task in self.held(address):
            if not task.actor and len(task.who_has or ()) == 1:
                return True
        return False

    async def fits(self, address):
        """Whether what lies on this worker alone has room in the memory of the others."""
        size = 0
        async for task in self.held(address):
            if not task.actor and len(task.who_has or ()) == 1:
                size += max(task.nbytes or 0, 0)
        room = 0
        for other, worker in list(self.scheduler.workers.items()):
            if other != address and worker.status.name == "running":
                if not worker.memory_limit:
                    return True
                used = int((worker.metrics or {}).get("memory") or 0)
                room += max(int(worker.memory_limit * ROOM) - used, 0)
        return size <= room

    async def held(self, address):
        worker = self.scheduler.workers.get(address)
        for seen, task in enumerate(list(worker.has_what) if worker is not None else (), 1):
            yield task
            if seen % PIECE == 0:
                await asyncio.sleep(0)

    # ---- a temporary worker -----------------------------------------------------------------------------------

    async def lend(self):
        """Start a temporary worker if the only one holds or runs something; nobody else could take it over."""
        workers = list(self.scheduler.workers.values())
        if len(workers) != 1 or not (workers[0].has_what or workers[0].processing):
            return None
        self.now("lend")
        spec = self.cluster.new_spec
        nanny = spec["cls"](self.scheduler.address, **dict(spec.get("options", {}), name=HELPER))
        try:
            # In a task of its own, so that an end of the wait doesn't leave half a process.
            starting = asyncio.ensure_future(_started(nanny))
            await asyncio.wait([starting], timeout=JOIN_SECONDS)
            if not starting.done():
                raise _Stop("lend")
            starting.result()
        except BaseException as error:
            closing = asyncio.ensure_future(_closed(nanny))
            _leaving.add(closing)
            closing.add_done_callback(_leaving.discard)
            if isinstance(error, _Stop) or not isinstance(error, Exception):
                raise
            raise _Stop("lend", "", type(error).__name__) from None
        self.say("A temporary worker takes over what the only one holds")
        return nanny

    async def dismissed(self, nanny, seconds, turn=None):
        """Empty the temporary worker and end it; return whether that was possible in time."""
        address = nanny.worker_address
        try:
            if address in self.scheduler.workers:
                await self.empty(address, HELPER, seconds, turn or self.turn)
                await self.scheduler.retire_workers(workers=[address], close_workers=True, remove=True)
        except _Stop as stop:
            self.unfence(address)
            if stop.why == "cancelled":
                raise
            return False
        await _closed(nanny)
        return True

    async def leave(self, nanny):
        """Try to end the temporary worker until it holds nothing any more."""

        async def turn():
            await asyncio.sleep(PAUSE)

        self.lossy = False
        end = time.monotonic() + LEAVE_SECONDS
        try:
            while time.monotonic() < end and self.cluster.status.name == "running":
                if await self.dismissed(nanny, self.seconds, turn):
                    return
                await asyncio.sleep(1)
            if self.cluster.status.name != "running":
                await _closed(nanny)
        finally:
            self.leaving = False


def _shuffles(scheduler, address):
    """Return the ids of active p2p shuffles in which a worker takes part."""
    plugin = getattr(scheduler, "plugins", {}).get("shuffle") or getattr(scheduler, "extensions", {}).get("shuffle")
    active = getattr(plugin, "active_shuffles", None)
    active = getattr(plugin, "states", None) if active is None else active
    return [
        name
        for name, state in dict(active or {}).items()
        if address in getattr(state, "participating_workers", (address,))
    ]


async def _started(nanny):
    await nanny


async def _closed(nanny):
    try:
        await nanny.close()
    except Exception:
        # Its process ends with this one.
        return


_VERBS = {"look": _look, "begin": _begin, "tell": _tell, "stop": _stop}


def call(request):
    """Return the JSON answer to a request; ``error`` says why there is none."""
    try:
        return json.dumps(_VERBS[request["verb"]](request))
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})
