"""The supervisor's part in syncs: which one runs, what state its cluster is in, and what a run needs done to processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from .. import tasks
from ..core.cluster import Readings, now
from ..core.errors import CoiledError, Conflict, Impossible, NotFound, Unavailable
from ..core.survey import Survey
from ..core.sync import BASE, FINAL, State, StatePlace, SyncSpec
from ..core.wire import Cluster, Sync, SyncResult
from ..factories import local
from . import logs
from .nodes import Nodes

if TYPE_CHECKING:
    from ..links.rolling import Rolling
    from .process import Supervisor
    from .sync import Run

# What brings Dask, and what a start doesn't need, is imported where a sync needs it: the supervisor's own start is
# what people wait for.

REHEARSAL_SECONDS = 60.0
STOP_SECONDS = 660.0
"""How long going back may take where this process is told to end: a running task is waited for as long as otherwise."""
LEND_SECONDS = 30.0
GONE_SECONDS = 2.0
LEARN_SECONDS = 60.0
NEEDS_SECONDS = 2.0
"""How long workers look at what their values need; what isn't seen by then the roll meets, and goes back."""
_log = logging.getLogger("coiled_jupyter.supervisor")


class Syncing:
    """Carries out one sync at a time; the `Host` of its run."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._rolling: Rolling | None = None
        self.state: State | None = None
        """The state that the cluster is in; None is its base environment."""
        self._made_on = ""

    # ---- asked from outside -----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a sync runs."""
        return self._task is not None and not self._task.done()

    @property
    def moving(self) -> bool:
        """Whether workers restart on purpose just now."""
        return self.running and self._run is not None and self._run.sync.state in ("rolling", "rolling_back")

    async def survey(self) -> Survey:
        """Look at what a plan has to know."""
        survey = await self.rolling.survey()
        holding = [worker.address for worker in survey.workers if worker.alone]
        if not holding:
            return survey
        found = await self.rolling.needs(holding, NEEDS_SECONDS)
        # Modules that belong to no distribution lie elsewhere than the packages, where every layer's workers look too.
        return msgspec.structs.replace(
            survey, needs={worker: needs.distributions for worker, needs in found.items() if needs.distributions}
        )

    def begin(self, spec: SyncSpec) -> Sync:
        """Start a sync; Conflict where one runs, the cluster can't be changed now, or it isn't in the planned state."""
        cluster = self.cluster
        if self.running and self._run is not None:
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it", sync=self._run.sync.id)
        if cluster.status not in ("running", "idle", "degraded"):
            raise Conflict(f"The cluster is {cluster.status}", "Try again when it runs")
        if spec.layer_before != (self.state.id if self.state else BASE):
            raise Conflict("The cluster was synchronized since this plan was made", "Make a new plan")
        from .sync import Run

        self._run = Run(self, spec, self.state, self._supervisor.ledger.save_sync)
        self._supervisor.ledger.save_sync(self._run.sync, spec)
        self._task = asyncio.create_task(self._carry_out(self._run), name=f"sync {spec.id}")
        return self._run.sync

    async def remove(self, state_id: str) -> None:
        """Remove the folders of a state's layers; Conflict where the cluster runs in it."""
        if self.state is not None and self.state.id == state_id:
            raise Conflict("The cluster runs in this layer", "Go back to another state first")
        if self.running:
            raise Conflict("The cluster is being synchronized", "Try again when that has ended")
        state = next((s for s in self._supervisor.ledger.states(self.cluster.id) if s.id == state_id), None)
        if state is None:
            raise NotFound("This cluster doesn't know the layer")
        speakers = {place.key: place.speaker for place in (await self.rolling.survey()).places}
        for place in state.places:
            if place.layer is not None and place.key in speakers:
                try:
                    await self.rolling.remove(speakers[place.key], place.layer)
                except Impossible as error:
                    raise Conflict(
                        error.message, "Try again when the last processes that run from it have ended"
                    ) from None

    def cancel(self, sync_id: str) -> Sync:
        """Cancel the sync that runs, if this is it; NotFound otherwise."""
        if self._run is None or self._run.sync.id != sync_id or not self.running:
            raise NotFound("This sync doesn't run any more")
        self._run.cancel()
        return self._run.sync

    async def close(self) -> None:
        """Let a running sync bring the old state back before this process ends."""
        if self._task is None or self._task.done() or self._run is None:
            return
        if self._supervisor.spec.address is None:
            # Its workers end with this process; there is nothing to go back to.
            await tasks.end([self._task])
            self._lost("The cluster was stopped while it was synchronized.")
            return
        with contextlib.suppress(CoiledError):
            self._run.cancel()
        await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        await tasks.end([self._task])

    def _lost(self, text: str) -> None:
        if self._run is not None and self._run.sync.state not in FINAL:
            sync = msgspec.structs.replace(
                self._run.sync,
                state="lost",
                result=SyncResult(text=text),
                ended_at=now(),
                revision=self._run.sync.revision + 1,
            )
            self._run.sync = sync
            self._supervisor.ledger.save_sync(sync, self._run.spec)
            self.told(sync)

    # ---- the state of the cluster -----------------------------------------------------------------------------

    async def adopt(self) -> None:
        """Find out which state an attached cluster is in, and bring it back where a sync was interrupted."""
        ledger = self._supervisor.ledger
        states = {state.id: state for state in ledger.states(self.cluster.id)}
        if self.running:
            return
        survey = await self.rolling.survey()
        self._enter(None, save=False)
        pointed = {place.key: place.layer for place in survey.places}
        layered = any(pointed.values())
        for state in states.values() if layered else ():
            if state.how == "roll" and state.places and all(pointed.get(p.key) == p.layer for p in state.places):
                self._enter(None if state.id == BASE else state, save=False)
                break
        if layered and self.state is None and (learned := await self._learned(survey)) is not None:
            await self._save_base()
            self._enter(learned)
        for sync, spec in ledger.syncs():
            if sync.cluster == self.cluster.id and sync.state not in FINAL:
                before = states.get(spec.layer_before) if spec.layer_before != BASE else None
                self._enter(before, save=False)
                from .sync import Run

                run = self._run = Run(self, spec, before, ledger.save_sync)
                run.sync = sync
                self._task = asyncio.create_task(self._recover(run), name=f"recover {spec.id}")
                break

    async def _learned(self, survey: Survey) -> State | None:
        """Return the state of a cluster that was synchronized from elsewhere, or under another id, as its layers tell."""
        from ..core.plan import layer_id
        from ..links.rolling import LayerRequest

        places = []
        for place in survey.places:
            if place.layer is None:
                continue
            # Without a lock nothing is built: it's seen whether it is whole.
            request = LayerRequest(id=place.layer, executable=place.executable, lock="")
            *_, told = [state async for state in self.rolling.build(place.speaker, request, LEARN_SECONDS)]
            if told.state != "done":
                return None
            places.append(
                StatePlace(
                    key=place.key,
                    host=place.host,
                    prefix=place.prefix,
                    layer=place.layer,
                    path=told.path,
                    executable=told.executable,
                    entries=told.entries,
                    size=told.size,
                )
            )
        name = layer_id({place.key: place.layer or "" for place in places})
        moment = now()
        return State(
            id=name,
            cluster=self.cluster.id,
            how="roll",
            packages=0,
            places=tuple(places),
            created_at=moment,
            used_at=moment,
        )

    def lose(self, why: str) -> None:
        """Tell of syncs that another process began that nothing is known of them."""
        ledger = self._supervisor.ledger
        for sync, spec in ledger.syncs():
            if sync.cluster == self.cluster.id and sync.state not in FINAL and not self.running:
                lost = msgspec.structs.replace(
                    sync, state="lost", result=SyncResult(text=why), ended_at=now(), revision=sync.revision + 1
                )
                ledger.save_sync(lost, spec)
                self.told(lost)

    async def _recover(self, run: Run) -> None:
        await run.recover("The process that carried it out was ended.")

    async def repoint(self) -> None:
        """Point the nannies of a scheduler that has just been started to the cluster's layer."""
        from .sync import pointed

        self._rolling = None
        if self.state is None or self.state.how != "roll" or self._made_on != self._supervisor.interpreter:
            return
        layers = pointed(self.state.places)
        await self.rolling.point(layers)
        if self.state.places and self.state.places[0].entries:
            await self.rolling.extend_scheduler(self.state.places[0].entries)

    def _enter(self, state: State | None, *, save: bool = True) -> None:
        self.state = state
        self._made_on = self._supervisor.interpreter
        if state is not None and save:
            self._supervisor.ledger.save_state(state)
        software = msgspec.structs.replace(self.cluster.environment, layer=state.id if state else None)
        self._supervisor.set(environment=software)

    async def _carry_out(self, run: Run) -> None:
        if self.state is None:
            await self._save_base(run.spec.how)
        await run.run()
        self._supervisor.look_again()

    async def _save_base(self, how: str = "roll") -> None:
        places = await self._base_places()
        moment = now()
        self._supervisor.ledger.save_state(
            State(
                id=BASE,
                cluster=self.cluster.id,
                how=how,
                packages=max((len(place.expected) for place in places), default=0),
                interpreter=self._supervisor.interpreter or None,
                places=places,
                created_at=moment,
                used_at=moment,
            )
        )

    async def _base_places(self) -> tuple[StatePlace, ...]:
        try:
            survey = await self.rolling.survey()
        except CoiledError:
            return ()
        had = {e.prefix: {p.name: p.version for p in e.packages} for e in self._supervisor.readings.environments}
        return tuple(
            StatePlace(
                key=p.key,
                host=p.host,
                prefix=p.prefix,
                layer=None,
                path=p.prefix,
                executable=p.executable,
                expected=had.get(p.prefix, {}),
            )
            for p in survey.places
        )

    def _mark_undone(self, undone: str, by: str) -> None:
        for sync, spec in self._supervisor.ledger.syncs():
            if sync.id == undone:
                marked = msgspec.structs.replace(sync, undone_by=by, revision=sync.revision + 1)
                self._supervisor.ledger.save_sync(marked, spec)
                self.told(marked)

    # ---- the host of a run ------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Cluster:
        """The cluster as it was last observed."""
        return self._supervisor.cluster

    @property
    def rolling(self) -> Rolling:
        """The way to its nannies and workers."""
        if self._rolling is None:
            from ..links.rolling import Rolling

            self._rolling = Rolling(self._supervisor.link)
        return self._rolling

    @property
    def interpreter(self) -> str:
        """The Python that a managed cluster runs on; empty for others."""
        return self._supervisor.interpreter

    async def observe(self) -> None:
        """Look at the scheduler anew."""
        await self._supervisor.observe()

    async def gone(self) -> bool:
        """Whether nothing listens at the scheduler's address any more; a silent one isn't gone."""
        address = urlsplit(self._supervisor.link.address)
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address.hostname, address.port), GONE_SECONDS)
        except ConnectionRefusedError:
            return True
        except (OSError, ValueError, asyncio.TimeoutError):
            return False
        writer.close()
        return False

    async def read_anew(self) -> Readings:
        """Read every node, trusting nothing that was read before."""
        return await self._supervisor.read_anew()

    async def lend(self) -> str | None:
        """Start a temporary worker of a managed cluster, where cores are free for it."""
        return await self._supervisor.lend(LEND_SECONDS)

    async def take_back(self, name: str) -> None:
        """End a temporary worker; what it holds goes to the others."""
        await self._supervisor.take_back(name)

    async def make(self, spec: SyncSpec) -> str:
        """Return the Python of a replacement."""
        if spec.interpreter is not None:
            return spec.interpreter
        if spec.build is None:
            raise Unavailable("The plan doesn't say what the new environment is made from")
        from ..software import build as software

        return (await software.build(spec.build, spec.lock)).interpreter

    async def rehearse(self, interpreter: str) -> None:
        """Start a scheduler and a nanny with its worker of a Python beside the cluster, and end them again."""
        supervisor = self._supervisor
        folder = supervisor.folder / "rehearsal"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("ca.pem", "cert.pem", "key.pem"):
            with contextlib.suppress(FileExistsError):
                (folder / name).symlink_to(supervisor.folder / name)
        (folder / "scratch").mkdir(mode=0o700, exist_ok=True)
        told = folder / "scheduler.json"
        told.unlink(missing_ok=True)
        spec = msgspec.structs.replace(supervisor.spec, workers=1, threads_per_worker=1)
        nodes = Nodes(lambda name: logs.log_path(spec.id, f"rehearsal-{name}"))
        environ = local.environ(spec, interpreter, supervisor.folder)
        try:
            await nodes.open(local.argv(interpreter), environ, folder / "scratch", supervisor.alive)
            scheduler = nodes.start("scheduler", local.scheduler_arguments(spec, folder), {})
            deadline = time.monotonic() + REHEARSAL_SECONDS
            address = ""
            while not address:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    address = str(msgspec.json.decode(told.read_bytes())["address"])
                if scheduler.ended or time.monotonic() > deadline:
                    raise Unavailable(
                        f"A scheduler doesn't start in the new environment: {logs.last_words(spec.id, ['rehearsal-scheduler', 'rehearsal-launcher'])}"
                    )
                await asyncio.sleep(0.05)
            link = supervisor.new_link(address)
            try:
                nanny = nodes.start("worker", local.nanny_arguments(spec, address, "rehearsal", folder), {})
                while True:
                    with contextlib.suppress(CoiledError):
                        if (await link.identity())["workers"]:
                            break
                    if nanny.ended or time.monotonic() > deadline:
                        raise Unavailable(
                            f"A worker doesn't start in the new environment: {logs.last_words(spec.id, ['rehearsal-worker'])}"
                        )
                    await asyncio.sleep(0.05)
            finally:
                link.close()
        finally:
            await nodes.close(3.0)

    async def start_anew(self, interpreter: str) -> None:
        """Start all of the cluster on another Python, at the same address and with the same certificates."""
        if not Path(interpreter).exists():
            raise Unavailable(f"There is no Python at {interpreter} any more")
        await self._supervisor.start_on(interpreter)

    def settled(self, run: Run) -> None:
        """Enter the state that a run has verified."""
        self._enter(None if run.spec.layer == BASE else run.after)
        if run.spec.undo_of is not None:
            self._mark_undone(run.spec.undo_of, run.sync.id)

    def told(self, sync: Sync) -> None:
        """Pass a change of the run on to those who watch."""
        self._supervisor.push_sync(sync)
