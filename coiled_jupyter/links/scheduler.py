"""Raw requests to a scheduler, and through it to its workers and nannies.

Rules: only msgpack, and builtins pickled by reference with text, are sent; answers are decoded by `plain` only; every
request has a deadline.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from distributed.comm.core import connect
from distributed.protocol.serialize import Serialized
from distributed.security import Security
from msgspec import Struct

from ..core.errors import CoiledError, Timeout, Unavailable
from . import diagnosis, plain, quiet
from .plain import SIZE_LIMIT, decode

PluginKind: TypeAlias = Literal["nanny", "worker"]
AT_ONCE = 16
IDLE = 2
"""Connections that are kept open between requests."""
SOON_SECONDS = 0.2
"""Seconds after which one plain connection tests whether the host refuses; once, as a scheduler logs it."""
BROADCAST = 100
"""Workers per broadcast: bounds the time that it occupies the scheduler, and whom a silent worker delays."""
BROADCAST_SECONDS = 2.0


class _Text:
    """Pickles as the builtin `eval`, by reference, of a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (self._text,)


# Dask inspects the signature of the function twice. That of a builtin is parsed each time, which took longer than
# the rest of a request.
_EVAL = pickle.dumps(_Text("lambda text, names: eval(text, names)"), protocol=4)
_NOTHING = pickle.dumps({}, protocol=4)
_REFUSED = "The process refused to be read, or its answer isn't text"


class TLSFiles(Struct, frozen=True):
    """Paths of PEM files."""

    ca: str
    cert: str
    key: str


