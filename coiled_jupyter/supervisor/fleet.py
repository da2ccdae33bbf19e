"""The workers of one cluster: the wanted number of nannies, each a process of its own, replaced when it ends."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Mapping

from ..core.paces import Paces
from .nodes import Node, Nodes

STOP_SECONDS = 6.0


class Fleet:
    """Nannies by name; names are numbers from 0.

    Parameters
    ----------
    nodes
        Starts and signals processes.
    arguments
        Returns the arguments of the nanny with a name.
    environ
        Variables of the workers.
    paces
        How long a worker may take to join, and the delays before a nanny that keeps ending is restarted.

    """

    def __init__(
        self, nodes: Nodes, arguments: Callable[[str], list[str]], environ: Mapping[str, str], paces: Paces
    ) -> None:
        self._paces = paces
        self._nodes, self._arguments, self._environ = nodes, arguments, environ
        self._nannies: dict[str, Node] = {}
        self._leaving: dict[str, Node] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def young(self) -> set[str]:
        """Return the names of workers that were started for the first time a moment ago."""
        moment = time.monotonic()
        return {
            name for name, begun in self._begun.items() if moment - begun < self._paces.young and name in self._nannies
        }

    @property
    def names(self) -> list[str]:
        """The names of the wanted workers, oldest first."""
        return list(self._nannies)

    @property
    def processes(self) -> int:
        """The number of workers that run or are wanted, including those that are leaving."""
        return len(self._nannies) + sum(not node.ended for node in list(self._leaving.values()))

    def ended(self) -> bool:
        """Return whether the nanny of a wanted worker has ended."""
        return any(node.ended for node in self._nannies.values())

    def grow(self, count: int) -> None:
        """Start workers until `count` are wanted."""
        number = 0
        while len(self._nannies) < count:
            name = str(number)
            number += 1
            # The scheduler refuses a second worker of the same name, even while the first is leaving.
            gone = name not in self._leaving or self._leaving[name].ended
            if name not in self._nannies and gone:
                self._leaving.pop(name, None)
                self._failures.pop(name, None)
                self._due.pop(name, None)
                self._begun[name] = time.monotonic()
                self._start(name)

    def _start(self, name: str) -> None:
        self._nannies[name] = self._nodes.start(name, self._arguments(name), self._environ)

    def leave(self, names: Iterable[str]) -> None:
        """Mark workers as leaving; they run until `end`."""
        for name in names:
            if name in self._nannies:
                self._leaving[name] = self._nannies.pop(name)

    async def end(self, names: Iterable[str]) -> None:
        """End leaving workers, and wait until they have ended."""
        nodes = [self._leaving[name] for name in names if name in self._leaving]
        await self._end(nodes)

    async def close(self) -> None:
        """End all workers."""
        nodes = [*self._nannies.values(), *self._leaving.values()]
        self._nannies.clear()
        await self._end(nodes)

    async def _end(self, nodes: list[Node]) -> None:
        for node in nodes:
            self._nodes.signal(node, signal.SIGCONT, group=True)
            self._nodes.signal(node, signal.SIGTERM)
        if not await _ended(nodes):
            for node in nodes:
                self._nodes.signal(node, signal.SIGKILL, group=True)
            await _ended(nodes)

    def kill(self, name: str) -> None:
        """Kill a worker that doesn't answer; it is replaced at once."""
        node = self._nannies.get(name)
        if node is not None:
            node.started = 0.0
            self._nodes.signal(node, signal.SIGKILL, group=True)

    def replace(self) -> None:
        """Restart each nanny that has ended, with growing delays while it keeps ending."""
        for name, node in list(self._nannies.items()):
            if not node.ended:
                continue
            self._begun.pop(name, None)
            if name not in self._due:
                ran = time.monotonic() - node.started
                count = self._failures[name] = 1 if ran > self._paces.settled else self._failures.get(name, 0) + 1
                unit = self._paces.respawn
                self._due[name] = time.monotonic() + min(unit * 2.0 ** min(count, 6), self._paces.settled) - 2 * unit
            if time.monotonic() >= self._due[name]:
                del self._due[name]
                self._start(name)


async def _ended(nodes: list[Node]) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while not all(node.ended for node in nodes):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True
