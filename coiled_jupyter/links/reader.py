"""Reads every node of a cluster over a `NodeLink`: installed packages once per place, loaded ones once per kind of process.

Phases: the fingerprint of each new node (two short digests), together with the full list from one node of each host and
from the scheduler; then the list from one node of each remaining kind, and what one of each kind of process has loaded.
While the disk of a place is unchanged, its other nodes aren't asked again: a process can only import what is there.
Every `sweep_seconds` all nodes are asked.

Nodes make up their fingerprints. These only decide which nodes are asked and which share a list; lists are validated.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from .. import texts
from ..core import conda
from ..core.compare.verdict import CONTENT_SECONDS
from ..core.errors import CoiledError, Timeout, Unavailable
from ..core.groups import Readings, group, versions_environment
from ..core.paces import NORMAL
from ..core.reading import Answer, Reading, decode_answer, decode_loaded, unpack, with_loaded
from ..core.times import now
from ..core.wire import Environment, Role, Unread, Use
from .ports import NodeLink

SWEEP_SECONDS = NORMAL.sweep
SILENT_SECONDS = 10.0
SILENT_DEADLINE = 1.5
HEAD_START = 0.01
FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.015, 0.005
"""A scan takes at least the first of these, and each poll costs the scheduler and the network something."""
LOOKS = 200
"""Polls for the end of a scheduler's own scan before it is asked to read at once."""
SPEAKERS = 3
"""Nodes of one installation that are asked for it in turn until one answers."""
SCHEDULER = "scheduler"


def _host(node: str) -> str:
    return node.rpartition(":")[0]


class _Node(Struct):
    """The fingerprint of one node: the keys of what is installed there, and of what its process has loaded."""

    installed: str
    loaded: str


def _keys(text: str) -> _Node | None:
    """Return the two keys at the beginning of a node's answer, or None."""
    installed, _, rest = text.partition(" ")
    loaded = rest.partition(" ")[0]
    return _Node(installed, loaded) if installed and loaded and installed != "error" and len(text) <= 100 else None