class SchedulerLink:
    """Requests to one scheduler.

    Parameters
    ----------
    address
        Such as ``tls://127.0.0.1:8786``.
    tls
        The files of its certificates, for a ``tls`` address.

    """

    def __init__(self, address: str, tls: TLSFiles | None = None) -> None:
        self.address = address
        self._arguments: dict[str, Any] = {}
        self._all: dict[str, int] = {}
        if tls is not None:
            security = Security(
                tls_ca_file=tls.ca, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True
            )
            self._arguments = security.get_connection_args("client")
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._idle: list[Any] = []
        self._closed = False

    async def _open(self, deadline: float) -> Any:
        opening = asyncio.ensure_future(
            connect(
                self.address,
                timeout=deadline,
                deserialize=False,
                # Otherwise a peer may choose a compression that isn't installed here.
                handshake_overrides={"compression": None},
                **self._arguments,
            )
        )
        try:
            done, _ = await asyncio.wait((opening,), timeout=SOON_SECONDS)
            # Dask would retry until the deadline.
            if not done and await diagnosis.refused(self.address) and not opening.done():
                raise Unavailable(diagnosis.REFUSED)
            return await opening
        finally:
            if not opening.cancel() and not opening.cancelled():
                # Retrieve its exception, or asyncio warns that it never was.
                opening.exception()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _request(self, message: dict[str, Any], deadline: float, *, more: int = 0) -> Any:
        """Return the answer to a message, after which the peer sends `more` that tell nothing."""

        async def exchange() -> Any:
            plain.guard()
            comm = self._idle.pop() if self._idle else await self._open(deadline)
            try:
                await comm.write({**message, "reply": True}, serializers=["pickle"])
                answer = await comm.read()
                for _ in range(more):
                    await comm.read()
            except BaseException:
                comm.abort()
                raise
            if self._closed or len(self._idle) >= IDLE:
                comm.abort()
            else:
                self._idle.append(comm)
            return answer

        try:
            async with self._gate:
                return await asyncio.wait_for(asyncio.create_task(exchange()), deadline)
        except asyncio.TimeoutError:
            raise Timeout(f"No answer within {deadline:g} s") from None
        except CoiledError:
            raise
        except Exception:  # noqa: BLE001 - a hostile peer can make Dask raise anything: struct.error, AssertionError, …
            raise Unavailable("The connection failed") from None

    async def identity(self, deadline: float = 5.0) -> dict[str, Any]:
        """Return the identity of the scheduler and its workers (msgpack only)."""
        answer = await self._request({"op": "identity", **self._all}, deadline)
        if isinstance(answer, dict) and not self._all and "n_workers" in answer:
            # A Dask with the argument `n_workers` returns only five workers by default; an older one doesn't know the
            # argument and returns all.
            self._all = {"n_workers": -1}
            answer = await self._request({"op": "identity", **self._all}, deadline)
        if not isinstance(answer, dict) or "workers" not in answer:
            raise Unavailable("The scheduler sent no identity")
        return answer

    async def evaluate_on_scheduler(self, expression: str, names: dict[str, Any], deadline: float = 5.0) -> str:
        """Evaluate a text in the scheduler's process and return its answer; nothing of that is in a log."""
        begun = time.monotonic()
        made = _pickled(*quiet.worded("scheduler", expression, names))
        message = {"op": "feed", "setup": made, "function": _NEXT, "teardown": None, "interval": 0}
        found = _quietly(decode(await self._request(message, deadline, more=1)))
        if found is None:
            message = {"op": "run_function", **_call(expression, names)}
            found = _text(await self._request(message, deadline - (time.monotonic() - begun)))
        if isinstance(found, CoiledError):
            raise found
        return found

    async def evaluate_on_workers(
        self,
        workers: Sequence[str],
        expression: str,
        names: dict[str, Any],
        deadline: float = 5.0,
        *,
        nanny: bool = False,
    ) -> dict[str, str | CoiledError]:
        """Evaluate a text in the process of each worker (or its nanny), through the scheduler; nothing of that is in a log.

        Workers are asked in broadcasts; if one fails or is slow, because a worker is silent or gone, one by one.
        """
        begun = time.monotonic()
        worded = quiet.worded("nanny" if nanny else "worker", expression, names)
        made = Serialized(quiet.HEADER, [_pickled(*worded)])
        found = await self._on_workers(workers, {"op": "echo", "data": made}, deadline, nanny=nanny)
        told = {worker: value if isinstance(value, CoiledError) else _quietly(value) for worker, value in found.items()}
        others = [worker for worker, value in told.items() if value is None]
        if others:
            left = max(deadline - (time.monotonic() - begun), 0.1)
            found = await self._on_workers(others, {"op": "run", **_call(expression, names)}, left, nanny=nanny)
            told |= {worker: v if isinstance(v, CoiledError) else _text(v) for worker, v in found.items()}
        return {worker: Unavailable("It sent no answer") if v is None else v for worker, v in told.items()}

    async def _on_workers(
        self, workers: Sequence[str], message: dict[str, Any], deadline: float, *, nanny: bool = False
    ) -> dict[str, Any]:
        async def ask(batch: Sequence[str], seconds: float) -> dict[str, Any]:
            request = {"op": "broadcast", "msg": message, "workers": list(batch), "nanny": nanny}
            answer = decode(await self._request(request, seconds))
            if not isinstance(answer, dict):
                raise Unavailable("The scheduler's answer isn't one by worker")
            gone = Unavailable("The scheduler doesn't know this worker any more")
            return {worker: answer.get(worker, gone) for worker in batch}

        async def alone(worker: str) -> dict[str, Any]:
            try:
                return await ask([worker], deadline)
            except CoiledError as error:
                return {worker: error}

        async def each(batch: Sequence[str]) -> dict[str, Any]:
            answers = await asyncio.gather(*map(alone, batch))
            return {worker: value for answer in answers for worker, value in answer.items()}

        async def all_of(batch: Sequence[str]) -> dict[str, Any] | None:
            try:
                return await ask(batch, deadline)
            except CoiledError:
                return None

        async def together(batch: Sequence[str]) -> dict[str, Any]:
            if len(batch) == 1:
                return await alone(batch[0])
            async with gate:
                asked: list[asyncio.Task[dict[str, Any] | None]] = [asyncio.create_task(all_of(batch))]
                try:
                    await asyncio.wait(asked, timeout=BROADCAST_SECONDS)
                    if not asked[0].done() or asked[0].result() is None:
                        # A worker is silent or gone; or all are slow, and then the broadcast is answered first.
                        asked.append(asyncio.create_task(each(batch)))
                    for task in asyncio.as_completed(asked):
                        answers = await task
                        if answers is not None:
                            break
                    return answers or {}
                finally:
                    for one in asked:
                        one.cancel()
                    await asyncio.gather(*asked, return_exceptions=True)

        # The scheduler forwards one broadcast while the answers to another arrive.
        gate = asyncio.Semaphore(2)
        found: dict[str, Any] = {}
        parts = [workers[i : i + BROADCAST] for i in range(0, len(workers), BROADCAST)]
        for answer in await asyncio.gather(*map(together, parts)):
            found |= answer
        return found

    async def versions(self, workers: Sequence[str], deadline: float = 5.0) -> dict[str, Any]:
        """Return the answers of Dask's own versions handler, by address and for ``scheduler``; an error for a silent place."""
        found = await self._on_workers(workers, {"op": "versions"}, deadline)
        try:
            found["scheduler"] = decode(await self._request({"op": "versions"}, deadline))
        except CoiledError as error:
            found["scheduler"] = error
        return {
            place: answer if isinstance(answer, (dict, CoiledError)) else Unavailable("It sent no versions")
            for place, answer in found.items()
        }

    async def adaptive_target(self, deadline: float = 5.0) -> int:
        """Return how many workers the scheduler recommends for its tasks."""
        target = decode(await self._request({"op": "adaptive_target"}, deadline))
        if not isinstance(target, int):
            raise Unavailable("The scheduler doesn't recommend a number of workers")
        return target

    async def workers_to_close(self, count: int, deadline: float = 5.0) -> list[str]:
        """Return the addresses of at most `count` workers that the scheduler would close first."""
        found = decode(await self._request({"op": "workers_to_close", "n": count, "attribute": "address"}, deadline))
        if not isinstance(found, (list, tuple)):
            raise Unavailable("The scheduler doesn't say which workers to close")
        return [address for address in found if isinstance(address, str)][:count]

    async def retire(self, workers: Sequence[str], deadline: float, *, remove: bool = True) -> set[str]:
        """Retire workers; with `remove` they then leave the scheduler.

        Returns those that were retired; the scheduler refused the others, or the rest has no room for what they hold.
        """
        request = {"op": "retire_workers", "workers": list(workers), "close_workers": False, "remove": remove}
        found = decode(await self._request(request, deadline))
        # The answer of a handler that failed describes the failure and has no workers.
        return set(workers) & set(found) if isinstance(found, dict) else set()

    async def restart_nannies(self, nannies: Sequence[str], deadline: float) -> set[str]:
        """Have nannies restart their workers, all at once; return those that confirmed it.

        Never retried: a second request would end the worker that the first has started.
        """
        return await self._message_nannies(nannies, {"op": "restart", "timeout": deadline}, deadline + 2)

    async def register(
        self,
        kind: PluginKind,
        name: str,
        expression: str,
        names: dict[str, Any],
        deadline: float,
        *,
        idempotent: bool,
    ) -> None:
        """Register a NannyPlugin or a WorkerPlugin by reference: the value of `expression` where it is unpickled.

        New nannies set it up before their first worker starts, new workers before their first task. Ask each whether that
        succeeded: if one is silent, the answer is silent about the others. `idempotent` is whether the scheduler's handler
        requires that argument.
        """
        request = {"op": f"register_{kind}_plugin", "plugin": _pickled(expression, names), "name": name}
        await self._request({**request, **({"idempotent": False} if idempotent else {})}, deadline)

    async def unregister(self, kind: PluginKind, name: str, deadline: float) -> None:
        """Unregister a plugin, if it is registered."""
        await self._request({"op": f"unregister_{kind}_plugin", "name": name}, deadline)

    async def plug_nannies(
        self, nannies: Sequence[str], name: str, expression: str | None, names: dict[str, Any], deadline: float
    ) -> set[str]:
        """Add a plugin to these nannies, with or without a worker; without an expression, remove it."""
        if expression is None:
            return await self._message_nannies(nannies, {"op": "plugin_remove", "name": name}, deadline)
        message = {"op": "plugin_add", "plugin": _pickled(expression, names), "name": name}
        return await self._message_nannies(nannies, message, deadline)

    async def _message_nannies(self, nannies: Sequence[str], message: dict[str, Any], deadline: float) -> set[str]:
        # By their own addresses: a nanny without a worker has no other name at the scheduler.
        request = {"op": "broadcast", "msg": message, "workers": list(nannies), "nanny": False, "on_error": "ignore"}
        try:
            answer = decode(await self._request(request, deadline))
        except CoiledError:
            return set()
        if not isinstance(answer, dict):
            return set()
        good = ("OK", {"status": "OK"})
        return {nanny for nanny in nannies if answer.get(nanny) in good}

    async def restart_worker(self, worker: str, deadline: float) -> bool:
        """Have a worker's nanny restart it, and return whether it confirmed that; never retried, as `restart_nannies`."""
        message = {"op": "restart", "timeout": deadline}
        request = {"op": "broadcast", "msg": message, "workers": [worker], "nanny": True}
        try:
            answer = decode(await self._request(request, deadline + 2))
        except CoiledError:
            return False
        return isinstance(answer, dict) and answer.get(worker) == "OK"

    async def diagnose(self) -> str:
        """Return a sentence that says why the scheduler can't be reached or doesn't answer."""
        return await diagnosis.of(self.address, with_files=bool(self._arguments))


