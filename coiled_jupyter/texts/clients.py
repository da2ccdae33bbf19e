"""Finds the live Dask clients of the process in which it is evaluated, and sends requests through one of them.

Evaluated with ``exec(text, namespace)`` in a kernel, or in a scheduler for ``of_scheduler``; every function returns one
JSON text.

Rules: Python 3.8, standard library only, never raises, never imports Dask: if the user hasn't, there are no clients.
``clients`` and ``result`` do no I/O; ``begin`` sends from the client's own event loop, over a separate connection, so that
neither the caller nor the client's stream waits. Only builtins by reference, and text, are sent.
"""

import asyncio
import itertools
import json
import pickle
import sys
import time

LIMIT = 50
TEXT_LIMIT = 500
SIZE_LIMIT = 4 * 1024 * 1024
AT_ONCE = 16
TICKETS = 64
# Seconds that an uncollected answer is kept.
KEPT_SECONDS = 60.0
# Seconds that a client's event loop may take to begin a request.
BUSY_SECONDS = 1.0
# Seconds after which an unanswered request no longer counts against AT_ONCE, so that silent workers don't delay others.
SLOW_SECONDS = 0.5
_EVAL = pickle.dumps(eval, protocol=4)
_NOTHING = pickle.dumps({}, protocol=4)
_WORKER = ("name", "host", "status", "nthreads", "memory_limit", "last_seen")
_METRICS = ("memory", "task_counts", "executing", "in_memory")


class _MadeThere:
    """Pickles as a call of the builtin `eval`."""

    def __init__(self, text, names):
        self.arguments = (text, names)

    def __reduce__(self):
        return eval, self.arguments


def _pickled(text, names):
    return pickle.dumps(_MadeThere(text, names), protocol=4)


_tickets = {}
_numbers = itertools.count(1)


def _clip(value):
    return value[:TEXT_LIMIT] if isinstance(value, str) else None


def _live():
    """Return the clients that are neither closed nor new, including those that aren't the default."""
    module = sys.modules.get("distributed.client")
    instances = getattr(getattr(module, "Client", None), "_instances", ())
    for _ in range(5):
        try:
            found = list(instances)
            break
        except RuntimeError:
            # Another thread has created a client meanwhile.
            continue
    else:
        found = []
    return [client for client in found if getattr(client, "status", "") in ("running", "connecting")]


def _describe(client):
    scheduler = getattr(client, "scheduler", None)
    identity = getattr(client, "_scheduler_identity", None) or {}
    address = _clip(getattr(scheduler, "address", None)) or ""
    security = getattr(client, "security", None)
    cluster = getattr(client, "cluster", None)
    tls = [getattr(security, name, None) for name in ("tls_ca_file", "tls_client_cert", "tls_client_key")]
    certificate = tls[1]
    count = identity.get("n_workers")
    return {
        "id": _clip(client.id),
        "status": _clip(client.status),
        "address": address,
        "scheduler": _clip(identity.get("id")),
        "security": type(security).__name__[:TEXT_LIMIT],
        "cluster_class": None if cluster is None else type(cluster).__name__[:TEXT_LIMIT],
        "cluster_name": _clip(getattr(cluster, "name", None)),
        "inproc": address.startswith("inproc://"),
        # Either a path or the text of a certificate, which has line breaks.
        "in_memory_tls": isinstance(certificate, str) and "\n" in certificate,
        "tls_files": tls
        if all(isinstance(text, str) and "\n" not in text and len(text) < 1000 for text in tls)
        else [],
        "asynchronous": bool(getattr(client, "_asynchronous", False)),
        "workers": count if isinstance(count, int) else len(identity.get("workers", ())),
    }


def clients():
    """Return the live Dask clients of this process."""
    try:
        found = []
        for client in _live()[:LIMIT]:
            try:
                found.append(_describe(client))
            except Exception:
                continue
        return json.dumps(found)
    except BaseException:
        return "[]"


def begin(request):
    """Begin one request through a client, and return a ticket for its answer or an error.

    `request` is ``{"client", "operation", "deadline", "workers", "expression", "names", "nanny"}``, where the operation
    is ``identity``, ``run_on_scheduler``, ``run_on_workers`` or ``versions``.
    """
    try:
        now = time.monotonic()
        for number, old in list(_tickets.items()):
            if now > old.end + KEPT_SECONDS:
                del _tickets[number]
        if len(_tickets) >= TICKETS:
            return json.dumps({"error": "many"})
        client = next((c for c in _live() if c.id == request["client"]), None)
        if client is None:
            return json.dumps({"error": "gone"})
        number = next(_numbers)
        ticket = _tickets[number] = _Ticket(client, request)
        try:
            client.loop.asyncio_loop.call_soon_threadsafe(ticket.start)
        except BaseException:
            del _tickets[number]
            return json.dumps({"error": "gone"})
        return json.dumps({"ticket": number})
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})


