"""Carries out one plan on one cluster: builds layers, moves the workers, verifies, and goes back where anything fails.

Rules: nothing is touched before every layer was built and checked; a worker is restarted only after the scheduler has
accepted its retirement and nothing executes on it; `done` is said only of what was read anew from every worker; each
phase is in the ledger before it begins, so that another supervisor can go back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from packaging.version import InvalidVersion, Version

from .. import tasks
from ..core.cluster import Readings, now
from ..core.errors import CoiledError, Conflict, Impossible, Unavailable
from ..core.plan import fits
from ..core.survey import Survey, SurveyPlace
from ..core.sync import FINAL, LOG_LINES, State, StatePlace, SyncPlace, SyncSpec, again, first, step, verified
from ..core.wire import Cluster, Environment, PlanLost, StepState, Sync, SyncGroup, SyncLog, SyncResult, SyncState
from ..links.rolling import LayerRequest, PointedLayer, Rolling
from ..software import uv

FENCE_SECONDS = 60.0
"""How long workers may take to hand over what they hold."""
RESTART_SECONDS = 60.0
JOIN_SECONDS = 60.0
BUILD_SECONDS = 1200.0
FOLLOW_SECONDS = 15.0
"""How long a worker may stay away whose nanny didn't say that it has restarted it."""
BACK_DRAIN_SECONDS = 600.0
BACK_PAUSES = (1.0, 5.0)
"""Seconds between the attempts to bring the old state back, while the cluster is there."""
STRAYED_LOOKS = 3
"""How often workers are moved that were found to run from elsewhere, since they were started in between."""
RESTARTED_AT_ONCE = 16
READ_SECONDS = 30.0
NOBODY = "Nothing listens at the scheduler's address any more."
TELL_SECONDS = 0.3
_log = logging.getLogger("coiled_jupyter.supervisor")


class Host(Protocol):
    """What a run asks of the supervisor that carries it out."""

    @property
    def cluster(self) -> Cluster:
        """The cluster as it was last observed."""

    @property
    def rolling(self) -> Rolling:
        """The way to its nannies and workers."""

    @property
    def interpreter(self) -> str:
        """The Python that a managed cluster runs on; empty for others."""

    async def observe(self) -> None:
        """Look at the scheduler anew."""

    async def gone(self) -> bool:
        """Whether nothing listens at the scheduler's address any more."""

    async def read_anew(self) -> Readings:
        """Read every node, trusting nothing that was read before."""

    async def lend(self) -> str | None:
        """Start a temporary worker and return its name, or None where that can't be."""

    async def take_back(self, name: str) -> None:
        """Let a temporary worker hand over what it holds, and end it."""

    async def rehearse(self, interpreter: str) -> None:
        """Start a scheduler and a worker of a Python beside the cluster, and end them; raise Unavailable where they fail."""

    async def start_anew(self, interpreter: str) -> None:
        """End every process and start the cluster on a Python at the same address; raise Unavailable where it fails."""

    async def make(self, spec: SyncSpec) -> str:
        """Return the Python of the environment that a replacement is to run on, built where it isn't there."""

    def settled(self, run: Run) -> None:
        """Enter the state that the run has verified, before anybody is told that it is done."""

    def told(self, sync: Sync) -> None:
        """Take note of a change of the run."""


class _Stuck(CoiledError):
    """A worker can't be moved without loss; the roll goes back."""

    kind = "unavailable"


class _Full(_Stuck):
    """The scheduler refused to retire workers, which it may accept for fewer at once."""