def _pickled(expression: str, names: dict[str, Any]) -> bytes:
    return pickle.dumps(_MadeThere(expression, names), protocol=4)


def _quietly(answer: Any) -> str | CoiledError | None:
    """Return what a quiet request was answered; None where it was not evaluated."""
    if not quiet.answered(answer):
        return None
    text = answer[0]
    if isinstance(text, str) and len(text) <= SIZE_LIMIT:
        return text
    return Refused(_REFUSED)


class _MadeThere:
    """Pickles as a call of the builtin `eval`."""

    def __init__(self, expression: str, names: dict[str, Any]) -> None:
        self._arguments = (expression, names)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, self._arguments


_NEXT = _pickled(*quiet.NEXT)


def _call(expression: str, names: dict[str, Any]) -> dict[str, Any]:
    return {
        "function": _EVAL,
        "args": pickle.dumps((expression, names), protocol=4),
        "kwargs": _NOTHING,
        "wait": True,
    }


def _text(answer: Any) -> str | CoiledError:
    try:
        answer = decode(answer)
        if isinstance(answer, dict) and answer.get("status") == "OK":
            result = decode(answer.get("result"))
            if isinstance(result, str) and len(result) <= SIZE_LIMIT:
                return result
    except CoiledError as error:
        return error
    return Refused(_REFUSED)


class Refused(Unavailable):
    """The process answered, but refused the request."""