def result(number):
    """Return ``{"done": bool, "answers": {place: {"text"} or {"error"}}}``: the answers since the last call.

    Each answer is returned once, and at most 4 MiB per call. The error ``busy`` means that the client's event loop didn't
    run: that of an asynchronous client is the kernel's own, which a cell can block.
    """
    try:
        ticket = _tickets.get(number)
        if ticket is None:
            return json.dumps({"done": True, "error": "unknown"})
        late, now = None, time.monotonic()
        if ticket.task is None and now > min(ticket.begun + BUSY_SECONDS, ticket.end):
            late = "busy"
        elif not ticket.done and now > ticket.end + 0.5:
            # Some seconds of grace: a request that has begun ends by itself at the deadline.
            late = "late"
        ticket.expired = late is not None
        # Read before the answers: later ones are for the next call.
        done, answers, size = ticket.done, {}, 0
        for place in list(ticket.answers):
            size += sum(len(text) for text in ticket.answers[place].values())
            if answers and size > SIZE_LIMIT:
                done = False
                break
            answers[place] = ticket.answers.pop(place)
        if done or late:
            del _tickets[number]
        return json.dumps({"done": bool(done or late), "answers": answers, "error": late})
    except BaseException as error:
        return json.dumps({"done": True, "error": type(error).__name__})


class Refused(Exception):
    """A process answered, but refused the request; reported by this name."""


class _Ticket:
    """One request and its answers."""

    def __init__(self, client, request):
        self.client = client
        self.address = client.scheduler.address
        self.request = request
        self.begun = time.monotonic()
        self.end = self.begun + min(max(float(request.get("deadline", 5.0)), 0.05), 60.0)
        self.answers = {}
        self.task = None
        self.done = False
        self.expired = False

    def start(self):
        # On the client's loop; a request that was given up isn't begun.
        if not self.expired:
            self.task = asyncio.ensure_future(self.run())

    async def run(self):
        try:
            request, operation = self.request, self.request["operation"]
            if operation == "identity":
                await self.keep("scheduler", self.identity())
            elif operation == "run_on_scheduler":
                await self.keep("scheduler", self.run_on_scheduler())
            elif operation == "run_on_workers":
                await self.each(request["workers"], self.on_worker)
            elif operation == "versions":
                scheduler = self.keep("scheduler", self.scheduler_versions())
                workers = self.each(request["workers"], self.worker_versions)
                await asyncio.gather(scheduler, workers)
            else:
                self.answers["scheduler"] = {"error": "unknown operation"}
        except BaseException as error:
            self.answers.setdefault("scheduler", {"error": type(error).__name__})
        finally:
            self.done = True
            self.client = None

    async def keep(self, place, answer):
        """Store the answer of a place, or the kind of its failure."""
        try:
            text = await asyncio.wait_for(answer, max(self.end - time.monotonic(), 0.01))
            kept = {"text": text} if len(text) <= SIZE_LIMIT else {"error": "large"}
        except asyncio.TimeoutError:
            kept = {"error": "late"}
        except (OSError, EOFError):
            kept = {"error": "connection"}
        except Exception as error:
            kept = {"error": type(error).__name__}
        self.answers[place] = kept

    async def each(self, workers, ask):
        """Ask for something of each worker."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(worker):
            async with gate:
                asking = asyncio.ensure_future(self.keep(worker, ask(worker)))
                await asyncio.wait([asking], timeout=SLOW_SECONDS)
            await asking

        await asyncio.gather(*(one(worker) for worker in workers))

    async def broadcast(self, worker, message):
        """Send a message to a worker, or its nanny, through the scheduler."""
        nanny = bool(self.request.get("nanny"))
        answer = await self.exchange({"op": "broadcast", "msg": message, "workers": [worker], "nanny": nanny})
        if not isinstance(answer, dict) or worker not in answer:
            raise LookupError(worker)
        return answer[worker]

    async def on_worker(self, worker):
        serialized = sys.modules["distributed.protocol.serialize"].Serialized
        header = {"serializer": "pickle", "writeable": (), "compression": (None,), "num-sub-frames": 1}
        made = serialized(header, [_pickled(*self.request["quiet"])])
        answer = await self.broadcast(worker, {"op": "echo", "data": made})
        if not isinstance(answer, (list, tuple)):
            answer = await self.broadcast(worker, dict(op="run", **self.call()))
        return _result(answer)

    async def worker_versions(self, worker):
        return _dump(await self.broadcast(worker, {"op": "versions"}))

    async def exchange(self, message):
        connect = sys.modules["distributed.comm.core"].connect
        # A separate connection: one from the client's pool, if abandoned, would answer the user's next request.
        comm = await connect(
            self.address,
            timeout=max(self.end - time.monotonic(), 0.01),
            handshake_overrides={"compression": None},
            **self.client.connection_args,
        )
        try:
            await comm.write(dict(message, reply=True, close=True))
            return await comm.read()
        finally:
            comm.abort()

    def call(self):
        arguments = (self.request["expression"], self.request["names"])
        return {"function": _EVAL, "args": pickle.dumps(arguments, protocol=4), "kwargs": _NOTHING, "wait": True}

    async def run_on_scheduler(self):
        # The connection is closed before the second answer, which tells nothing.
        setup, following = _pickled(*self.request["quiet"]), _pickled(*self.request["next"])
        feed = {"op": "feed", "setup": setup, "function": following, "teardown": None, "interval": 0}
        answer = await self.exchange(feed)
        if not isinstance(answer, (list, tuple)):
            answer = await self.exchange(dict(op="run_function", **self.call()))
        return _result(answer)

    async def scheduler_versions(self):
        return _dump(await self.exchange({"op": "versions"}))

    async def identity(self):
        answer = await self.exchange({"op": "identity"})
        if isinstance(answer, dict) and "n_workers" in answer:
            # A Dask with the argument `n_workers` returns only some workers by default.
            answer = await self.exchange({"op": "identity", "n_workers": -1})
        if not isinstance(answer, dict) or "workers" not in answer:
            raise Refused
        if isinstance(answer["workers"], dict):
            answer = dict(answer, workers={str(key): _worker(info) for key, info in answer["workers"].items()})
        return _dump(answer)


def _worker(info):
    """Return the used fields of a worker's description: those of thousands would be too large."""
    info = info if isinstance(info, dict) else {}
    metrics = info.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    kept = {key: info[key] for key in _WORKER if key in info}
    return dict(kept, metrics={key: metrics[key] for key in _METRICS if key in metrics})


