"""Moves the workers of one cluster to another environment, step by step, by texts in its scheduler, nannies and workers.

Only steps are here; their order, and what is done when one fails, is the supervisor's. Nannies are asked by their own
addresses by way of the scheduler, so also those whose workers aren't there at the moment.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
import zlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from .. import tasks, texts
from ..core.errors import CoiledError, Impossible, Timeout, Unavailable
from ..core.survey import Survey, SurveyPlace, SurveyProcess, SurveyWorker
from .scheduler import SchedulerLink

PLUGIN = "coiled-jupyter-layer"
"""The name of the NannyPlugin at the scheduler; its text and the scheduler's have it too."""
DEADLINE = 10.0
REGISTER_SECONDS = 20.0
SPEAKERS = 3
"""How many nannies of one place are asked about it, until one answers."""
ABSENT_SECONDS = 3.0
"""How long a nanny may be silent whose worker isn't at the scheduler, until it counts as ended."""
SILENT_SECONDS = 20.0
"""How long the nanny that builds may be silent before the build counts as lost."""
CHUNK = 3 * 512 * 1024
FILE_LIMIT = 256 * 1024 * 1024
LOOK_BYTES = 256 * 1024 * 1024
"""Bytes that one worker pickles at most to see what its values need; arrays count only by their shape."""

BuildState: TypeAlias = Literal["waiting", "creating", "installing", "checking", "done", "failed", "cancelled"]
_Text = Annotated[str, Meta(max_length=4096)]
_Count = Annotated[int, Meta(ge=0)]
_T = TypeVar("_T", bound=Struct)


class LayerRequest(Struct, frozen=True, kw_only=True):
    """What a layer is made from.

    Attributes
    ----------
    id
        Its name on the node.
    executable
        The base environment's Python, on the node.
    lock
        Requirements with hashes; empty where the layer must be there already.
    uv
        The path of a uv on the node; None: pip of the base.
    expected
        Every distribution and its version; empty where that isn't known.
    imports
        Distributions, or modules, that must be importable.
    environ
        More variables of the installer, such as an index with its credentials; nothing else sees them.
    options
        More arguments of the installer, without secrets.
    wheels
        Paths on the node, as `Rolling.send` gave them.

    """

    id: str
    executable: str
    lock: str
    uv: str | None = None
    expected: Mapping[str, str] = {}
    imports: tuple[str, ...] = ()
    environ: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    only_binary: bool = True
    wheels: tuple[str, ...] = ()


class JobState(Struct, frozen=True, kw_only=True):
    """A build at one moment; `lines` are those that are new since the last one.

    Attributes
    ----------
    reason
        Of a failure, in the installer's own words.
    path, executable, entries, size
        Of a layer that is done: its folder, its Python, its own entries of sys.path, its bytes.

    """

    state: BuildState
    lines: tuple[Annotated[str, Meta(max_length=4000)], ...] = ()
    next: _Count = 0
    reason: str | None = None
    path: _Text = ""
    executable: _Text = ""
    entries: Annotated[tuple[_Text, ...], Meta(max_length=1000)] = ()
    size: _Count = 0


class PointedLayer(Struct, frozen=True, kw_only=True):
    """A layer as nannies need it; what a `JobState` that is done told of it."""

    id: str
    path: str
    executable: str
    entries: tuple[str, ...]


class Needs(Struct, frozen=True, kw_only=True):
    """What the values that a worker holds need where they are moved to.

    Attributes
    ----------
    distributions, modules
        Normalized names; modules are those that belong to no distribution.
    unfinished
        Values that weren't looked at to their end: too many, too large, on disk, or not picklable.

    """

    distributions: Annotated[tuple[_Text, ...], Meta(max_length=20_000)] = ()
    modules: Annotated[tuple[_Text, ...], Meta(max_length=20_000)] = ()
    unfinished: _Count = 0


class _About(Struct, frozen=True):
    host: _Text
    pid: _Count
    distributed: _Text
    idempotent: bool
    pointing: bool


