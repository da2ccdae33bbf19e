"""Tracks a cluster's state: records it in the ledger, finds it by its layers, and restores it after a restart."""

from __future__ import annotations

from msgspec.structs import replace

from ...core.change.state import BASE, State, StatePlace, layer_id, place_of
from ...core.change.survey import Survey
from ...core.errors import CoiledError
from ...core.times import now
from .host import Host

LEARN_SECONDS = 60.0


class States:
    """The present state of one cluster and its earlier ones."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.present: State | None = None
        """The present state; None is the base environment."""
        self._made_on = ""

    @property
    def id(self) -> str:
        """The id of the present state."""
        return self.present.id if self.present else BASE

    def enter(self, state: State | None, *, save: bool = True) -> None:
        """Make a state the present one."""
        self.present = None if state is None or state.id == BASE else state
        self._made_on = self._host.interpreter
        if self.present is not None and save:
            self._save(self.present)
        self._host.set_layer(
            self.present.id if self.present else None, sealed=self.present is not None and self.present.sealed
        )

    def _save(self, state: State) -> None:
        self._host.ledger.keep(f"state {state.cluster} {state.id}", lambda held: held.journal.save_state(state))

    async def known(self) -> dict[str, State]:
        """Return this cluster's states in the ledger, by id."""
        cluster = self._host.cluster.id
        return {state.id: state for state in await self._host.ledger.ask(lambda held: held.journal.states(cluster))}

    async def find(self, survey: Survey, known: dict[str, State]) -> None:
        """Enter the state of an attached cluster, by the layers that its nannies use."""
        self.enter(None, save=False)
        used = {place.key: place.layer for place in survey.places}
        if not any(used.values()):
            return
        for state in known.values():
            if state.how == "roll" and state.places and all(used.get(p.key) == p.layer for p in state.places):
                self.enter(state, save=False)
                return
        learned = await self._learn(survey)
        if learned is not None:
            await self.save_base("roll")
            self.enter(learned)

    async def _learn(self, survey: Survey) -> State | None:
        """Return, from its layers, the state of a cluster that was synced from elsewhere, or under another id."""
        from ...links.nodes.layers import LayerRequest

        places = []
        for place in survey.places:
            if place.layer is None:
                continue
            # Without a lock, nothing is built: the layer is only checked.
            request = LayerRequest(id=place.layer, executable=place.executable, lock="")
            builds = self._host.node_link.layers.build(place.speaker, request, LEARN_SECONDS)
            *_, last = [build async for build in builds]
            if last.state != "done":
                return None
            built = {name: getattr(last, name) for name in ("path", "executable", "entries", "size")}
            places.append(place_of(place, layer=place.layer, **built))
        name = layer_id({place.key: place.layer or "" for place in places})
        sealed = await self._host.node_link.seal.registered()
        return replace(self._state(name, "roll", tuple(places)), sealed=sealed)

    async def save_base(self, how: str) -> None:
        """Record the base environment as a state to go back to."""
        try:
            survey = await self._host.node_link.surveyor.survey()
        except CoiledError:
            survey = None
        had = {e.prefix: {p.name: p.version for p in e.packages} for e in self._host.readings.environments}
        places = tuple(
            place_of(place, executable=place.executable, expected=had.get(place.prefix, {}))
            for place in (survey.places if survey else ())
        )
        self._save(self._state(BASE, how, places, self._host.interpreter or None))

    def _state(self, name: str, how: str, places: tuple[StatePlace, ...], interpreter: str | None = None) -> State:
        moment = now()
        return State(
            id=name,
            cluster=self._host.cluster.id,
            how=how,
            packages=max((len(place.expected) for place in places), default=0),
            places=places,
            interpreter=interpreter,
            created_at=moment,
            used_at=moment,
        )

    async def use_again(self) -> None:
        """Have the nannies of a scheduler that has just started use the state's layers."""
        if self.present is None or self.present.how != "roll" or self._made_on != self._host.interpreter:
            return
        plugin, places = self._host.node_link.plugin, self.present.places
        if self.present.sealed:
            await self._host.node_link.seal.register()
        await plugin.register(places)
        if places and places[0].entries:
            await plugin.extend_scheduler(places[0].entries)
