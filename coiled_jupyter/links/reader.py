"""Reads every node of a cluster over a `NodeLink`: installed packages once per place, what runs from each process.

Phases: what each newcomer is (two short digests), and at once the full list from one of each host and from the
scheduler; the list from one node of each kind that is left, and what runs from one of each kind of process. While the disk of a place is as it was, its other nodes need not be asked again: a process
can only import what lies there. Every `SWEEP_SECONDS` all are asked nevertheless.

The keys are the nodes' own words. They decide only which nodes are asked and which share a list; a list is decoded anew.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .. import texts
from ..core import conda
from ..core.cluster import Readings, now
from ..core.diff import CONTENT_SECONDS
from ..core.environment import (
    Answer,
    Reading,
    decode_answer,
    decode_loaded,
    group,
    unpack,
    versions_environment,
    with_loaded,
)
from ..core.errors import CoiledError, Timeout, Unavailable
from ..core.wire import Environment, Role, Unread
from .ports import NodeLink

SWEEP_SECONDS = 30.0
SILENT_SECONDS = 10.0
SILENT_DEADLINE = 1.5
HEAD_START = 0.01
FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.015, 0.005
"""A look takes the first at least, and each question for it costs the scheduler a moment and the network some bytes."""
LOOKS = 200
"""How often a scheduler is asked whether its own look is done, before it is asked to read at once."""
SPEAKERS = 3
"""How many nodes of one installation are asked for it, until one answers."""
SCHEDULER = "scheduler"


def _host(node: str) -> str:
    return node.rpartition(":")[0]


@dataclass
class _Node:
    """What is known of one node: the key of what is installed there, and of what its process runs."""

    installed: str
    loaded: str


def _keys(text: str) -> _Node | None:
    """Return the two keys that a node's answer begins with, or None where it's none."""
    installed, _, rest = text.partition(" ")
    loaded = rest.partition(" ")[0]
    return _Node(installed, loaded) if installed and loaded and installed != "error" and len(text) <= 100 else None


@dataclass
class _Place:
    """One installation as one of its nodes has told it; `mark` is the key that this node knows it by."""

    speaker: str
    mark: str
    reading: Reading
    loaded: str
    content_age: float | None


class Reader:
    """Reads one cluster again and again, asking only for what may have changed.

    Parameters
    ----------
    link
        The way to the nodes.
    deadline
        Seconds for one request.
    conda_names
        Returns conda's names of distributions (`core.conda`).

    """

    def __init__(
        self,
        link: NodeLink,
        *,
        deadline: float = 4.0,
        conda_names: Callable[[], Mapping[str, str | None]] = lambda: conda.NAMES,
    ) -> None:
        self._conda_names = conda_names
        self._link = link
        self._deadline = deadline
        self._nodes: dict[str, _Node] = {}
        self._places: dict[str, _Place] = {}
        self._loaded: dict[tuple[str, str], dict[str, tuple[str | None, bool]]] = {}
        self._complete: dict[tuple[str, str, str], Reading] = {}
        self._reasons: dict[str, CoiledError] = {}
        self._refused: set[str] = set()
        self._swept = 0.0

    @property
    def complete(self) -> bool:
        """Whether the files of every place that was read have been looked at lately."""
        ages = (place.content_age for place in self._places.values())
        return all(seconds is not None and seconds <= CONTENT_SECONDS for seconds in ages)

    async def read(self, workers: Mapping[str, float], wanted: Iterable[str] = (), *, sweep: bool = False) -> Readings:
        """Return the readings of the scheduler and `workers`; who can't be read is named with the reason.

        Parameters
        ----------
        workers
            By address, the seconds since the scheduler has last heard of each.
        wanted
            Names of modules beside the notebook, which are looked for on the nodes.
        sweep
            Whether all nodes are asked, even where nothing seems to have changed.

        """
        taken_at = now()
        self._reasons = {}
        present = {SCHEDULER, *workers}
        self._nodes = {node: known for node, known in self._nodes.items() if node in present}
        self._refused &= present
        if sweep or time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            self._refused.clear()
            asked = present
        else:
            asked = present - set(self._nodes) - self._refused
        # The scheduler has heard nothing of these for long: are they still there?
        asked = asked | {node for node, silent in workers.items() if silent >= SILENT_SECONDS}
        names = sorted(set(wanted))[:500]
        fresh = await self._meet(asked, workers, names)
        # A place that has changed makes all that is known of its nodes doubtful.
        # What runs where is asked for at the same time, of those that no list is asked of.
        changed, _ = await asyncio.gather(self._read_places(names, fresh), self._read_loaded())
        if changed:
            doubtful = {node for node, known in self._nodes.items() if known.installed in changed}
            await self._greet(doubtful, workers, "anew")
            await self._read_places(names, fresh)
        await self._read_loaded()
        versions = await self._versions(present - set(self._nodes), workers)
        return self._collect(workers, versions, taken_at)

    async def _meet(self, asked: set[str], workers: Mapping[str, float], wanted: list[str]) -> set[str]:
        """Ask nodes for their keys, and one of each host that nobody has spoken for yet for all; return what was read."""
        spoken_for = {_host(place.speaker) for place in self._places.values()}
        speakers: dict[str, str] = {}
        for node in sorted(asked, key=lambda node: (node == SCHEDULER, node)):
            host = _host(node)
            if host not in spoken_for and workers.get(node, 0.0) < SILENT_SECONDS:
                speakers.setdefault(host, node)
        first = list(speakers.values())

        async def hear(node: str) -> Answer | None:
            if node == SCHEDULER and len(asked) > 1:
                # It passes on the questions to the others before it reads itself, so that they read meanwhile.
                await asyncio.sleep(HEAD_START)
                if not await self._prepare(node):
                    return None
            return await self._hear(node, "", wanted)

        _, *answers = await asyncio.gather(
            self._greet(asked.difference(first), workers, "keys"), *(hear(node) for node in first)
        )
        fresh: set[str] = set()
        for node, answer in zip(first, answers, strict=True):
            if answer is not None:
                self._enter(node, answer, None, fresh)
        return fresh

    async def _prepare(self, node: str) -> bool:
        """Let a node look at itself in a thread: all tasks wait for what a scheduler does in its loop."""
        if not await self._ask({node}, {}, texts.LOAD, texts.node_names("keys")):
            return False
        names = texts.node_names("soon", needs=("probe",))
        pause = FIRST_LOOK_SECONDS
        for _ in range(LOOKS):
            answers = await self._ask({node}, {}, texts.LOAD, names)
            if answers.get(node) != "working":
                break
            await asyncio.sleep(pause)
            pause = LOOK_SECONDS
            names = texts.node_names("soon")
        return node in answers

    async def _greet(self, asked: set[str], workers: Mapping[str, float], verb: str) -> None:
        """Ask nodes for their keys."""
        for node in asked:
            self._nodes.pop(node, None)
        # Workers that share a process look once, when the first of them is asked.
        turn = os.urandom(6).hex()
        answers = await self._ask(asked, workers, texts.LOAD, texts.node_names(verb, turn))
        for node, answer in answers.items():
            known = _keys(answer)
            if known is None:
                self._reasons[node] = Unavailable("The process could not read its own environment")
            else:
                self._nodes[node] = known

    async def _ask(
        self, nodes: set[str], workers: Mapping[str, float], expression: str, names: dict[str, object]
    ) -> dict[str, str]:
        """Return the texts of those that answered; of the others the reason is kept."""
        quick = sorted(node for node in nodes if workers.get(node, 0.0) < SILENT_SECONDS and node != SCHEDULER)
        slow = sorted(node for node in nodes if workers.get(node, 0.0) >= SILENT_SECONDS)
        groups = [quick, *([node] for node in slow)]
        calls = [
            self._link.evaluate_on_workers(g, expression, names, self._deadline if g is quick else SILENT_DEADLINE)
            for g in groups
            if g
        ]
        scheduler = [self._on_scheduler(expression, names)] if SCHEDULER in nodes else []
        found: dict[str, str] = {}
        for answers in await asyncio.gather(*calls, *scheduler):
            for node, answer in answers.items():
                if isinstance(answer, CoiledError):
                    self._reasons[node] = self._reason(answer, workers.get(node))
                    # One that answers at all, but doesn't do this, may tell its versions.
                    if not isinstance(answer, Timeout):
                        self._refused.add(node)
                else:
                    found[node] = answer
        return found

    async def _on_scheduler(self, expression: str, names: dict[str, object]) -> dict[str, str | CoiledError]:
        try:
            return {SCHEDULER: await self._link.evaluate_on_scheduler(expression, names, self._deadline)}
        except CoiledError as error:
            return {SCHEDULER: error}

    def _reason(self, error: CoiledError, silent: float | None) -> CoiledError:
        if isinstance(error, Timeout) and silent is not None and silent >= SILENT_SECONDS:
            return Timeout(f"It doesn't answer; the scheduler has heard nothing of it for {silent:.0f} s (stopped?)")
        return error

    async def _read_places(self, wanted: list[str], fresh: set[str]) -> set[str]:
        """Read one node of each installation that isn't `fresh`; return the keys of those that have changed."""
        members = self._members()
        self._places = {key: place for key, place in self._places.items() if key in members}
        changed = await asyncio.gather(
            *(self._read_place(key, nodes, wanted, fresh) for key, nodes in members.items() if key not in fresh)
        )
        return {key for key in changed if key is not None}

    def _members(self) -> dict[str, list[str]]:
        """Return the nodes of each installation in the order in which they are asked for it."""
        members: dict[str, list[str]] = {}
        for node, known in self._nodes.items():
            members.setdefault(known.installed, []).append(node)
        for key, nodes in members.items():
            place = self._places.get(key)
            last = place.speaker if place else ""
            # A worker before the scheduler: its process has what tasks would import.
            nodes.sort(key=lambda node: (node != last, node == SCHEDULER, node))
        return members

    async def _read_place(self, key: str, nodes: list[str], wanted: list[str], fresh: set[str]) -> str | None:
        """Read an installation through the first of its nodes that answers; return `key` if it has changed."""
        place = self._places.get(key)
        last = place.speaker if place else ""
        for speaker in nodes[:SPEAKERS]:
            answer = await self._hear(speaker, place.mark if place and speaker == last else "", wanted)
            if answer is None:
                self._nodes.pop(speaker, None)
                continue
            # What the files are: where they change, other processes may run what was there before.
            looked = place.mark.rpartition(" ")[2] if place else ""
            installed = self._enter(speaker, answer, place, fresh)
            return key if installed != key or looked not in ("", answer.keys.rpartition(" ")[2]) else None
        # Nobody has confirmed it: what was read before isn't known to hold.
        self._places.pop(key, None)
        for node in nodes:
            self._nodes.pop(node, None)
        return None

    def _enter(self, speaker: str, answer: Answer, place: _Place | None, fresh: set[str]) -> str:
        """Keep what a speaker has told, or that it has confirmed `place`; return the key of its installation."""
        self._nodes[speaker] = known = _keys(answer.keys) or _Node("", "")
        installed, loaded = known.installed, known.loaded
        if answer.reading is None:
            if place is not None:
                place.content_age, place.loaded = answer.content_age, loaded
                self._places[installed] = place
        elif installed in fresh:
            # Another one has told of this installation meanwhile; what it runs is its own.
            self._loaded[installed, loaded] = {p.name: (p.loaded, p.in_use) for p in answer.reading.packages}
        else:
            self._places[installed] = _Place(speaker, answer.keys, answer.reading, loaded, answer.content_age)
        fresh.add(installed)
        return installed

    async def _hear(self, speaker: str, mark: str, wanted: list[str]) -> Answer | None:
        # The packages first: the look at files takes longer, and begins with the second reading.
        needs = ("probe", "content") if mark else ("probe",)
        names = texts.node_names("read", mark, wanted, needs=needs)
        answers = await self._ask({speaker}, {}, texts.LOAD, names)
        if speaker not in answers:
            return None
        try:
            answer = decode_answer(unpack(answers[speaker]), self._conda_names())
        except CoiledError as error:
            self._reasons[speaker] = error
            return None
        if _keys(answer.keys) is None:
            self._reasons[speaker] = Unavailable("The process could not read its own environment")
            return None
        if answer.reading is None and answer.keys != mark:
            self._reasons[speaker] = Unavailable("The process answered something else than what was asked")
            return None
        return answer

    async def _read_loaded(self) -> None:
        """Ask one process of each kind for what it runs."""
        needed = {(known.installed, known.loaded) for known in self._nodes.values()}
        self._loaded = {key: value for key, value in self._loaded.items() if key in needed}
        speakers: dict[str, tuple[str, str]] = {}
        lists = {
            (key, self._nodes[nodes[0]].loaded) for key, nodes in self._members().items() if key not in self._places
        }
        for node, known in sorted(self._nodes.items()):
            kind = (known.installed, known.loaded)
            place = self._places.get(known.installed)
            told = kind in self._loaded or (place is not None and place.loaded == known.loaded)
            told = told or kind in lists
            if not told and kind not in speakers.values():
                speakers[node] = kind
        if not speakers:
            return
        answers = await self._ask(set(speakers), {}, texts.LOAD, texts.node_names("loaded", needs=("probe",)))
        for node, answer in answers.items():
            try:
                self._loaded[speakers[node]] = decode_loaded(unpack(answer))
            except CoiledError as error:
                self._reasons[node] = error

    async def _versions(self, silent: set[str], workers: Mapping[str, float]) -> dict[str, object]:
        """Ask those that refuse to be read for what Dask's own handler tells."""
        refusing = silent & self._refused
        if not refusing:
            return {}
        answers = await self._link.versions(sorted(refusing - {SCHEDULER}), self._deadline)
        return {
            node: answer
            for node, answer in answers.items()
            if node in refusing and not isinstance(answer, CoiledError) and answer.get("packages")
        }

    def _collect(self, workers: Mapping[str, float], versions: dict[str, object], taken_at: str) -> Readings:
        readings: dict[str, Reading] = {}
        ages: dict[str, float | None] = {}
        complete: dict[tuple[str, str, str], Reading] = {}
        for node, known in self._nodes.items():
            place = self._places.get(known.installed)
            if place is None:
                continue
            if place.loaded == known.loaded:
                readings[node] = place.reading
            else:
                loaded = self._loaded.get((known.installed, known.loaded))
                if loaded is None:
                    continue
                key = (known.installed, place.mark, known.loaded)
                complete[key] = complete.get(key) or self._complete.get(key) or with_loaded(place.reading, loaded)
                readings[node] = complete[key]
            ages[node] = place.content_age
        self._complete = complete
        environments: list[Environment] = []
        roles: tuple[tuple[Role, set[str]], ...] = (("worker", set(workers)), ("scheduler", {SCHEDULER}))
        for role, nodes in roles:
            environments += group(
                {node: reading for node, reading in readings.items() if node in nodes},
                role,
                taken_at=taken_at,
                content_ages=ages,
            )
            environments += versions_environment(
                {node: answer for node, answer in versions.items() if node in nodes},
                role,
                taken_at=taken_at,
            )
        default = Unavailable("It could not be read")
        unread = tuple(
            Unread(node=node, reason=self._reasons.get(node, default).message)
            for node in (SCHEDULER, *sorted(workers))
            if node not in readings and node not in versions
        )
        return Readings(environments=tuple(environments), unread=unread, taken_at=taken_at)