class _Place(Struct):
    """One installation as one of its nodes has sent it; `fingerprint` is that node's key of it."""

    speaker: str
    fingerprint: str
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
    sweep_seconds
        Seconds after which all nodes are asked, even if nothing seems to have changed.
    conda_names
        Returns conda's names of distributions (`core.conda`).

    """

    def __init__(
        self,
        link: NodeLink,
        *,
        deadline: float = 4.0,
        sweep_seconds: float = SWEEP_SECONDS,
        conda_names: Callable[[], Mapping[str, str | None]] = lambda: conda.NAMES,
    ) -> None:
        self._conda_names = conda_names
        self._link = link
        self._deadline = deadline
        self._sweep_seconds = sweep_seconds
        self._nodes: dict[str, _Node] = {}
        self._places: dict[str, _Place] = {}
        self._loaded: dict[tuple[str, str], dict[str, tuple[str | None, Use]]] = {}
        self._complete: dict[tuple[str, str, str], Reading] = {}
        self._reasons: dict[str, CoiledError] = {}
        self._refused: set[str] = set()
        self._swept = 0.0

    @property
    def complete(self) -> bool:
        """Whether the files of every place were examined recently."""
        ages = (place.content_age for place in self._places.values())
        return all(seconds is not None and seconds <= CONTENT_SECONDS for seconds in ages)

    async def read(self, workers: Mapping[str, float], wanted: Iterable[str] = (), *, sweep: bool = False) -> Readings:
        """Return the readings of the scheduler and `workers`; unread nodes are named with the reason.

        Parameters
        ----------
        workers
            By address, the seconds since the last heartbeat of each.
        wanted
            Names of modules beside the notebook, to look for on the nodes.
        sweep
            Whether all nodes are asked, even where nothing seems to have changed.

        """
        taken_at = now()
        self._reasons = {}
        present = {SCHEDULER, *workers}
        self._nodes = {node: known for node, known in self._nodes.items() if node in present}
        self._refused &= present
        if sweep or time.monotonic() - self._swept > self._sweep_seconds:
            self._swept = time.monotonic()
            self._refused.clear()
            asked = present
        else:
            asked = present - set(self._nodes) - self._refused
        # These have had no heartbeat for long, so they are asked whether they still answer.
        asked = asked | {node for node, silent in workers.items() if silent >= SILENT_SECONDS}
        names = sorted(set(wanted))[:500]
        fresh = await self._read_new(asked, workers, names)
        # If a place has changed, all that is known of its nodes is doubtful.
        # Nodes that aren't asked for a list are asked at the same time for what they have loaded.
        changed, _ = await asyncio.gather(self._read_places(names, fresh), self._read_loaded())
        if changed:
            doubtful = {node for node, known in self._nodes.items() if known.installed in changed}
            await self._fetch_keys(doubtful, workers, "anew")
            await self._read_places(names, fresh)
        await self._read_loaded()
        versions = await self._versions(present - set(self._nodes), workers)
        return self._collect(workers, versions, taken_at)

    async def _read_new(self, asked: set[str], workers: Mapping[str, float], wanted: list[str]) -> set[str]:
        """Ask nodes for their keys, and one of each unread host for its full list; return the keys that were read."""
        read_hosts = {_host(place.speaker) for place in self._places.values()}
        speakers: dict[str, str] = {}
        for node in sorted(asked, key=lambda node: (node == SCHEDULER, node)):
            host = _host(node)
            if host not in read_hosts and workers.get(node, 0.0) < SILENT_SECONDS:
                speakers.setdefault(host, node)
        first = list(speakers.values())

        async def fetch(node: str) -> Answer | None:
            if node == SCHEDULER and len(asked) > 1:
                # It forwards the requests to the others before it reads itself, so that they read at the same time.
                await asyncio.sleep(HEAD_START)
                if not await self._prepare(node):
                    return None
            return await self._fetch(node, "", wanted)

        _, *answers = await asyncio.gather(
            self._fetch_keys(asked.difference(first), workers, "keys"), *(fetch(node) for node in first)
        )
        fresh: set[str] = set()
        for node, answer in zip(first, answers, strict=True):
            if answer is not None:
                self._store(node, answer, None, fresh)
        return fresh

    async def _prepare(self, node: str) -> bool:
        """Let a node scan itself in a thread: work in a scheduler's event loop delays all tasks."""
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

    async def _fetch_keys(self, asked: set[str], workers: Mapping[str, float], verb: str) -> None:
        """Ask nodes for their keys."""
        for node in asked:
            self._nodes.pop(node, None)
        # Workers that share a process scan once, when the first of them is asked.
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
        """Return the texts of those that answered; record the reasons of the others."""
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
                    # A node that refuses this may still answer Dask's versions handler.
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
            return Timeout(f"It doesn't answer; its last heartbeat was {silent:.0f} s ago (stopped?)")
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
        """Return the nodes of each installation in the order in which to ask them."""
        members: dict[str, list[str]] = {}
        for node, known in self._nodes.items():
            members.setdefault(known.installed, []).append(node)
        for key, nodes in members.items():
            place = self._places.get(key)
            last = place.speaker if place else ""
            # A worker before the scheduler: its process imports what tasks import.
            nodes.sort(key=lambda node: (node != last, node == SCHEDULER, node))
        return members

    async def _read_place(self, key: str, nodes: list[str], wanted: list[str], fresh: set[str]) -> str | None:
        """Read an installation through the first of its nodes that answers; return `key` if it has changed."""
        place = self._places.get(key)
        last = place.speaker if place else ""
        for speaker in nodes[:SPEAKERS]:
            answer = await self._fetch(speaker, place.fingerprint if place and speaker == last else "", wanted)
            if answer is None:
                self._nodes.pop(speaker, None)
                continue
            # The digest of the files: if it changes, other processes may have loaded the previous ones.
            looked = place.fingerprint.rpartition(" ")[2] if place else ""
            installed = self._store(speaker, answer, place, fresh)
            return key if installed != key or looked not in ("", answer.keys.rpartition(" ")[2]) else None
        # No node has confirmed it, so the previous reading may not hold.
        self._places.pop(key, None)
        for node in nodes:
            self._nodes.pop(node, None)
        return None

    def _store(self, speaker: str, answer: Answer, place: _Place | None, fresh: set[str]) -> str:
        """Store a node's list, or that it has confirmed `place`; return the key of its installation."""
        self._nodes[speaker] = known = _keys(answer.keys) or _Node("", "")
        installed, loaded = known.installed, known.loaded
        if answer.reading is None:
            if place is not None:
                place.content_age, place.loaded = answer.content_age, loaded
                self._places[installed] = place
        elif installed in fresh:
            # Another node has sent this installation meanwhile; what it has loaded is its own.
            self._loaded[installed, loaded] = {p.name: (p.loaded, p.use) for p in answer.reading.packages}
        else:
            self._places[installed] = _Place(speaker, answer.keys, answer.reading, loaded, answer.content_age)
        fresh.add(installed)
        return installed

    async def _fetch(self, speaker: str, fingerprint: str, wanted: list[str]) -> Answer | None:
        # The packages first: examining files takes longer, and begins with the second reading.
        needs = ("probe", "content") if fingerprint else ("probe",)
        names = texts.node_names("read", fingerprint, wanted, needs=needs)
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
        if answer.reading is None and answer.keys != fingerprint:
            self._reasons[speaker] = Unavailable("The process sent an answer that doesn't fit the request")
            return None
        return answer

    async def _read_loaded(self) -> None:
        """Ask one process of each kind for what it has loaded."""
        needed = {(known.installed, known.loaded) for known in self._nodes.values()}
        self._loaded = {key: value for key, value in self._loaded.items() if key in needed}
        speakers: dict[str, tuple[str, str]] = {}
        lists = {
            (key, self._nodes[nodes[0]].loaded) for key, nodes in self._members().items() if key not in self._places
        }
        for node, known in sorted(self._nodes.items()):
            kind = (known.installed, known.loaded)
            place = self._places.get(known.installed)
            has_list = kind in self._loaded or (place is not None and place.loaded == known.loaded)
            has_list = has_list or kind in lists
            if not has_list and kind not in speakers.values():
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
        """Ask Dask's own versions handler on nodes that refuse to be read."""
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
                key = (known.installed, place.fingerprint, known.loaded)
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