class _Walk(Struct, frozen=True):
    walk: int | None
    workers: tuple[SurveyWorker, ...]


class _Where(Struct, frozen=True):
    host: _Text
    pid: _Count
    prefix: _Text
    layer: _Text | None
    why: _Text
    obstacle: _Text
    nannies: dict[_Text, _Text] = {}


class _Details(Struct, frozen=True):
    python: _Text
    implementation: _Text
    platform: _Text
    machine: _Text
    libc: _Text
    executable: _Text
    uv: _Text | None
    pip: bool
    home: _Text | None
    free: _Count | None
    layers: dict[_Text, _Count]


class _Put(Struct, frozen=True):
    have: _Count
    path: _Text = ""


class _Removed(Struct, frozen=True):
    removed: bool


class _Present(Struct, frozen=True):
    workers: dict[str, tuple[str, str, str, str | None]]


class _Old(Struct, frozen=True):
    """A worker before it was restarted; `served` is its own id."""

    served: str
    name: str
    nanny: str


class _Executing(Struct, frozen=True):
    executing: _Count
    queued: tuple[str, ...]


class Held(Struct, frozen=True):
    """Values that lie on one worker only, and their bytes."""

    count: _Count
    bytes: _Count


class _Look(Struct, frozen=True):
    look: int


class _Looked(Struct, frozen=True):
    found: Needs | None


class _Entries(Struct, frozen=True):
    entries: tuple[str, ...]


class _Nothing(Struct, frozen=True):
    pass


