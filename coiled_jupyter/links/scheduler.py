"""The only module that speaks Dask's protocol: raw requests to a scheduler, and through it to its workers.

Rules: what crosses is msgpack, and builtins pickled by reference with text; answers are never deserialized by Dask but
decoded by an unpickler that finds no class, after a limit of size; every request has a deadline.

Dask's own ``deserialize=False`` isn't enough: a peer decides whether a part of its message is unpickled at once
(``ToPickle``) or names an enumeration of any module, in the handshake already. So for the requests of this module, and
for nothing else in the process, messages are read by `_loads`.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import distributed.comm.tcp
import msgpack
from distributed.comm.core import connect
from distributed.protocol.serialize import Serialized
from distributed.security import Security

from ..core.errors import CoiledError, Timeout, Unavailable
from . import diagnosis

SIZE_LIMIT = 4 * 1024 * 1024
FRAME_LIMIT = 64 * 1024 * 1024
"""Bytes of one frame; the identity of a scheduler with thousands of workers has some MiB."""
AT_ONCE = 16
IDLE = 2
"""Connections that are kept open between requests."""
SOON_SECONDS = 0.2
"""A connection that isn't open by then may be refused, which is asked once: a scheduler that is there logs the question."""
BROADCAST = 100
"""Workers that one request is passed on to: it keeps the scheduler only that long, and one silent worker only those."""
BROADCAST_SECONDS = 2.0


class _Text:
    """Pickles as the builtin `eval`, by reference, of a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (self._text,)


# Dask looks at the signature of what it is to call, twice. That of a builtin is parsed each time, which took a worker
# longer than all else of a request.
_EVAL = pickle.dumps(_Text("lambda text, names: eval(text, names)"), protocol=4)
_NOTHING = pickle.dumps({}, protocol=4)

_guarded: contextvars.ContextVar[bool] = contextvars.ContextVar("guarded", default=False)
_from_frames = distributed.comm.tcp.from_frames  # type: ignore[attr-defined]
_read_bytes = distributed.comm.tcp.read_bytes_rw


async def _guarded_from_frames(frames: Any, *args: Any, **kwargs: Any) -> Any:
    return _loads(frames) if _guarded.get() else await _from_frames(frames, *args, **kwargs)


async def _guarded_read_bytes(stream: Any, n: int) -> Any:
    if _guarded.get() and n > FRAME_LIMIT:
        raise ValueError("a frame larger than any answer")
    return await _read_bytes(stream, n)


distributed.comm.tcp.from_frames = _guarded_from_frames  # type: ignore[attr-defined]
distributed.comm.tcp.read_bytes_rw = _guarded_read_bytes


def _loads(frames: list[Any]) -> Any:
    """Decode one message: plain msgpack, in which serialized parts stay serialized; ValueError for anything else."""

    def plain(found: dict[Any, Any]) -> Any:
        offset = found.get("__Serialized__", 0)
        if type(offset) is int and 0 < offset < len(frames):
            header = msgpack.unpackb(frames[offset], strict_map_key=False, use_list=False)
            count = header["num-sub-frames"]
            return Serialized(header, frames[offset + 1 : offset + 1 + count])
        if "__Enum__" in found:
            return str(found.get("name"))
        if "__Set__" in found:
            return list(found.get("as-list", ()))
        if "__Pickled__" in found or "__Serialized__" in found:
            raise ValueError("a message may not hold a pickle that is loaded at once")
        return found

    try:
        return msgpack.unpackb(frames[0], object_hook=plain, strict_map_key=False, use_list=False)
    except Exception as error:
        raise ValueError("a message that isn't plain") from error


@dataclass(frozen=True)
class TLSFiles:
    """Paths of PEM files."""

    ca: str
    cert: str
    key: str


class _PlainUnpickler(pickle.Unpickler):
    """Knows numbers, texts and containers; everything that names a class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError("an answer may not name a class")


