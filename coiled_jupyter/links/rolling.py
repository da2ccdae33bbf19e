"""What a sync asks of a cluster's nannies, workers and scheduler, by the text `rolling`.

Rules: a nanny is named by its own address and asked by way of the scheduler; every answer is decoded by shape; a method
about many answers for each of them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from .. import texts
from ..core.errors import CoiledError, Impossible, Timeout, Unavailable
from ..core.survey import Survey, SurveyPlace, SurveyProcess, SurveyWorker

if TYPE_CHECKING:
    from .scheduler import SchedulerLink

PLUGIN = "coiled-jupyter-layer"
ASK_SECONDS = 5.0
POINT_SECONDS = 30.0
CHUNK = 2 * 1024 * 1024
POLL_SECONDS = 0.1
RESTARTS_AT_ONCE = 16
_Text = Annotated[str, Meta(max_length=8192)]


class LayerRequest(Struct, frozen=True, kw_only=True):
    """A layer to build on a node; `environ` may hold credentials and reaches only the installer."""

    id: str
    executable: str
    lock: str
    uv: str | None
    expected: Mapping[str, str]
    imports: tuple[str, ...]
    environ: Mapping[str, str]
    options: tuple[str, ...] = ()
    only_binary: bool = True
    wheels: tuple[str, ...] = ()


class JobState(Struct, frozen=True, kw_only=True):
    """Where a build stands, with what its installer said since the last time."""

    state: str
    lines: tuple[str, ...] = ()
    reason: str = ""
    path: str = ""
    executable: str = ""
    entries: tuple[str, ...] = ()
    size: int = 0


class PointedLayer(Struct, frozen=True, kw_only=True):
    """A layer as its nannies are pointed to it."""

    id: str
    path: str
    executable: str
    entries: tuple[str, ...]


class _Told(Struct):
    state: _Text = ""
    reason: _Text = ""
    path: _Text = ""
    executable: _Text = ""
    entries: Annotated[tuple[_Text, ...], Meta(max_length=200)] = ()
    size: Annotated[int, Meta(ge=0)] = 0


class _Poll(Struct):
    told: _Told
    lines: Annotated[tuple[_Text, ...], Meta(max_length=1000)]
    next: Annotated[int, Meta(ge=0)]


class _Process(Struct):
    host: _Text
    pid: int
    key: _Text
    pointed: _Text | None
    reason: _Text


class _Answer(Struct):
    ok: msgspec.Raw = msgspec.Raw(b"null")
    error: _Text | None = None


class Rolling:
    """Requests of a sync to one cluster."""

    def __init__(self, link: SchedulerLink) -> None:
        self._link = link
        self._identity = ""
        self.reasons: dict[str, str] = {}
        """Why a nanny isn't pointed to any layer, as it said last."""

    # ---- asking -----------------------------------------------------------------------------------------------

    async def _on_workers(
        self, workers: Sequence[str], verb: str, *arguments: Any, kind: Any, nanny: bool = False, deadline: float = 5.0
    ) -> dict[str, Any]:
        """Return by worker what it, or its nanny, answered, or the error."""
        answers = await self._link.evaluate_on_workers(
            workers, texts.ROLLING, texts.rolling_names(verb, *arguments), deadline, nanny=nanny
        )
        return {worker: _decoded(answer, kind) for worker, answer in answers.items()}

    async def _on_scheduler(self, verb: str, *arguments: Any, kind: Any, deadline: float = 10.0) -> Any:
        found = _decoded(
            await self._link.evaluate_on_scheduler(texts.ROLLING, texts.rolling_names(verb, *arguments), deadline), kind
        )
        if isinstance(found, CoiledError):
            raise found
        return found

    async def _ask_nanny(self, nanny: str, verb: str, *arguments: Any, kind: Any, deadline: float = 10.0) -> Any:
        worker = (await self._workers_of([nanny])).get(nanny)
        if worker is None:
            raise Unavailable("The scheduler doesn't know a worker of this nanny any more")
        found = (await self._on_workers([worker], verb, *arguments, kind=kind, nanny=True, deadline=deadline))[worker]
        if isinstance(found, CoiledError):
            raise found
        return found

    async def _workers_of(self, nannies: Iterable[str]) -> dict[str, str]:
        wanted = set(nannies)
        workers = (await self._look())["workers"]
        return {info["nanny"]: address for address, info in workers.items() if info.get("nanny") in wanted}

    async def _look(self) -> dict[str, Any]:
        identity = await self._link.identity()
        self._identity = str(identity.get("id"))
        return identity

    # ---- what is there ----------------------------------------------------------------------------------------

    async def survey(self) -> Survey:
        """Return where the processes run and what the workers hold; what doesn't answer is in `reasons`."""
        identity = await self._look()
        workers: dict[str, Any] = identity["workers"]
        with_nanny = [address for address, info in workers.items() if info.get("nanny")]
        reasons: dict[str, str] = {}

        async def of_scheduler() -> tuple[_Process | None, dict[str, tuple[int, int, int, int, int]]]:
            try:
                process = await self._on_scheduler("process", kind=_Process)
                kind = dict[str, tuple[int, int, int, int, int]]
                return process, await self._on_scheduler("held", self._identity, kind=kind)
            except CoiledError as error:
                reasons["scheduler"] = error.message
                return None, {}

        (scheduler, held), nannies = await asyncio.gather(
            of_scheduler(), self._on_workers(with_nanny, "process", kind=_Process, nanny=True)
        )
        if reasons:
            raise Unavailable(f"The scheduler doesn't tell what its workers hold: {reasons['scheduler']}")
        speakers: dict[str, str] = {}
        for address, process in nannies.items():
            if isinstance(process, CoiledError):
                reasons[str(workers[address]["nanny"])] = process.message
            else:
                speakers.setdefault(process.key, address)
        places = []
        told = await self._on_workers(list(speakers.values()), "place", kind=dict[str, Any], nanny=True, deadline=10.0)
        for key, address in speakers.items():
            nanny = str(workers[address]["nanny"])
            try:
                if isinstance(told[address], CoiledError):
                    raise told[address]
                place = msgspec.convert({**told[address], "speaker": nanny, "key": key}, SurveyPlace)
            except CoiledError as error:
                reasons[nanny] = error.message
            except msgspec.ValidationError:
                reasons[nanny] = "Its answer isn't that of a nanny"
            else:
                places.append(place)
        return Survey(
            scheduler=scheduler and SurveyProcess(host=scheduler.host, pid=scheduler.pid),
            workers=tuple(
                _survey_worker(address, info, nannies.get(address), held.get(address))
                for address, info in sorted(workers.items(), key=lambda item: str(item[1].get("name")))
            ),
            places=tuple(places),
            encrypted=self._link.address.startswith("tls"),
            reasons=reasons,
        )

    # ---- layers -----------------------------------------------------------------------------------------------

    async def build(self, nanny: str, request: LayerRequest, deadline: float) -> AsyncIterator[JobState]:
        """Yield where the build of a layer stands until it is done or failed; it ends when the iterator does.

        A layer that is complete already is only looked at. A nanny that goes away raises Unavailable.
        """
        name = secrets.token_hex(8)
        options = (*request.options, *(("--only-binary", ":all:") if request.only_binary else ()))
        asked = {
            "id": request.id,
            "lock": request.lock,
            "uv": request.uv,
            "expected": dict(request.expected),
            "imports": list(request.imports),
            "environ": dict(request.environ),
            "options": list(options),
            "links": request.wheels[0].rpartition("/")[0] if request.wheels else None,
        }
        end = time.monotonic() + deadline
        await self._ask_nanny(nanny, "start", name, texts.source("build"), asked, kind=bool)
        after, misses = 0, 0
        finished = False
        try:
            while True:
                if time.monotonic() > end:
                    raise Timeout(f"The environment wasn't made within {deadline:.0f} s", "Look at the index")
                try:
                    polled = await self._ask_nanny(nanny, "poll", name, after, kind=_Poll)
                    misses = 0
                except CoiledError:
                    # A look may be lost; a nanny that has gone can't be asked again.
                    misses += 1
                    if misses > 5:
                        raise
                    await asyncio.sleep(0.5)
                    continue
                after, told = polled.next, polled.told
                yield JobState(
                    state=told.state,
                    lines=polled.lines,
                    reason=told.reason,
                    path=told.path,
                    executable=told.executable,
                    entries=told.entries,
                    size=told.size,
                )
                if told.state in ("done", "failed"):
                    finished = True
                    return
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if not finished:
                await asyncio.shield(self._stop(nanny, name))

    async def _stop(self, nanny: str, name: str) -> None:
        try:
            await self._ask_nanny(nanny, "stop", name, kind=bool)
        except CoiledError:
            # It ends with its nanny then.
            return

    async def send(self, nanny: str, name: str, data: bytes) -> str:
        """Send a file to a node and return its path there, once it is known to have arrived whole."""
        digest = hashlib.sha256(data).hexdigest()
        parts = range(0, max(len(data), 1), CHUNK)
        path = ""
        for offset in parts:
            part = base64.b64encode(data[offset : offset + CHUNK]).decode("ascii")
            last = digest if offset + CHUNK >= len(data) else ""
            path = await self._ask_nanny(nanny, "put", name, offset, part, last, kind=_Text, deadline=60.0)
        return path

    async def remove(self, nanny: str, layer: str) -> None:
        """Remove a layer where it lies; Impossible where that fails."""
        if not await self._ask_nanny(nanny, "remove", layer, kind=bool, deadline=60.0):
            raise Impossible("The folder of the layer could not be removed", "Look at who owns it")

    async def point(self, layers: Mapping[str, PointedLayer]) -> dict[str, str | None]:
        """Let all nannies, also later ones, start their workers in these layers; return by nanny which it is."""
        from .scheduler import ByReference

        told = {key: msgspec.to_builtins(layer) for key, layer in layers.items()}
        names = {**texts.rolling_names(), "L": told}
        # Since 2024 schedulers want to be told; older ones know no such argument.
        more = {"idempotent": False} if await self._on_scheduler("wants_idempotent", kind=bool) else {}
        await self._link.register_nanny_plugin(PLUGIN, ByReference(texts.PLUGIN, names), POINT_SECONDS, more=more)
        workers = (await self._look())["workers"]
        with_nanny = [address for address, info in workers.items() if info.get("nanny")]
        found = await self._on_workers(with_nanny, "process", kind=_Process, nanny=True)
        pointed: dict[str, str | None] = {}
        for address, process in found.items():
            nanny = str(workers[address]["nanny"])
            pointed[nanny] = None if isinstance(process, CoiledError) else process.pointed
            if pointed[nanny] is None:
                self.reasons[nanny] = process.message if isinstance(process, CoiledError) else process.reason
        return pointed

    async def unpoint(self) -> None:
        """Let all nannies start their workers in the base environment again."""
        await self._link.unregister_nanny_plugin(PLUGIN, POINT_SECONDS)

    async def extend_scheduler(self, entries: Sequence[str]) -> None:
        """Let the scheduler import what it lacks from a layer of its own host."""
        await self._on_scheduler("extend", list(entries), kind=list[str])

    async def restore_scheduler(self) -> None:
        """Take back what `extend_scheduler` did."""
        await self._on_scheduler("extend", [], kind=list[str])

    # ---- moving -----------------------------------------------------------------------------------------------

    async def fence(self, workers: Sequence[str], deadline: float) -> set[str]:
        """Let workers take nothing new and hand over what they hold; return those that the scheduler accepted."""
        return await self._link.fence(workers, deadline)

    async def executing(self, workers: Sequence[str]) -> dict[str, int]:
        """Return by worker how many of its tasks run; Unavailable where one doesn't tell."""
        found = await self._on_workers(workers, "executing", kind=int)
        for worker, count in found.items():
            if isinstance(count, CoiledError):
                raise Unavailable(f"Worker {worker} doesn't tell what it executes: {count.message}")
        return found

    async def give_up(self, workers: Sequence[str]) -> None:
        """Let workers that were fenced take tasks again."""
        await self._on_scheduler("stop_retiring", self._identity, list(workers), kind=bool)
        await self._on_workers(workers, "go_on", kind=bool)

    async def restart(self, workers: Sequence[str], deadline: float) -> None:
        """Let the nannies start these workers anew; whether they come back is told by `joined`."""
        some = asyncio.Semaphore(RESTARTS_AT_ONCE)

        async def one(worker: str) -> None:
            async with some:
                await self._link.restart_worker(worker, deadline)

        await asyncio.gather(*map(one, workers))

    async def joined(self, names: Sequence[str], old: frozenset[str], deadline: float) -> set[str]:
        """Wait until workers of these names are there at other addresses; return the names that aren't in time."""
        end = time.monotonic() + deadline
        while True:
            workers = (await self._look())["workers"]
            there = {str(info.get("name")) for address, info in workers.items() if address not in old}
            late = set(names) - there
            if not late or time.monotonic() > end:
                return late
            await asyncio.sleep(0.05)


