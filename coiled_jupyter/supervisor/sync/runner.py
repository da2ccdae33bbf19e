"""Runs one sync of a cluster at a time: begins it, cancels it, and recovers one of an earlier supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from ... import tasks
from ...core.change.journal import FINAL, lost
from ...core.change.state import BASE, State, SyncSpec
from ...core.change.survey import IndexQuestion, Survey
from ...core.errors import CoiledError, Conflict, Impossible, NotFound
from ...core.wire import Sync
from .host import Host
from .reaching import Reaching
from .states import States

if TYPE_CHECKING:
    from ...links.nodes.survey import ValueNeeds
    from .run import Run

STOP_SECONDS = 660.0
"""Seconds that going back may take when this process is to end, in addition to the wait for running tasks."""
NEEDS_SECONDS = 2.0
"""Seconds that workers examine what their values need; if more is needed, the roll fails and goes back."""
_log = logging.getLogger("coiled_jupyter.supervisor")


class SyncRunner:
    """The syncs of one cluster."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._states = States(host)
        self._reaching = Reaching(host)

    @property
    def running(self) -> bool:
        """Whether a sync runs."""
        return self._task is not None and not self._task.done()

    @property
    def moving(self) -> bool:
        """Whether workers are being restarted on purpose."""
        return self.running and self._run is not None and self._run.sync.state in ("rolling", "rolling_back")

    async def survey(self, question: IndexQuestion | None = None) -> Survey:
        """Return the survey of the cluster's processes; with a question, each place is asked whether it reaches the index."""
        surveyor = self._host.node_link.surveyor
        survey = await surveyor.survey()
        holding = [worker.address for worker in survey.workers if worker.alone]
        found, places = await asyncio.gather(
            _nothing() if not holding else surveyor.value_needs(holding, NEEDS_SECONDS),
            self._reaching.ask(survey, question),
        )
        # Modules of no distribution lie outside of the packages' folders, so workers in a layer find them too.
        return msgspec.structs.replace(
            survey,
            places=places,
            needs={worker: needs.distributions for worker, needs in found.items() if needs.distributions},
        )

    def begin(self, spec: SyncSpec) -> Sync:
        """Begin a sync; Conflict if one runs, the cluster can't be changed now, or it isn't in the planned state."""
        cluster = self._host.cluster
        if self.running and self._run is not None:
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it", sync=self._run.sync.id)
        if cluster.status not in ("running", "idle", "degraded"):
            raise Conflict(f"The cluster is {cluster.status}", "Try again when it runs")
        if spec.layer_before != self._states.id:
            raise Conflict("The cluster was synced since this plan was made", "Make a new plan")
        run = self._new_run(spec, self._states.present)
        self._task = asyncio.create_task(self._carry_out(run), name=f"sync {spec.id}")
        return run.sync

    def _new_run(self, spec: SyncSpec, before: State | None, sync: Sync | None = None) -> Run:
        from .run import Run

        self._run = Run(self._host, spec, before, self._states, self._reaching, sync)
        return self._run

    async def _carry_out(self, run: Run) -> None:
        try:
            if self._states.present is None:
                await self._states.save_base(run.spec.how)
            await run.run()
        except Exception:  # noqa: BLE001 - outermost edge of the task: the sync ends in any case
            _log.exception("a sync could not be carried out because of a bug")
            run.progress.end("failed", "A bug in coiled-jupyter; the cluster's log has its details.")
        self._host.look_again()

    def cancel(self, sync_id: str) -> Sync:
        """Cancel the running sync; NotFound if it isn't this one."""
        if self._run is None or self._run.sync.id != sync_id or not self.running:
            raise NotFound("This sync no longer runs")
        self._run.cancel()
        return self._run.sync

    async def remove(self, state_id: str) -> None:
        """Remove the folders of a state's layers; Conflict if the cluster runs in them."""
        if state_id == self._states.id:
            raise Conflict("The cluster runs in this layer", "Go back to another state first")
        if self.running:
            raise Conflict("A sync of this cluster is running", "Wait for it, or cancel it")
        state = (await self._states.known()).get(state_id)
        if state is None:
            raise NotFound("This cluster doesn't know the layer")
        nodes = self._host.node_link
        speakers = {place.key: place.speaker for place in (await nodes.surveyor.survey()).places}
        for place in state.places:
            if place.layer is not None and place.key in speakers:
                try:
                    await nodes.layers.remove(speakers[place.key], place.layer)
                except Impossible as error:
                    hint = "Try again when the last processes that run from it have ended"
                    raise Conflict(error.message, hint) from None

    # ---- the life of the supervisor ---------------------------------------------------------------------------

    async def adopt(self) -> None:
        """Determine the state of an attached cluster, and go back if a sync was interrupted."""
        if self.running:
            return
        known = await self._states.known()
        await self._states.find(await self._host.node_link.surveyor.survey(), known)
        for sync, spec in await self._unfinished():
            before = known.get(spec.layer_before) if spec.layer_before != BASE else None
            self._states.enter(before, save=False)
            run = self._new_run(spec, before, sync)
            recovering = run.recover("The process that carried it out was ended.")
            self._task = asyncio.create_task(recovering, name=f"recover {spec.id}")
            break

    async def _unfinished(self) -> list[tuple[Sync, SyncSpec]]:
        cluster = self._host.cluster.id
        syncs = await self._host.ledger.ask(lambda held: held.journal.syncs())
        return [(sync, spec) for sync, spec in syncs if sync.cluster == cluster and sync.state not in FINAL]

    async def lose(self, why: str) -> None:
        """Record unfinished syncs of an earlier process as lost."""
        with contextlib.suppress(CoiledError):
            for sync, spec in () if self.running else await self._unfinished():
                self._new_run(spec, None, sync).progress.replace(lost(sync, why))

    async def use_again(self) -> None:
        """Have the nannies of a scheduler that has just started use the cluster's layers."""
        await self._states.use_again()

    async def close(self) -> None:
        """Let a running sync go back before this process ends."""
        if self._task is None or self._task.done() or self._run is None:
            return
        if self._host.spec.address is None:
            # The workers of a managed cluster end with this process, so it needn't go back.
            await tasks.end([self._task])
            if self._run.sync.state not in FINAL:
                why = "The cluster was stopped during the sync."
                self._run.progress.replace(lost(self._run.sync, why))
            return
        with contextlib.suppress(CoiledError):
            self._run.cancel()
        await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        await tasks.end([self._task])


async def _nothing() -> dict[str, ValueNeeds]:
    return {}
