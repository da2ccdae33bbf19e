"""Carries out one plan on one cluster: builds layers, moves the workers, verifies, and goes back if anything fails.

Rules: nothing is changed before every layer was built and checked and the ledger has what another supervisor needs to go
back; a worker is restarted only after the scheduler has retired it and nothing executes on it; a sync is `done` only
after every worker was read anew. Later failures to write or send end no sync.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from ... import tasks
from ...core.change.journal import BUILD, FINAL, MOVE, RESTART, TEST_START, VERIFY
from ...core.change.state import State, StatePlace, SyncSpec, place_of
from ...core.errors import CoiledError, Conflict, Unavailable
from ...core.times import now
from ...core.wire import Sync, SyncGroup
from ...software import build as software
from .back import Back, gone, nobody
from .building import Building
from .host import Host
from .moving import Moving
from .progress import Progress
from .reaching import Reaching
from .rehearsal import rehearse
from .states import States
from .verify import Verifying

_log = logging.getLogger("coiled_jupyter.supervisor")


class Run:
    """One run of a sync.

    Parameters
    ----------
    spec
        What to do.
    before
        The state to go back to; None is the base environment.
    states
        Records the verified state, before the sync is shown as done.
    reaching
        Remembers which places can't fetch packages.
    sync
        As recorded by an earlier supervisor.

    """

    def __init__(
        self,
        host: Host,
        spec: SyncSpec,
        before: State | None,
        states: States,
        reaching: Reaching,
        sync: Sync | None = None,
    ) -> None:
        self.spec = spec
        self.progress = Progress(host, spec, sync)
        self._host, self._states, self._seals = host, states, bool(spec.sealed)
        self._prior: dict[str, StatePlace] = {place.key: place for place in before.places} if before else {}
        self._building = Building(host, spec, self.progress, reaching)
        self._moving = Moving(host, spec, self.progress)
        self._verifying = Verifying(host, self._moving)
        sealed = before is not None and before.sealed
        self._back = Back(host, spec, self.progress, self._building, self._moving, self._verifying, self._prior, sealed)
        self._cancelled = asyncio.Event()

    @property
    def sync(self) -> Sync:
        """The sync with its progress."""
        return self.progress.sync

    # ---- life -------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop and go back; Conflict if the sync has ended or is going back."""
        if self.sync.state not in ("planned", "building", "rolling", "verifying"):
            raise Conflict(f"This sync is {self.sync.state.replace('_', ' ')} and can't be cancelled any more")
        self._cancelled.set()

    async def run(self) -> None:
        """Run to one of the final states; raises only the cancellation of its task."""
        self.progress.enter("building")
        work = asyncio.create_task(self._replace() if self.spec.how == "replace" else self._roll())
        stop = asyncio.create_task(self._cancelled.wait())
        lost = asyncio.create_task(self._gone())
        try:
            await asyncio.wait({work, stop, lost}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() and not work.cancelled():
                work.result()
                return
            await tasks.end([work])
            if self.sync.state in FINAL:
                # It ended before it could be cancelled.
                return
            if lost.done():
                raise Unavailable(nobody(self._host))
            self.progress.log("Cancelled by the user")
            await self._back.go("cancelled", "Cancelled.")
        except CoiledError as error:
            self.progress.log(error.message)
            await self._back.go("failed", error.message)
        except Exception:  # noqa: BLE001 - outermost edge of a run, which goes back in any case
            _log.exception("a sync failed because of a bug")
            await self._back.go("failed", "A bug in coiled-jupyter; the cluster's log has its details.")
        finally:
            await tasks.end([work, stop, lost])

    async def _gone(self) -> None:
        """Return when nothing listens at the scheduler's address, sooner than requests would time out."""
        refused = 0
        while refused < 2:
            await asyncio.sleep(1.0)
            # A replacement ends the scheduler itself.
            refused = refused + 1 if self.spec.how == "roll" and await gone(self._host.link.address) else 0

    async def recover(self, why: str) -> None:
        """Go back from wherever an earlier supervisor left this run."""
        self._back.touched = self.sync.state in ("rolling", "verifying", "rolling_back")
        with contextlib.suppress(CoiledError):
            await self._building.cancel()
        await self._back.go("failed", why)

    # ---- rolling ----------------------------------------------------------------------------------------------

    async def _roll(self) -> None:
        self.progress.begin(BUILD)
        survey = await self._host.node_link.surveyor.survey()
        # A plan without places only seals: every worker stays in what it runs from.
        kept = {} if self.spec.places else {place.key: place_of(place) for place in survey.places}
        # The plan refused workers that can't be moved, so these aren't verified.
        planned = {place.key for place in self.spec.places} | self._prior.keys() | kept.keys()
        self._verifying.leave_out(survey, frozenset(planned))
        # Places outside of the plan keep their layers.
        target = {**kept, **self._prior, **await self._building.build(self.spec.places, survey)}
        await self._touch(BUILD, MOVE)
        await self._building.use(target, await self._host.node_link.surveyor.survey(), sealed=self._seals)
        await self._moving.move(MOVE)
        self._then(MOVE, VERIFY)
        groups = await self._verifying.workers(target, self.spec.drain_seconds, sealed=self._seals)
        await self._done(groups, tuple(target.values()), "roll", self._host.interpreter or None)

    async def _touch(self, done: str, step: str) -> None:
        """Begin to change the cluster, after the ledger has what is needed to go back."""
        self.progress.finish(done)
        self.progress.enter("rolling")
        self.progress.begin(step)
        await self.progress.written()
        self._back.touched = True

    def _then(self, done: str, step: str) -> None:
        self.progress.finish(done)
        self.progress.enter("verifying")
        self.progress.begin(step)

    async def _done(
        self, groups: Sequence[SyncGroup], places: tuple[StatePlace, ...], how: str, interpreter: str | None
    ) -> None:
        self.progress.finish(VERIFY)
        self._states.enter(
            State(
                id=self.spec.layer,
                cluster=self.spec.cluster,
                how=how,
                packages=max((len(place.expected) for place in places), default=0),
                places=places,
                interpreter=interpreter,
                sealed=self._seals,
                created_at=self.sync.started_at,
                used_at=now(),
            )
        )
        if self.spec.undo_of is not None:
            await self.progress.mark_undone(self.spec.undo_of)
        count = sum(len(group.nodes) for group in groups if group.role == "worker")
        many = f"{count} workers run" if count != 1 else "The worker runs"
        text = f"{many} exactly the planned packages, as read from {'each' if count != 1 else 'it'}."
        self.progress.end("done", f"{text} {self.spec.sealed}".strip(), groups, self.spec.lost)

    # ---- replacing --------------------------------------------------------------------------------------------

    async def _replace(self) -> None:
        """Restart the whole cluster in another environment, at the same address."""
        self.progress.begin(BUILD)
        interpreter = await self._make()
        self.progress.finish(BUILD)
        self.progress.begin(TEST_START)
        await rehearse(self._host, interpreter)
        self._back.prefix = self._host.cluster.environment.prefix
        await self._touch(TEST_START, RESTART)
        if not Path(interpreter).exists():
            raise Unavailable(f"There is no Python at {interpreter} any more")
        await self._host.start_on(interpreter)
        target = await self._into_layers()
        self._then(RESTART, VERIFY)
        prefix = str(Path(interpreter).parent.parent)
        expected = next((place.expected for place in self.spec.places if not place.key), {})
        base = StatePlace(
            key="", host="", prefix=prefix, layer=None, path=prefix, executable=interpreter, expected=expected
        )
        groups = await self._verifying.restarted(base, target, self.spec.drain_seconds, sealed=self._seals)
        places = tuple(target.values()) or (base,)
        await self._done(groups, places, "roll" if target else "replace", interpreter)

    async def _make(self) -> str:
        """Return the Python of the new environment, and build that if it doesn't exist."""
        if self.spec.interpreter is not None:
            return self.spec.interpreter
        if self.spec.build is None:
            raise Unavailable("The plan doesn't say what to build the new environment from")
        return (await software.build(self.spec.build, self.spec.lock)).interpreter

    async def _into_layers(self) -> dict[str, StatePlace]:
        """Move the workers of a cluster that has just started into the layers of an earlier state."""
        places = [place for place in self.spec.places if place.key]
        if not places:
            return {}
        survey = await self._host.node_link.surveyor.survey()
        self._verifying.leave_out(survey, frozenset(place.key for place in self.spec.places))
        target = await self._building.build(places, survey)
        await self._building.use(target, survey, sealed=self._seals)
        await self._host.observe()
        await self._moving.restart([worker.id for worker in self._host.cluster.workers], self.spec.drain_seconds)
        return target