def _decoded(answer: str | CoiledError, kind: Any) -> Any:
    if isinstance(answer, CoiledError):
        return answer
    try:
        found = msgspec.json.decode(answer, type=_Answer)
        if found.error is None:
            return msgspec.json.decode(found.ok, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Unavailable("The answer isn't what was asked for, so it wasn't used")
    return Unavailable(f"The process could not do it: {found.error[:300]}")


def _survey_worker(
    address: str, info: Mapping[str, Any], process: Any, held: tuple[int, int, int, int, int] | None
) -> SurveyWorker:
    metrics = info.get("metrics") or {}
    alone, futures, scattered, running, actors = (max(count, 0) for count in held or (0, 0, 0, 0, 0))
    known = process if isinstance(process, _Process) else None
    return SurveyWorker(
        address=address,
        name=str(info.get("name", "")),
        nanny=str(info["nanny"]) if info.get("nanny") else None,
        nanny_process=SurveyProcess(host=known.host, pid=known.pid) if known else None,
        place=known.key if known else None,
        alone=alone,
        memory=_count(metrics.get("memory")),
        memory_limit=_count(info.get("memory_limit")) or None,
        futures=futures,
        scattered=scattered,
        running=running,
        actors=actors,
    )


def _count(value: Any) -> int:
    return max(int(value), 0) if isinstance(value, (int, float)) else 0
