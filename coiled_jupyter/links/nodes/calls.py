"""Calls the texts that nannies, workers and a scheduler keep in memory, and decodes their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from ... import texts
from ...core.errors import CoiledError, Impossible, Unavailable
from ...core.identity import decode_identity
from ..scheduler import SchedulerLink

CALL_SECONDS = 10.0

Text = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=0)]
_T = TypeVar("_T", bound=Struct)


class Nothing(Struct, frozen=True):
    """An answer without content."""


class SchedulerAbout(Struct, frozen=True):
    """The scheduler's process; `registered` and `sealing` are whether the plugins of layers and of seals are there.

    `installers` are plugins of others that install packages.
    """

    host: Text
    pid: Count
    distributed: Text
    idempotent: bool
    idempotent_worker: bool
    registered: bool
    sealing: bool
    installers: Annotated[dict[Text, bool], Meta(max_length=20)] = {}


class NannyProcess(Struct, frozen=True):
    """The process of a nanny.

    Attributes
    ----------
    layer
        The layer in which its workers start; None is the base environment.
    why
        Why it uses no layer.
    obstacle
        Why it can't use any; empty if it can.
    nannies
        The status of each nanny in the process, by address.

    """

    host: Text
    pid: Count
    prefix: Text
    layer: Text | None
    why: Text
    obstacle: Text
    nannies: dict[Text, Text] = {}

    @property
    def place(self) -> str:
        """The key of its `SurveyPlace`."""
        return f"{self.host}\0{self.prefix}"


class PresentWorker(Struct, frozen=True, array_like=True):
    """A worker that is registered at the scheduler; `id` changes with each restart."""

    address: str
    id: str
    status: str
    nanny: str | None


class NodeCalls:
    """Calls texts through the scheduler; nannies by their own addresses, so that one without a worker answers too.

    Every method has a deadline, and raises Unavailable or Timeout if the scheduler doesn't answer.
    """

    def __init__(self, link: SchedulerLink) -> None:
        self.link = link
        self._identity: str | None = None
        self._nannies: dict[str, None] = {}

    async def each(
        self,
        text: str,
        nodes: Sequence[str],
        kind: type[_T],
        verb: str,
        *arguments: Any,
        deadline: float = CALL_SECONDS,
    ) -> dict[str, _T | CoiledError]:
        """Call a text in each node, and return its answer or error by node.

        Nodes that don't have the text yet are sent it first, without the arguments.
        """
        names = texts.short_names(text, verb, *arguments)
        found = await self.link.evaluate_on_workers(nodes, texts.SHORT, names, deadline)
        absent = [node for node, answer in found.items() if answer == "absent"]
        if absent:
            sent = await self.link.evaluate_on_workers(absent, texts.KEEP, texts.kept_names(text), deadline)
            found |= {node: answer for node, answer in sent.items() if isinstance(answer, CoiledError)}
            kept = [node for node, answer in sent.items() if answer == "kept"]
            found |= await self.link.evaluate_on_workers(kept, texts.SHORT, names, deadline)
        return {node: _decoded(answer, kind) for node, answer in found.items()}

    async def one(
        self, text: str, node: str, kind: type[_T], verb: str, *arguments: Any, deadline: float = CALL_SECONDS
    ) -> _T:
        """Call a text in one node; Impossible with its reason if it refuses, Unavailable if it doesn't answer."""
        return _raised((await self.each(text, [node], kind, verb, *arguments, deadline=deadline))[node])

    async def scheduler(self, kind: type[_T], verb: str, *arguments: Any, deadline: float = CALL_SECONDS) -> _T:
        """Call the scheduler's text."""
        for _ in range(2):
            if self._identity is None:
                self._identity = decode_identity(await self.link.identity(deadline)).id
            names = texts.short_names("scheduler", verb, self._identity, *arguments)
            answer = await self.link.evaluate_on_scheduler(texts.SHORT, names, deadline)
            if answer == "absent":
                await self.link.evaluate_on_scheduler(texts.KEEP, texts.kept_names("scheduler"), deadline)
                answer = await self.link.evaluate_on_scheduler(texts.SHORT, names, deadline)
            if "another scheduler" not in answer[:100]:
                break
            # It was restarted at the same address.
            self._identity = None
        return _raised(_decoded(answer, kind))

    async def about(self) -> SchedulerAbout:
        """Return where the scheduler runs, and whether the layer plugin is registered."""
        return await self.scheduler(SchedulerAbout, "about")

    async def present(self) -> dict[str, PresentWorker]:
        """Return the workers that are registered at the scheduler, by name."""
        return (await self.scheduler(_Present, "present")).workers

    async def nanny_processes(
        self, nannies: Sequence[str], deadline: float = CALL_SECONDS
    ) -> dict[str, NannyProcess | CoiledError]:
        """Return the process of each nanny, or the error, by address."""
        return await self.each("nanny", nannies, NannyProcess, "where", deadline=deadline)

    # ---- known nannies ----------------------------------------------------------------------------------------

    async def all_nannies(self) -> list[str]:
        """Return the nannies of all workers and those seen before: a worker is gone while it restarts."""
        return self.remember(worker.nanny for worker in (await self.present()).values())

    def remember(self, nannies: Iterable[str | None]) -> list[str]:
        """Add nannies to the known ones, and return all of them."""
        self._nannies |= dict.fromkeys(nanny for nanny in nannies if nanny)
        return list(self._nannies)

    def forget(self, nanny: str) -> None:
        """Forget a nanny that has ended."""
        self._nannies.pop(nanny, None)


class _Present(Struct, frozen=True):
    workers: dict[str, PresentWorker]


def _raised(answer: _T | CoiledError) -> _T:
    if isinstance(answer, CoiledError):
        raise answer
    return answer


def _decoded(answer: str | CoiledError, kind: type[_T]) -> _T | CoiledError:
    """Return an answer as `kind`, or Impossible with the node's reason if it refused."""
    if isinstance(answer, CoiledError):
        return answer
    try:
        plain = msgspec.json.decode(answer)
        if isinstance(plain, dict) and isinstance(plain.get("error"), str):
            return Impossible(plain["error"][:500])
        return msgspec.convert({"workers": plain} if kind is _Present else plain, kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Unavailable("The answer isn't what was asked for, so it wasn't used")