class Run:
    """One run.

    Parameters
    ----------
    host
        The supervisor.
    spec
        What to do.
    before
        The state to come back to; None is the base environment.
    save
        Stores the run in the ledger.

    """

    def __init__(
        self, host: Host, spec: SyncSpec, before: State | None, save: Callable[[Sync, SyncSpec], None]
    ) -> None:
        self.spec = spec
        self.sync = first(spec, now())
        self.after: State | None = None
        self._host, self._before, self._save = host, before, save
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._count = 0
        self._started: dict[str, float] = {}
        self._cancelled = asyncio.Event()
        self._touched = False
        self._lent: str | None = None
        self._told_at = 0.0
        self._old_interpreter: str | None = None
        self._prior: dict[str, StatePlace] = {place.key: place for place in before.places} if before else {}
        self._others: frozenset[str] = frozenset()

    # ---- life -------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop and go back; a run that is going back already goes on with that."""
        if self.sync.state not in ("planned", "building", "rolling", "verifying"):
            raise Conflict(f"This sync is {self.sync.state.replace('_', ' ')} and can't be cancelled any more")
        self._cancelled.set()

    async def run(self) -> None:
        """Run to one of the final states; never raises but for the cancellation of its task."""
        self._tell(state="building")
        work = asyncio.create_task(self._forward())
        stop = asyncio.create_task(self._cancelled.wait())
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait({work, stop, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() and not work.cancelled():
                work.result()
                return
            await tasks.end([work])
            if self.sync.state in FINAL:
                # It had ended before it heard of that.
                return
            if gone.done():
                raise Unavailable(NOBODY)
            self._say("Cancelled by the user")
            await self._go_back("cancelled", "Cancelled: the old state is back.")
        except CoiledError as error:
            self._say(error.message)
            await self._go_back("failed", error.message)
        except Exception:  # noqa: BLE001 - outermost edge of a run: whatever happened, the old state comes back
            _log.exception("a sync failed by a fault of ours")
            await self._go_back("failed", "A fault of ours; the cluster's log has its details.")
        finally:
            await tasks.end([work, stop, gone])

    async def _gone(self) -> None:
        """Return when nothing listens at the scheduler's address: whoever asks it would wait for the whole deadline."""
        refused = 0
        while refused < 2:
            await asyncio.sleep(1.0)
            # A replacement ends the scheduler itself.
            refused = refused + 1 if self.spec.how == "roll" and await self._host.gone() else 0

    async def recover(self, why: str) -> None:
        """Go back from wherever another supervisor left this run."""
        self._touched = self.sync.state in ("rolling", "verifying", "rolling_back")
        with contextlib.suppress(CoiledError):
            speakers = {place.key: place.speaker for place in (await self._host.rolling.survey()).places}
            for place in self.spec.places:
                if place.layer is not None and place.key in speakers:
                    await self._host.rolling.stop_build(speakers[place.key], place.layer)
        await self._go_back("failed", why)

    async def _forward(self) -> None:
        if self.spec.how == "replace":
            await self._replace()
        else:
            await self._roll()

    # ---- rolling ----------------------------------------------------------------------------------------------

    async def _roll(self) -> None:
        # Places that the plan leaves alone stay in the layer that they have.
        target = {**self._prior, **await self._build(self.spec.places)}
        self._finish("Build the environment")
        self._tell(state="rolling")
        self._begin("Move the workers")
        self._touched = True
        self._save(self.sync, self.spec)
        await self._point(target)
        await self._move(self.spec.drain_seconds)
        self._finish("Move the workers")
        self._tell(state="verifying")
        self._begin("Verify")
        groups = await self._verify(target, self.spec.drain_seconds)
        self._finish("Verify")
        places = tuple(target.values())
        self.after = State(
            id=self.spec.layer,
            cluster=self.spec.cluster,
            how="roll",
            packages=max((len(place.expected) for place in places), default=0),
            places=places,
            interpreter=self._host.interpreter or None,
            created_at=self.sync.started_at,
            used_at=now(),
        )
        self._host.settled(self)
        self._end("done", self._done_text(groups), groups, self.spec.lost)

    async def _build(self, places: Iterable[SyncPlace]) -> dict[str, StatePlace]:
        """Build every layer that is missing, at once, and return what the nannies are to be pointed to."""
        if self.sync.state == "building":
            self._begin("Build the environment")
        survey = await self._host.rolling.survey()
        speakers = {place.key: place for place in survey.places}
        planned = {place.key for place in self.spec.places} | self._prior.keys()
        # What can't be moved was refused by the plan, so nothing is claimed of it.
        self._others = frozenset(w.address for w in survey.workers if w.nanny is None or w.place not in planned)

        async def one(place: SyncPlace) -> StatePlace:
            known = speakers.get(place.key)
            if known is None:
                raise Unavailable(f"No nanny on {place.host} answers any more", "Look at its log")
            if place.layer is None:
                return StatePlace(
                    key=place.key, host=place.host, prefix=place.prefix, layer=None, path=place.prefix, executable=""
                )
            request = LayerRequest(
                id=place.layer,
                executable=known.executable,
                lock=place.lock,
                uv=await self._installer(known, survey),
                expected=dict(place.expected),
                imports=place.imports,
                environ=dict(self.spec.environ),
                options=self.spec.options,
                only_binary=self.spec.only_binary,
                wheels=tuple(
                    [
                        await self._send(known.speaker, path)
                        for wheel in place.wheels
                        if (path := Path(wheel.path)).exists()
                    ]
                ),
            )
            last = None
            async for last in self._host.rolling.build(known.speaker, request, BUILD_SECONDS):
                for line in last.lines:
                    self._say(f"{place.host}: {line}" if len(self.spec.places) > 1 else line)
            if last is None or last.state != "done":
                raise Impossible(f"The environment could not be made on {place.host}: {last.reason if last else ''}")
            return StatePlace(
                key=place.key,
                host=place.host,
                prefix=place.prefix,
                layer=place.layer,
                path=last.path,
                executable=last.executable,
                entries=last.entries,
                expected=place.expected,
                size=last.size,
                lock=place.lock,
                imports=place.imports,
                wheels=place.wheels,
            )

        made = await _all([one(place) for place in places])
        return {place.key: place for place in made}

    async def _installer(self, place: SurveyPlace, survey: Survey) -> str | None:
        """Return the path of a uv on a node: its own, ours where it is this very host, or ours sent there; else pip's turn."""
        if place.uv is not None:
            return place.uv
        own = uv.binary()
        if place.host == os.uname().nodename:
            return own
        alike = (place.platform, place.machine) == (sys.platform, os.uname().machine)
        if not (survey.encrypted and alike and _runs_there(place.libc)):
            return None
        self._say(f"Sending uv to {place.host}")
        return await self._host.rolling.send(place.speaker, "uv", await asyncio.to_thread(Path(own).read_bytes))

    async def _send(self, nanny: str, path: Path) -> str:
        data = await asyncio.to_thread(path.read_bytes)
        return await self._host.rolling.send(nanny, path.name, data)

    async def _point(self, target: Mapping[str, StatePlace]) -> None:
        layers = pointed(target.values())
        rolling = self._host.rolling
        survey = await rolling.survey()
        if layers:
            found = await rolling.point(layers)
            wanted = {
                w.nanny: target[w.place].layer for w in survey.workers if w.nanny and w.place and w.place in target
            }
            strayed = sorted(nanny for nanny, layer in wanted.items() if found.get(nanny, layer) != layer)
            if strayed:
                why = rolling.reasons.get(strayed[0], "") or "it doesn't say why"
                raise Unavailable(f"The nanny {strayed[0]} could not be pointed to the new environment: {why}")
        else:
            kept = sorted(nanny for nanny, layer in (await rolling.unpoint()).items() if layer is not None)
            if kept:
                raise Unavailable(f"The nanny {kept[0]} could not be pointed back to the base environment")
        # What the scheduler lacks altogether it can import from a layer, without being restarted.
        near = [p for p in target.values() if survey.scheduler and p.layer and p.host == survey.scheduler.host]
        if near:
            await rolling.extend_scheduler(near[0].entries)
        else:
            await rolling.restore_scheduler()

    async def _move(self, drain: float) -> None:
        """Restart every worker of the plan, batch by batch."""
        if self.spec.alone:
            self._lent = await self._host.lend()
            if self._lent is None and not self.spec.lost_ok:
                raise _Stuck("There is no room for a temporary worker that would keep the results")
            if self._lent is not None:
                self._say("A temporary worker takes what the only one holds")
        planned: dict[int, list[str]] = {}
        for roll in self.spec.rolls:
            planned.setdefault(roll.batch, []).extend(roll.workers)
        for number, batch in sorted(planned.items()):
            self._progress("Move the workers", f"batch {number} of {len(planned)}")
            await self._batch(batch, drain)
        await self._end_lent()

    async def _end_lent(self) -> None:
        if self._lent is not None:
            await self._host.take_back(self._lent)
            self._lent = None

    async def _batch(self, batch: Sequence[str], drain: float) -> None:
        """Restart workers at once, or one by one where they can't hand over what they hold all at once."""
        await self._host.observe()
        names = {worker.id: worker.name for worker in self._host.cluster.workers}
        # Of one that left or was replaced meanwhile it is read where it runs from.
        workers = [worker for worker in batch if worker in names]
        if not workers:
            return
        rolling = self._host.rolling
        try:
            # A nanny that is silent now would restart its worker whenever it wakes up.
            await rolling.answering(workers)
            await self._fence(workers)
            await self._drain(workers, drain)
            await self._fence(workers)
            await rolling.answering(workers)
        except _Full:
            await rolling.give_up(workers)
            if len(workers) == 1:
                raise
            # Somebody has begun to use the cluster since the batches were planned.
            for worker in workers:
                await self._batch([worker], drain)
            return
        except (CoiledError, asyncio.CancelledError):
            with contextlib.suppress(CoiledError):
                await asyncio.shield(rolling.give_up(workers))
            raise
        for some in (workers[i : i + RESTARTED_AT_ONCE] for i in range(0, len(workers), RESTARTED_AT_ONCE)):
            done = await rolling.restart(some, RESTART_SECONDS)
            sure = [names[worker] for worker in some if worker in done]
            late = await rolling.joined(sure, frozenset(some), JOIN_SECONDS)
            unsure = [names[worker] for worker in some if worker not in done]
            late |= await rolling.joined(unsure, frozenset(some), FOLLOW_SECONDS)
            if late:
                raise Unavailable(f"Worker {', '.join(sorted(late)[:5])} didn't come back in the new environment")
            self._say(f"Restarted: worker {', '.join(sorted([*sure, *unsure]))}")

    async def _fence(self, workers: Sequence[str]) -> None:
        """Let workers take nothing new and hand over what they hold; _Stuck where the scheduler refuses.

        A worker that was refused isn't restarted even if it holds nothing: it goes on taking tasks.
        """
        held = await self._host.rolling.counted()
        # The scheduler would hand over all of it, until those that take it are killed for what they use.
        room = fits([worker for worker in held if worker.address in workers], held)
        accepted = await self._host.rolling.fence(workers, FENCE_SECONDS) if room else set()
        refused = {worker for worker in workers if worker not in accepted}
        if not refused or self.spec.lost_ok:
            return
        for worker in (await self._host.rolling.survey()).workers:
            if worker.address not in refused:
                continue
            if worker.actors:
                raise _Stuck(f"Worker {worker.name} can't hand over what it holds: {worker.actors} actors live on it")
            raise _Full(f"Worker {worker.name} can't hand over what it holds: the others have no room for it")

    async def _drain(self, workers: Sequence[str], bound: float) -> None:
        deadline = time.monotonic() + bound
        pause = 0.02
        while True:
            executing = await self._host.rolling.executing(workers)
            busy = {worker: count for worker, count in executing.items() if count}
            if not busy:
                return
            if time.monotonic() > deadline:
                raise _Stuck(
                    f"A task on {len(busy)} of the workers ran longer than {bound:g} s, so they were left as they are; "
                    "try again when it has ended, or allow more time"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    # ---- verifying --------------------------------------------------------------------------------------------

    async def _verify(self, target: Mapping[str, StatePlace], drain: float) -> tuple[SyncGroup, ...]:
        """Return what every worker was read to have; Unavailable where any isn't as planned.

        Workers that were started before their nanny was pointed, as one that was killed meanwhile, are moved first.
        """
        for last in (False,) * STRAYED_LOOKS + (True,):
            groups, strayed, count = await self._look(target)
            if not strayed or last:
                break
            size = max(count // 2, 1)
            for some in (strayed[i : i + size] for i in range(0, len(strayed), size)):
                await self._batch(some, drain)
        wrong = [group for group in groups if not group.verified]
        if wrong:
            raise Unavailable(f"{len(wrong)} groups of workers aren't as planned: {wrong[0].text}")
        return groups

    async def _look(self, target: Mapping[str, StatePlace]) -> tuple[tuple[SyncGroup, ...], list[str], int]:
        """Return what the groups of workers have, which workers run from elsewhere, and how many workers there are."""
        deadline = time.monotonic() + READ_SECONDS
        while True:
            survey = await self._host.rolling.survey()
            concerned = {w.address: w for w in survey.workers if w.address not in self._others and w.nanny}
            readings = await self._host.read_anew()
            workers = [environment for environment in readings.environments if environment.role == "worker"]
            unread = [entry for entry in readings.unread if entry.node not in {"scheduler", *self._others}]
            read = {node for environment in workers for node in environment.nodes}
            silent = [w for w in concerned.values() if w.place is None]
            # A worker that is started now may have been started before its nanny was pointed.
            if not unread and not silent and not survey.starting and concerned.keys() <= read:
                break
            if time.monotonic() > deadline:
                why = (
                    f"{len(unread)} of the workers could not be read: {unread[0].reason}"
                    if unread
                    else f"The nanny of worker {silent[0].name} doesn't answer"
                    if silent
                    else f"The next worker of the nanny {survey.starting[0]} doesn't come"
                    if survey.starting
                    else "A worker could not be read, since it joined a moment ago"
                )
                raise Unavailable(why)
            await asyncio.sleep(0.2)
        groups, strayed = [], []
        for environment in workers:
            nodes = [node for node in environment.nodes if node in concerned]
            place = next((target[key] for node in nodes if (key := concerned[node].place or "") in target), None)
            if place is not None:
                groups.append(verified(environment, place, place.path))
                strayed += nodes if environment.prefix != place.path else []
        if not groups:
            raise Unavailable("No worker that belongs to the plan could be read")
        return tuple(groups), strayed, len(survey.workers)

    # ---- replacing --------------------------------------------------------------------------------------------

    async def _replace(self) -> None:
        """Start the whole cluster anew in another environment, at the same address."""
        self._begin("Build the environment")
        interpreter = await self._host.make(self.spec)
        self._finish("Build the environment")
        self._begin("Rehearse")
        await self._host.rehearse(interpreter)
        self._finish("Rehearse")
        self._tell(state="rolling")
        self._begin("Start the cluster anew")
        self._old_interpreter = self._host.cluster.environment.prefix
        self._touched = True
        self._save(self.sync, self.spec)
        await self._host.start_anew(interpreter)
        layered = [place for place in self.spec.places if place.key]
        target = await self._into_layers(layered) if layered else {}
        self._finish("Start the cluster anew")
        self._tell(state="verifying")
        self._begin("Verify")
        prefix = str(Path(interpreter).parent.parent)
        expected = next((place.expected for place in self.spec.places if not place.key), {})
        base = StatePlace(
            key="", host="", prefix=prefix, layer=None, path=prefix, executable=interpreter, expected=expected
        )
        groups = await self._verify_anew(base, target)
        self._finish("Verify")
        places = tuple(target.values()) or (base,)
        self.after = State(
            id=self.spec.layer,
            cluster=self.spec.cluster,
            how="roll" if target else "replace",
            packages=max(len(place.expected) for place in places),
            places=places,
            interpreter=interpreter,
            created_at=self.sync.started_at,
            used_at=now(),
        )
        self._host.settled(self)
        self._end("done", self._done_text(groups), groups, self.spec.lost)

    async def _into_layers(self, places: Sequence[SyncPlace]) -> dict[str, StatePlace]:
        """Move the workers of a cluster that has just started into the layers of the state it comes back to."""
        target = await self._build(places)
        await self._point(target)
        await self._host.observe()
        await self._batch([worker.id for worker in self._host.cluster.workers], self.spec.drain_seconds)
        return target

    async def _verify_anew(self, base: StatePlace, target: Mapping[str, StatePlace]) -> tuple[SyncGroup, ...]:
        """Return what every node was read to have: workers of layers theirs, all others the base."""
        moved = await self._verify(target, self.spec.drain_seconds) if target else ()
        readings = await self._host.read_anew()
        others = [e for e in readings.environments if not target or e.role != "worker"]
        groups = (*moved, *(verified(environment, base, base.path) for environment in others))
        if readings.unread or not others or not all(group.verified for group in groups):
            wrong = next((group.text for group in groups if not group.verified), "a node could not be read")
            raise Unavailable(f"The new cluster isn't as planned: {wrong}")
        return groups

    # ---- going back -------------------------------------------------------------------------------------------

    async def _go_back(self, state: SyncState, why: str) -> None:
        """Bring the old state back where anything was touched; it ends as `lost` where the cluster has gone."""
        self._stop_steps("cancelled" if state == "cancelled" else "failed", why)
        if not self._touched:
            self._end(state, why, (), PlanLost())
            return
        self._tell(state="rolling_back")
        self._begin("Go back")
        groups: tuple[SyncGroup, ...] = ()
        fault = ""
        for pause in (*BACK_PAUSES, None):
            if self.spec.how == "roll" and await self._host.gone():
                fault = NOBODY
                break
            try:
                groups, fault = await self._back(), ""
                break
            except CoiledError as error:
                fault = error.message
            except Exception:  # noqa: BLE001 - outermost edge of a run: it has to end, whatever happened
                _log.exception("a sync could not be brought back by a fault of ours")
                fault = "A fault of ours hindered that; the cluster's log has its details."
            if pause is not None:
                self._say(f"Going back is tried again: {fault}")
                await asyncio.sleep(pause)
        if fault:
            self._finish("Go back", "failed", fault)
            text = f"{why} Not every worker could be brought back, so nothing is claimed of the cluster: {fault}"
            self._end("lost", text, (), PlanLost())
        else:
            self._finish("Go back")
            self._end(state, f"{why} The old state is back, as read from every worker.", groups, PlanLost())

    async def _back(self) -> tuple[SyncGroup, ...]:
        if self.spec.how == "replace":
            return await self._back_anew()
        base = {
            place.key: StatePlace(
                key=place.key, host=place.host, prefix=place.prefix, layer=None, path=place.prefix, executable=""
            )
            for place in self.spec.places
        }
        rolling = self._host.rolling
        survey = await rolling.survey()
        # Whoever was fenced and not restarted runs as before.
        await rolling.give_up([worker.address for worker in survey.workers])
        there = {place.key: place.layers for place in survey.places}
        # A layer that was removed meanwhile is made again.
        gone = [p for p in self._prior.values() if p.layer and p.key in there and p.layer not in there[p.key]]
        made = await self._build([again(place) for place in gone]) if gone else {}
        target = {**base, **self._prior, **made}
        await self._point(target)
        groups = await self._verify(target, BACK_DRAIN_SECONDS)
        await self._end_lent()
        return groups

    async def _back_anew(self) -> tuple[SyncGroup, ...]:
        """Start the whole cluster anew where it ran before."""
        if self._old_interpreter is None:
            return ()
        path = self._old_interpreter
        await self._host.start_anew(str(Path(path) / "bin" / "python"))
        readings = await self._host.read_anew()
        base = StatePlace(key="", host="", prefix=path, layer=None, path=path, executable="")
        # Workers that were in a layer are there again; a scheduler never is.
        layers = {place.path: place for place in self._prior.values() if place.layer is not None}

        def place(environment: Environment) -> StatePlace:
            if environment.role != "worker" or not layers:
                return base
            return layers.get(environment.prefix, next(iter(layers.values())))

        groups = tuple(verified(e, place(e), place(e).path) for e in readings.environments)
        if readings.unread or not groups or not all(group.verified for group in groups):
            raise Unavailable("The old cluster started, and could not be read as it was")
        return groups

    # ---- telling ----------------------------------------------------------------------------------------------

    def _done_text(self, groups: Sequence[SyncGroup]) -> str:
        count = sum(len(group.nodes) for group in groups if group.role == "worker")
        many = f"{count} workers run" if count != 1 else "The worker runs"
        return f"{many} exactly the planned packages, as read from {'each' if count != 1 else 'it'}."

    def _say(self, line: str) -> None:
        _log.info("sync: %s", line)
        self._lines.append(line[:2000])
        self._count += 1
        if time.monotonic() - self._told_at > TELL_SECONDS:
            self._tell()

    def _begin(self, name: str) -> None:
        self._started[name] = time.monotonic()
        self._tell(steps=step(self.sync, name, "running", seconds=0.0))

    def _progress(self, name: str, text: str) -> None:
        seconds = round(time.monotonic() - self._started.get(name, time.monotonic()), 3)
        self._tell(steps=step(self.sync, name, "running", seconds=seconds, text=text))

    def _finish(self, name: str, state: StepState = "done", text: str = "") -> None:
        seconds = round(time.monotonic() - self._started.get(name, time.monotonic()), 3)
        self._tell(steps=step(self.sync, name, state, seconds=seconds, text=text))

    def _stop_steps(self, state: StepState, why: str) -> None:
        for running in self.sync.steps:
            if running.state == "running":
                self._finish(running.name, state, why)
            elif running.state == "waiting":
                self._tell(steps=step(self.sync, running.name, "cancelled"))

    def _end(self, state: SyncState, text: str, groups: Sequence[SyncGroup], lost: PlanLost) -> None:
        result = SyncResult(text=text, groups=tuple(groups), lost=lost)
        self._tell(state=state, result=result, ended_at=now())

    def _tell(self, **fields: Any) -> None:
        self._told_at = time.monotonic()
        log = SyncLog(lines=tuple(self._lines), next=self._count)
        self.sync = msgspec.structs.replace(self.sync, revision=self.sync.revision + 1, log=log, **fields)
        if fields:
            self._save(self.sync, self.spec)
        self._host.told(self.sync)


def pointed(places: Iterable[StatePlace]) -> dict[str, PointedLayer]:
    """Return, by place, what nannies are to be pointed to."""
    return {
        place.key: PointedLayer(id=place.layer, path=place.path, executable=place.executable, entries=place.entries)
        for place in places
        if place.layer is not None
    }


def _runs_there(libc: str) -> bool:
    """Whether a program that runs here finds a C library there that is as new."""
    own = uv.libc()
    if not own or not libc.startswith("glibc "):
        return False
    try:
        return Version(libc.partition(" ")[2]) >= Version(own.partition(" ")[2])
    except InvalidVersion:
        return False


async def _all(work: Sequence[Awaitable[StatePlace]]) -> list[StatePlace]:
    """Wait for all; the first failure ends the others, so that nothing goes on building unwatched."""
    pending = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*pending)
    finally:
        await tasks.end([task for task in pending if isinstance(task, asyncio.Task)])