def _result(answer):
    if isinstance(answer, (list, tuple)) and answer and isinstance(answer[0], str):
        return answer[0]
    if isinstance(answer, dict) and answer.get("status") == "OK" and isinstance(answer.get("result"), str):
        return answer["result"]
    raise Refused


def _dump(answer):
    if not isinstance(answer, dict) or answer.get("status") in ("error", "uncaught-error"):
        raise Refused
    return json.dumps(_plain(answer, 8))


def _plain(value, depth):
    """Return a value that JSON can represent; other numbers become null."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return value if abs(value) < 2**63 else None
    if depth and isinstance(value, dict):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth - 1) for item in value]
    return str(value)[:TEXT_LIMIT]


def of_scheduler(identity):
    """Return clients, queue and whether there is a dashboard of the scheduler with this id, evaluated in its process."""
    try:
        module = sys.modules.get("distributed.scheduler")
        instances = list(getattr(getattr(module, "Scheduler", None), "_instances", ()))
        scheduler = next(s for s in instances if getattr(s, "id", None) == identity)
        # Dask has a client of its own for `fire_and_forget`.
        states = [state for key, state in list(scheduler.clients.items()) if key != "fire-and-forget"]
        found = []
        for state in states[:LIMIT]:
            try:
                found.append(_state(scheduler, state))
            except Exception:
                continue
        return json.dumps({"clients": found, "queued": _queued(scheduler), "dashboard": _has_dashboard(scheduler)})
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})


def _has_dashboard(scheduler):
    """Return whether the pages that bokeh draws are served: the port is there without them too."""
    served = getattr(getattr(scheduler, "http_application", None), "applications", ())
    # Dask may have derived a class of its own.
    return any(kind.__module__.startswith("bokeh.") for application in served for kind in type(application).__mro__)


def _queued(scheduler):
    """Return how many runnable tasks are assigned to no worker."""
    # Queued by the scheduler (since 2022.11), or without a worker that may run them.
    count = sum(len(getattr(scheduler, name, ())) for name in ("queued", "unrunnable"))
    for worker in list(scheduler.workers.values()):
        # Before 2023, a worker's queue still has tasks that other workers have stolen.
        if "task_counts" not in worker.metrics:
            count += max(0, len(worker.processing) - worker.metrics.get("executing", 0))
    return count


def _state(scheduler, state):
    versions = state.versions if isinstance(state.versions, dict) else {}
    host = dict(versions.get("host") or ())
    packages = dict(versions.get("packages") or ())
    told = dict(packages, python=packages.get("python") or host.get("python"))
    stream = scheduler.client_comms.get(state.client_key)
    peer = getattr(getattr(stream, "comm", None), "peer_address", None)
    return {
        "id": _clip(state.client_key),
        "address": _clip(peer),
        "last_seen": float(state.last_seen),
        "versions": {str(key)[:80]: str(version)[:80] for key, version in sorted(told.items())[:LIMIT] if version},
    }