class Rolling:
    """The steps of moving a cluster's workers.

    Every method has a deadline, and raises Unavailable or Timeout with the reason where the scheduler, or the one node
    that it is about, doesn't answer.

    Parameters
    ----------
    link
        The way to the scheduler.

    """

    def __init__(self, link: SchedulerLink) -> None:
        self._link = link
        self._identity: str | None = None
        self._nannies: dict[str, None] = {}
        self._old: dict[str, _Old] = {}
        self.reasons: dict[str, str] = {}
        """Why a nanny isn't pointed to any layer, as it said last."""

    # ---- asking -----------------------------------------------------------------------------------------------

    async def _ask(
        self, name: str, nodes: Sequence[str], verb: str, *arguments: Any, deadline: float = DEADLINE
    ) -> dict[str, str | CoiledError]:
        """Ask a kept text of nannies or workers; it is sent to those that don't have it, by itself."""
        short = texts.short_names(name, verb, *arguments)
        found = await self._link.evaluate_on_workers(nodes, texts.SHORT, short, deadline)
        absent = [node for node, answer in found.items() if answer == "absent"]
        if absent:
            sent = await self._link.evaluate_on_workers(absent, texts.KEEP, texts.kept_names(name), deadline)
            found |= {node: answer for node, answer in sent.items() if isinstance(answer, CoiledError)}
            kept = [node for node, answer in sent.items() if answer == "kept"]
            found |= await self._link.evaluate_on_workers(kept, texts.SHORT, short, deadline)
        return found

    async def _ask_one(
        self, name: str, node: str, kind: type[_T], verb: str, *arguments: Any, deadline: float = DEADLINE
    ) -> _T:
        answer = (await self._ask(name, [node], verb, *arguments, deadline=deadline))[node]
        return _decoded(answer, kind)

    async def _ask_scheduler(self, kind: type[_T], verb: str, *arguments: Any, deadline: float = DEADLINE) -> _T:
        for _ in range(2):
            if self._identity is None:
                self._identity = str((await self._link.identity(deadline)).get("id"))
            names = texts.short_names("scheduler", verb, self._identity, *arguments)
            answer = await self._link.evaluate_on_scheduler(texts.SHORT, names, deadline)
            if answer == "absent":
                await self._link.evaluate_on_scheduler(texts.KEEP, texts.kept_names("scheduler"), deadline)
                answer = await self._link.evaluate_on_scheduler(texts.SHORT, names, deadline)
            if "another scheduler" not in answer[:100]:
                break
            # It was started anew at the same address.
            self._identity = None
        return _decoded(answer, kind)

    async def _present(self) -> dict[str, tuple[str, str, str, str | None]]:
        return (await self._ask_scheduler(_Present, "present")).workers

    async def _all_nannies(self) -> list[str]:
        """Return the nannies of all workers, and those that were known before: a worker may be gone for a moment."""
        self._nannies |= dict.fromkeys(nanny for *_, nanny in (await self._present()).values() if nanny)
        return list(self._nannies)

    # ---- looking ----------------------------------------------------------------------------------------------

    async def survey(self) -> Survey:
        """Look at the whole cluster; what doesn't answer is in `reasons` by address, and so are nannies that can't be moved."""
        self._identity = None
        about = await self._ask_scheduler(_About, "about")
        counted = await self.counted()
        nannies = list(dict.fromkeys(worker.nanny for worker in counted if worker.nanny))
        absent = [nanny for nanny in self._nannies if nanny not in nannies]
        self._nannies |= dict.fromkeys(nannies)
        reasons: dict[str, str] = {}
        wheres: dict[str, _Where] = {}
        answers, starting = await asyncio.gather(self._ask("nanny", nannies, "where"), self._starting(absent))
        for nanny, answer in answers.items():
            try:
                wheres[nanny] = _decoded(answer, _Where)
            except CoiledError as error:
                reasons[nanny] = error.message
                continue
            if wheres[nanny].obstacle:
                reasons[nanny] = wheres[nanny].obstacle
        places, keys = await self._places(wheres, reasons)
        workers = tuple(
            msgspec.structs.replace(
                worker,
                nanny_process=None if where is None else SurveyProcess(host=where.host, pid=where.pid),
                place=None if where is None or _key(where) not in keys else _key(where),
            )
            for worker in counted
            for where in [wheres.get(worker.nanny or "")]
        )
        return Survey(
            scheduler=SurveyProcess(host=about.host, pid=about.pid),
            workers=workers,
            places=tuple(places),
            encrypted=self._link.address.partition("://")[0] in ("tls", "wss"),
            reasons=reasons,
            starting=starting,
        )

    async def counted(self) -> tuple[SurveyWorker, ...]:
        """Return what each worker holds and does by the scheduler's account; nothing is asked of their nannies."""
        counted: list[SurveyWorker] = []
        walk: int | None = None
        while True:
            piece = await self._ask_scheduler(_Walk, "walk", walk)
            counted += piece.workers
            walk = piece.walk
            if walk is None:
                break
        return tuple(counted)

    async def _starting(self, absent: Sequence[str]) -> tuple[str, ...]:
        """Return which of the nannies whose workers aren't at the scheduler will bring one; forget those that have ended."""
        found = []
        for nanny, answer in (await self._ask("nanny", absent, "where", deadline=ABSENT_SECONDS)).items():
            try:
                where = _decoded(answer, _Where)
            except CoiledError:
                self._nannies.pop(nanny, None)
                continue
            if where.nannies.get(nanny) in ("init", "starting", "running", "paused"):
                found.append(nanny)
        return tuple(found)

    async def _places(
        self, wheres: Mapping[str, _Where], reasons: dict[str, str]
    ) -> tuple[list[SurveyPlace], set[str]]:
        members: dict[str, list[str]] = {}
        for nanny, where in wheres.items():
            members.setdefault(_key(where), []).append(nanny)

        async def place(key: str, nannies: Sequence[str]) -> SurveyPlace | None:
            for nanny in nannies[:SPEAKERS]:
                try:
                    told = await self._ask_one("nanny", nanny, _Details, "details")
                except CoiledError as error:
                    reasons[nanny] = error.message
                    continue
                where = wheres[nanny]
                return SurveyPlace(
                    key=key,
                    host=where.host,
                    prefix=where.prefix,
                    speaker=nanny,
                    layer=where.layer,
                    **msgspec.structs.asdict(told),
                )
            return None

        found = await asyncio.gather(*(place(key, nannies) for key, nannies in members.items()))
        places = [place for place in found if place is not None]
        return places, {place.key for place in places}

    async def held(self, worker: str) -> Held:
        """Return what lies on this worker only; its loss would be a loss."""
        return await self._ask_scheduler(Held, "held", worker)

    async def needs(self, workers: Sequence[str], seconds: float) -> dict[str, Needs]:
        """Return what the values held by each worker need to be unpickled; who isn't named couldn't be asked."""
        found: dict[str, Needs] = {}
        looks: dict[str, int] = {}
        for worker, answer in (await self._ask("worker", workers, "needs", seconds, LOOK_BYTES)).items():
            if not isinstance(answer, CoiledError):
                looks[worker] = _decoded(answer, _Look).look
        deadline = time.monotonic() + seconds + DEADLINE
        pause = 0.01
        while looks and time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
            answers = await asyncio.gather(
                *(self._ask_one("worker", worker, _Looked, "needed", look) for worker, look in looks.items()),
                return_exceptions=True,
            )
            for worker, looked in zip(tuple(looks), answers, strict=True):
                if isinstance(looked, _Looked):
                    if looked.found is None:
                        continue
                    found[worker] = looked.found
                elif not isinstance(looked, CoiledError):
                    raise looked
                del looks[worker]
        return found

    # ---- layers -----------------------------------------------------------------------------------------------

    async def build(self, nanny: str, request: LayerRequest, seconds: float) -> AsyncIterator[JobState]:
        """Build a layer, or see that it is there and whole; the last state is ``done``, ``failed`` or ``cancelled``.

        Ends the build where the iteration is given up. Unavailable is raised where the node was lost: then nothing is
        known, but a layer that isn't whole is never taken for one.
        """
        about = await self._ask_scheduler(_About, "about")
        body = {
            **msgspec.structs.asdict(request),
            "distributed": about.distributed,
            "seconds": seconds,
            "check": texts.source("check"),
        }
        told = _packed(json.dumps(body, default=dict))
        # The text first, by itself, so that the credentials are only ever in a request that can't fail.
        await self._ask_one("nanny", nanny, _Where, "where")
        begun = asyncio.ensure_future(self._ask_one("nanny", nanny, _Nothing, "begin", texts.packed("layer"), told))
        after, last = 0, ""
        ended = False
        try:
            await asyncio.shield(begun)
            began = heard = time.monotonic()
            while not ended:
                try:
                    state = await self._ask_one("nanny", nanny, JobState, "poll", request.id, after)
                except Impossible:
                    raise Unavailable("The nanny that built the environment was started anew") from None
                except CoiledError as error:
                    if time.monotonic() - heard > SILENT_SECONDS:
                        raise Unavailable(f"The node that builds doesn't answer any more: {error.message}") from None
                    await asyncio.sleep(0.5)
                    continue
                heard = time.monotonic()
                ended = state.state in ("done", "failed", "cancelled")
                if state.lines or state.state != last:
                    last, after = state.state, state.next
                    yield state
                if not ended:
                    # What a pause costs is a small part of what the build took.
                    await asyncio.sleep(min(max((time.monotonic() - began) / 20, 0.02), 0.3))
        finally:
            if not ended:
                await tasks.finish(self._give_up(begun, nanny, request.id))

    async def _give_up(self, begun: asyncio.Future[_Nothing], nanny: str, layer: str) -> None:
        # Told to stop before it was told to begin, the node would build on for nobody.
        await asyncio.gather(begun, return_exceptions=True)
        await self.stop_build(nanny, layer)

    async def stop_build(self, nanny: str, layer: str) -> None:
        """End the build of a layer where one runs."""
        await self._ask("nanny", [nanny], "cancel", layer)

    async def send(self, nanny: str, name: str, data: bytes) -> str:
        """Send a file to a node, and return its path there; one that is there already isn't sent again."""
        if len(data) > FILE_LIMIT:
            raise Impossible(f"{name} is larger than {FILE_LIMIT >> 20} MiB, so it isn't sent")
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        runs = name == "uv"
        known = await self._ask_one("nanny", nanny, _Put, "put", name, digest, 0, None, len(data), runs)
        for offset in range(0, len(data), CHUNK):
            if known.path:
                break
            piece = data[offset : offset + CHUNK]
            known = await self._ask_one(
                "nanny", nanny, _Put, "put", name, digest, offset, piece, len(data), runs, deadline=60.0
            )
        if not known.path:
            raise Unavailable(f"{name} could not be sent to the node")
        return known.path

    async def remove(self, nanny: str, layer: str) -> bool:
        """Remove a layer from a node; False where it isn't there, Impossible where anybody uses it."""
        return (await self._ask_one("nanny", nanny, _Removed, "remove", layer)).removed

    # ---- pointing ---------------------------------------------------------------------------------------------

    async def point(self, layers: Mapping[str, PointedLayer]) -> dict[str, str | None]:
        """Point every nanny to the layer of its place; return by nanny which layer it is pointed to now.

        None is the base: its place isn't named, or it can't be pointed, or it didn't answer. Workers are as they were
        until they are restarted; those of newcomers start in the layer.
        """
        about = await self._ask_scheduler(_About, "about")
        before = await self._all_nannies()
        names = texts.point_names(json.dumps({key: msgspec.structs.asdict(layer) for key, layer in layers.items()}))
        # It is registered before the nannies are told, of which one may be silent.
        with contextlib.suppress(Timeout):
            await self._link.register_nannies(PLUGIN, texts.POINT, names, REGISTER_SECONDS, idempotent=about.idempotent)
        pointed = await self._pointed()
        # Those that have no worker now weren't told.
        wanted = {layer.id for layer in layers.values()}
        strayed = [nanny for nanny in before if pointed.get(nanny) not in wanted]
        if strayed:
            await self._link.plug_nannies(strayed, PLUGIN, texts.POINT, names, DEADLINE)
            pointed = await self._pointed()
        return pointed

    async def unpoint(self) -> dict[str, str | None]:
        """Point every nanny back to its own environment; return by nanny the layer that it is pointed to nevertheless."""
        await self._all_nannies()
        # Of what it doesn't know a scheduler logs a traceback.
        if (await self._ask_scheduler(_About, "about")).pointing:
            with contextlib.suppress(Timeout):
                await self._link.unregister_nannies(PLUGIN, REGISTER_SECONDS)
        pointed = await self._pointed()
        strayed = [nanny for nanny, layer in pointed.items() if layer is not None]
        if strayed:
            await self._link.plug_nannies(strayed, PLUGIN, None, {}, DEADLINE)
            pointed = await self._pointed()
        return pointed

    async def _pointed(self) -> dict[str, str | None]:
        present = {nanny for *_, nanny in (await self._present()).values() if nanny}
        found: dict[str, str | None] = {}
        self.reasons = {}
        for nanny, answer in (await self._ask("nanny", await self._all_nannies(), "where")).items():
            try:
                where = _decoded(answer, _Where)
                found[nanny], self.reasons[nanny] = where.layer, where.why
            except CoiledError as error:
                if nanny in present:
                    found[nanny], self.reasons[nanny] = None, error.message
                else:
                    # It has ended since.
                    self._nannies.pop(nanny, None)
        return found

    async def extend_scheduler(self, entries: Sequence[str]) -> bool:
        """Let the scheduler import from a layer what it lacks altogether; False where it's of another Python, or isn't there."""
        return bool((await self._ask_scheduler(_Entries, "extend", list(entries))).entries)

    async def restore_scheduler(self) -> None:
        """Take back what `extend_scheduler` did."""
        await self._ask_scheduler(_Nothing, "restore")

    # ---- moving -----------------------------------------------------------------------------------------------

    async def fence(self, workers: Sequence[str], deadline: float) -> set[str]:
        """Let workers take nothing new and hand over what they hold; return those that have.

        One that isn't named was refused: never restart it. What they had not begun is done by others.
        """
        try:
            accepted = await self._link.fence(workers, deadline)
        except Timeout:
            return set()
        if accepted:
            await self._hand_over(sorted(accepted))
        return accepted

    async def _hand_over(self, workers: Sequence[str]) -> None:
        queued = {}
        for worker, answer in (await self._ask("worker", workers, "executing")).items():
            if not isinstance(answer, CoiledError):
                keys = _decoded(answer, _Executing).queued
                if keys:
                    queued[worker] = list(keys)
        if queued:
            await self._ask_scheduler(_Nothing, "reschedule", queued)

    async def executing(self, workers: Sequence[str]) -> dict[str, int]:
        """Return the tasks that occupy a thread of each worker; Unavailable where one doesn't answer and is still there."""
        found: dict[str, int] = {}
        for worker, answer in (await self._ask("worker", workers, "executing")).items():
            found[worker] = _decoded(answer, _Executing).executing
        return found

    async def answering(self, workers: Sequence[str]) -> None:
        """See that the nannies of workers answer; Unavailable names one that doesn't."""
        nannies = {nanny: name for name, (address, *_, nanny) in (await self._present()).items() if address in workers}
        for nanny, answer in (await self._ask("nanny", [nanny for nanny in nannies if nanny], "where")).items():
            if isinstance(answer, CoiledError):
                raise Unavailable(f"The nanny of worker {nannies[nanny]} doesn't answer: {answer.message}")

    async def give_up(self, workers: Sequence[str]) -> None:
        """Let fenced workers run as before, and end what moves their values away."""
        await self._ask_scheduler(_Nothing, "give_up", list(workers))

    async def restart(self, workers: Sequence[str], deadline: float) -> set[str]:
        """Let nannies start their workers anew; return the workers (old addresses) whose nanny said that it has.

        That isn't proof of anything: see `joined`, and ask the new worker what it runs.
        """
        present = {
            address: _Old(served, name, nanny)
            for name, (address, served, _, nanny) in (await self._present()).items()
            if nanny
        }
        self._old |= {worker: present[worker] for worker in workers if worker in present}
        nannies = {present[worker].nanny: worker for worker in workers if worker in present}
        done = await self._link.restart_nannies(sorted(nannies), deadline)
        return {nannies[nanny] for nanny in done}

    async def joined(self, names: Collection[str], old: Collection[str], seconds: float) -> set[str]:
        """Wait until workers of these names are at the scheduler that aren't the old ones; return the names that aren't.

        Parameters
        ----------
        old
            The addresses that they had when they were restarted. A worker without a name of its own is named by its
            address, so it comes back under another name: then its nanny tells. One that keeps its port is told from its
            predecessor by its own id.

        """
        if not names:
            return set()
        deadline = time.monotonic() + seconds
        known = [self._old[address] for address in old if address in self._old]
        served = {one.served for one in known}
        nannies = {one.name: one.nanny for one in known}
        pause = 0.02
        while True:
            found = [
                (name, nanny)
                for name, (address, server, status, nanny) in (await self._present()).items()
                if status == "running" and server not in served and (address not in old or address in self._old)
            ]
            told, restarted = {name for name, _ in found}, {nanny for _, nanny in found}
            there = {name for name in names if name in told or nannies.get(name) in restarted}
            late = set(names) - there
            if not late or time.monotonic() > deadline:
                return late
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)


def _key(where: _Where) -> str:
    return f"{where.host}\0{where.prefix}"


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 6)).decode("ascii")


def _decoded(answer: str | CoiledError, kind: type[_T]) -> _T:
    """Return an answer as `kind`; Impossible with what the node says where it refused."""
    if isinstance(answer, CoiledError):
        raise answer
    try:
        plain = msgspec.json.decode(answer)
        if isinstance(plain, dict) and isinstance(plain.get("error"), str):
            raise Impossible(plain["error"][:500])
        if kind is _Present:
            plain = {"workers": plain}
        return msgspec.convert(plain, kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Unavailable("The answer isn't what was asked for, so it wasn't used") from None