def decode(value: Any) -> Any:
    """Return the plain value of an answer that Dask left serialized; Unavailable where it isn't plain or too large."""
    if not isinstance(value, Serialized):
        return value
    data = b"".join(bytes(frame) for frame in value.frames)
    if len(data) > SIZE_LIMIT:
        raise Unavailable("The answer is larger than 4 MiB, so it wasn't read")
    if value.header.get("serializer") != "pickle" or value.header.get("compression", (None,)) not in ((None,), [None]):
        raise Unavailable("The answer has a form that isn't read")
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except Exception:  # noqa: BLE001 - a hostile pickle can raise anything
        raise Unavailable("The answer isn't plain data, so it wasn't read") from None


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
                # Without it a peer of another version may compress in a way that isn't installed here.
                handshake_overrides={"compression": None},
                **self._arguments,
            )
        )
        try:
            done, _ = await asyncio.wait((opening,), timeout=SOON_SECONDS)
            # Dask would try again until the deadline.
            if not done and await diagnosis.refused(self.address) and not opening.done():
                raise Unavailable(diagnosis.REFUSED)
            return await opening
        finally:
            if not opening.cancel() and not opening.cancelled():
                # Nobody may have waited for its failure.
                opening.exception()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _request(self, message: dict[str, Any], deadline: float) -> Any:
        async def exchange() -> Any:
            # Holds in this task only.
            _guarded.set(True)
            comm = self._idle.pop() if self._idle else await self._open(deadline)
            try:
                await comm.write({**message, "reply": True}, serializers=["pickle"])
                answer = await comm.read()
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
        except (OSError, TypeError, ValueError, EOFError):
            raise Unavailable("The connection failed") from None

    async def identity(self, deadline: float = 5.0) -> dict[str, Any]:
        """Return what the scheduler tells of itself and its workers (msgpack only)."""
        answer = await self._request({"op": "identity", **self._all}, deadline)
        if isinstance(answer, dict) and not self._all and "n_workers" in answer:
            # A Dask that counts its workers tells only five of them unless asked for all; an older one knows no such
            # argument and tells all.
            self._all = {"n_workers": -1}
            answer = await self._request({"op": "identity", **self._all}, deadline)
        if not isinstance(answer, dict) or not isinstance(answer.get("workers"), dict):
            raise Unavailable("The scheduler gave no identity")
        return answer

    async def evaluate_on_scheduler(self, expression: str, names: dict[str, Any], deadline: float = 5.0) -> str:
        """Evaluate a text in the scheduler's process and return the text that it gives."""
        message = {"op": "run_function", **_call(expression, names)}
        found = _text(await self._request(message, deadline))
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
        """Evaluate a text in the process of each worker (or its nanny), by way of the scheduler.

        Many are asked in one request; where that fails or takes long, as one of them is silent or gone, each by itself.
        """
        found = await self._on_workers(workers, {"op": "run", **_call(expression, names)}, deadline, nanny=nanny)
        return {
            worker: _text(value) if not isinstance(value, CoiledError) else value for worker, value in found.items()
        }

    async def _on_workers(
        self, workers: Sequence[str], message: dict[str, Any], deadline: float, *, nanny: bool = False
    ) -> dict[str, Any]:
        async def ask(some: Sequence[str], seconds: float) -> dict[str, Any]:
            request = {"op": "broadcast", "msg": message, "workers": list(some), "nanny": nanny}
            answer = decode(await self._request(request, seconds))
            if not isinstance(answer, dict):
                raise Unavailable("The scheduler's answer isn't one of its workers")
            gone = Unavailable("The scheduler doesn't know this worker any more")
            return {worker: answer.get(worker, gone) for worker in some}

        async def alone(worker: str) -> dict[str, Any]:
            try:
                return await ask([worker], deadline)
            except CoiledError as error:
                return {worker: error}

        async def each(some: Sequence[str]) -> dict[str, Any]:
            answers = await asyncio.gather(*map(alone, some))
            return {worker: value for answer in answers for worker, value in answer.items()}

        async def all_of(some: Sequence[str]) -> dict[str, Any] | None:
            try:
                return await ask(some, deadline)
            except CoiledError:
                return None

        async def together(some: Sequence[str]) -> dict[str, Any]:
            if len(some) == 1:
                return await alone(some[0])
            async with gate:
                asked: list[asyncio.Task[dict[str, Any] | None]] = [asyncio.create_task(all_of(some))]
                try:
                    await asyncio.wait(asked, timeout=BROADCAST_SECONDS)
                    if not asked[0].done() or asked[0].result() is None:
                        # One of them is silent or gone. Or all are slow: then the first question is answered first.
                        asked.append(asyncio.create_task(each(some)))
                    for task in asyncio.as_completed(asked):
                        answers = await task
                        if answers is not None:
                            break
                    return answers or {}
                finally:
                    for one in asked:
                        one.cancel()
                    await asyncio.gather(*asked, return_exceptions=True)

        # The scheduler passes on one while the answers to another come in.
        gate = asyncio.Semaphore(2)
        found: dict[str, Any] = {}
        parts = [workers[i : i + BROADCAST] for i in range(0, len(workers), BROADCAST)]
        for answer in await asyncio.gather(*map(together, parts)):
            found |= answer
        return found

    async def versions(self, workers: Sequence[str], deadline: float = 5.0) -> dict[str, Any]:
        """Return what Dask's own versions handler tells, by address and for ``scheduler``; an error for who is silent."""
        found = await self._on_workers(workers, {"op": "versions"}, deadline)
        try:
            found["scheduler"] = decode(await self._request({"op": "versions"}, deadline))
        except CoiledError as error:
            found["scheduler"] = error
        return {
            place: answer if isinstance(answer, (dict, CoiledError)) else Unavailable("It told no versions")
            for place, answer in found.items()
        }

    async def adaptive_target(self, deadline: float = 5.0) -> int:
        """Return the workers that the scheduler would have for its tasks."""
        target = decode(await self._request({"op": "adaptive_target"}, deadline))
        if not isinstance(target, int):
            raise Unavailable("The scheduler doesn't say how many workers it would have")
        return target

    async def workers_to_close(self, count: int, deadline: float = 5.0) -> list[str]:
        """Return the addresses of at most `count` workers that the scheduler would miss least."""
        found = decode(await self._request({"op": "workers_to_close", "n": count, "attribute": "address"}, deadline))
        if not isinstance(found, (list, tuple)):
            raise Unavailable("The scheduler doesn't say which workers it can do without")
        return [address for address in found if isinstance(address, str)][:count]

    async def retire(self, workers: Sequence[str], deadline: float) -> bool:
        """Let workers hand what they hold to the others and leave; False where the scheduler refused."""
        request = {"op": "retire_workers", "workers": list(workers), "close_workers": False, "remove": True}
        return bool(decode(await self._request(request, deadline)))

    async def fence(self, workers: Sequence[str], deadline: float) -> set[str]:
        """Let workers take nothing new and hand what they hold to the others; they stay.

        Returns those that the scheduler has accepted; the others it has refused, or has no room for what they hold.
        """
        request = {"op": "retire_workers", "workers": list(workers), "close_workers": False, "remove": False}
        found = decode(await self._request(request, deadline))
        # Of a handler that failed, the answer tells of that and of no worker.
        return set(workers) & set(found) if isinstance(found, dict) else set()

    async def restart_nannies(self, nannies: Sequence[str], deadline: float) -> set[str]:
        """Let nannies start their workers anew, all at once; return those that said that they have.

        Asked once: a second request would end the worker that the first has started.
        """
        return await self._tell_nannies(nannies, {"op": "restart", "timeout": deadline}, deadline + 2)

    async def register_nannies(
        self, name: str, expression: str, names: dict[str, Any], deadline: float, *, idempotent: bool
    ) -> None:
        """Register a NannyPlugin by reference: what `expression` gives where it is unpickled.

        Newcomers get it before their first worker starts. Whether each nanny could set it up is to be asked of it: where one is silent, the
        answer tells nothing of the others. `idempotent` says whether the scheduler's handler wants that argument.
        """
        request = {"op": "register_nanny_plugin", "plugin": _made_there(expression, names), "name": name}
        await self._request({**request, **({"idempotent": False} if idempotent else {})}, deadline)

    async def unregister_nannies(self, name: str, deadline: float) -> None:
        """Take back a NannyPlugin; one that isn't registered is no error."""
        await self._request({"op": "unregister_nanny_plugin", "name": name}, deadline)

    async def plug_nannies(
        self, nannies: Sequence[str], name: str, expression: str | None, names: dict[str, Any], deadline: float
    ) -> set[str]:
        """Give these nannies, whether they have a worker or not, a plugin, or without an expression take it back."""
        if expression is None:
            return await self._tell_nannies(nannies, {"op": "plugin_remove", "name": name}, deadline)
        message = {"op": "plugin_add", "plugin": _made_there(expression, names), "name": name}
        return await self._tell_nannies(nannies, message, deadline)

    async def _tell_nannies(self, nannies: Sequence[str], message: dict[str, Any], deadline: float) -> set[str]:
        # By their own addresses, since one whose worker isn't there has no other name at the scheduler.
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
        """Let a worker's nanny start it anew; False where it didn't say that it has.

        Asked once: a second request would end the worker that the first has started.
        """
        message = {"op": "restart", "timeout": deadline}
        request = {"op": "broadcast", "msg": message, "workers": [worker], "nanny": True}
        try:
            answer = decode(await self._request(request, deadline + 2))
        except CoiledError:
            return False
        return isinstance(answer, dict) and answer.get(worker) == "OK"

    async def diagnose(self) -> str:
        """Return, in plain words, why the scheduler can't be reached or asked."""
        return await diagnosis.of(self.address, with_files=bool(self._arguments))


class _MadeThere:
    """Pickles as a call of the builtin ``eval``."""

    def __init__(self, expression: str, names: dict[str, Any]) -> None:
        self._arguments = (expression, names)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, self._arguments


def _made_there(expression: str, names: dict[str, Any]) -> bytes:
    return pickle.dumps(_MadeThere(expression, names), protocol=4)


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
    return Refused("The process refused to be read, or its answer isn't text")


class Refused(Unavailable):
    """The process answered, and didn't do what it was asked."""
