"""Reads the environment of a Jupyter kernel over its control channel, also while a cell runs.

Rules: the handler is installed by the maintenance task only (kernel start, restart, first idle), never by a reading;
nothing is executed on the control channel while a cell runs; every request has a deadline; an answer is kept only if
the kernel is still the process that was asked.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import tasks
from ..core import conda
from ..core.clients import WRAPPED_LIMIT, Answer, Answers, KernelClient, Ticket, decode, decode_clients, failed
from ..core.cluster import now
from ..core.environment import Reading, decode_answer
from ..core.errors import CoiledError, NotFound, Timeout, Unavailable
from ..texts import source
from ..texts.kernel_handler import REPLY, REQUEST

UNTRACKED = (REQUEST, REPLY)
"""Message types that must not count as the user's activity (``MappingKernelManager.untracked_message_types``)."""


LOOK_SECONDS = 0.5


class Kernels(Protocol):
    """What is needed of jupyter_server's kernel manager."""

    untracked_message_types: list[str]

    def list_kernel_ids(self) -> list[str]:
        """Return the ids of all kernels."""

    def get_kernel(self, kernel_id: str) -> Any:
        """Return the manager of one kernel."""


@dataclass
class _Kernel:
    """What is known of one kernel process; a restart makes a new one."""

    process: object
    installed: bool = False
    final: bool = False
    reason: str = "The kernel is starting"
    attempts: int = 0
    retry_at: float = 0.0
    client: Any = None
    task: asyncio.Task[None] | None = None
    """The installing, while it goes on."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: KernelReading | None = None
    mark: str = ""
    """The key by which the kernel knows `last`."""
    seen: object = None
    """The last activity at whose end the kernel was looked at."""
    look: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class KernelReading:
    """A kernel's reading, when it was taken, and how many seconds before its files were looked at (None: not yet)."""

    reading: Reading
    taken_at: str
    content_age: float | None


class KernelLink:
    """Readings of the kernels of one Jupyter server.

    Parameters
    ----------
    kernels
        jupyter_server's ``MappingKernelManager``.
    deadline
        Seconds that a reading may take.
    changed
        Called with a kernel's id when it became readable, or certain not to be, or has another environment.
    conda_names
        Returns conda's names of distributions (`core.conda`).
    load_magic
        Whether kernels that have our package load ``%coiled`` from it.

    """

    def __init__(
        self,
        kernels: Kernels,
        *,
        deadline: float = 2.0,
        changed: Callable[[str], object] | None = None,
        conda_names: Callable[[], Mapping[str, str | None]] = lambda: conda.NAMES,
        load_magic: bool = False,
    ) -> None:
        self._load_magic = load_magic
        self._conda_names = conda_names
        self._kernels = kernels
        self._deadline = deadline
        self._changed: Callable[[str], object] = changed or str
        self._known: dict[str, _Kernel] = {}
        self._restarts: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = logging.getLogger(__name__)
        # Without this, a computing kernel would look idle to the culler and a polled one busy for ever.
        missing = [name for name in UNTRACKED if name not in kernels.untracked_message_types]
        kernels.untracked_message_types = [*kernels.untracked_message_types, *missing]

    def start(self) -> None:
        """Begin to install handlers in present and future kernels."""
        self._task = asyncio.create_task(self._maintain(), name="coiled-jupyter kernels")

    async def close(self) -> None:
        """End the maintenance and close all connections; kernels are left as they are."""
        await tasks.end([self._task, *(task for known in self._known.values() for task in (known.task, known.look))])
        for known in self._known.values():
            self._drop(known)
        self._known.clear()

    def notice(self, kernel_id: str, action: str) -> None:
        """Take note of a kernel action ("start", "restart", "shutdown", ...) of jupyter_server's event bus."""
        if action == "restart":
            self._restarts[kernel_id] = self._restarts.get(kernel_id, 0) + 1
        self._wake.set()

    async def read(self, kernel_id: str) -> KernelReading:
        """Return the kernel's reading.

        A kernel that doesn't answer in time is answered for by its last reading, with that reading's time.

        Raises
        ------
        NotFound
            There is no such kernel.
        Unavailable
            It can't be read; the message says why.

        """
        known = self._ready(kernel_id)
        try:
            await self._renew(known, kernel_id)
        except asyncio.TimeoutError:
            if known.last is None:
                raise self._late(Unavailable) from None
        self._check_same(known, kernel_id)
        if known.last is None:
            raise Unavailable("The kernel has just restarted", "The reading follows by itself")
        return known.last

    async def _renew(self, known: _Kernel, kernel_id: str) -> bool:
        """Bring ``known.last`` up to date and return whether the reading is another one than before."""
        answer = decode_answer(
            await self._ask(known, kernel_id, {"verb": "read", "known": known.mark}), self._conda_names()
        )
        reading = answer.reading
        if reading is None:
            if known.last is None or answer.keys != known.mark:
                raise Unavailable("The kernel could not be read", "Restart the kernel if this stays")
            reading = known.last.reading
        before = known.mark
        known.last, known.mark = KernelReading(reading, now(), answer.content_age), answer.keys
        return before != known.mark

    def kernel_ids(self) -> list[str]:
        """Return the ids of the kernels whose handler answers now."""
        return [kernel_id for kernel_id, known in list(self._known.items()) if known.installed]

    def activity(self, kernel_id: str) -> object:
        """Return a mark that changes when a cell has ended, or None while one runs, without asking the kernel."""
        manager = self._kernels.get_kernel(kernel_id)
        busy = getattr(manager, "execution_state", None) == "busy"
        return None if busy else getattr(manager, "last_activity", None)

    async def clients(self, kernel_id: str) -> tuple[KernelClient, ...]:
        """Return the live Dask clients of a kernel; raises as `read` does, and Timeout where it doesn't answer."""
        known = self._ready(kernel_id)
        found = decode_clients(await self._tell(known, kernel_id, {"verb": "clients"}))
        self._check_same(known, kernel_id)
        return found

    async def call(
        self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request: Any
    ) -> dict[str, Answer]:
        """Send one request through a Dask client of a kernel and return what each place answered.

        Parameters
        ----------
        operation, request
            As ``begin`` in ``texts/clients.py`` takes them.

        Raises
        ------
        NotFound, Unavailable
            As `read`; or no place could be asked, with the reason.

        """
        known = self._ready(kernel_id)
        end = time.monotonic() + deadline + 2.0
        asked = {"client": client_id, "operation": operation, "deadline": deadline, **request}
        begun = decode(await self._tell(known, kernel_id, {"verb": "begin", "request": asked}), Ticket)
        if begun.ticket is None:
            raise failed(begun.error)
        places = {"scheduler", *request.get("workers", ())}
        answers: dict[str, Answer] = {}
        pause = 0.005
        while True:
            self._check_same(known, kernel_id)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
            told = await self._tell(known, kernel_id, {"verb": "result", "ticket": begun.ticket})
            part = decode(told, Answers, limit=WRAPPED_LIMIT)
            answers.update((place, answer) for place, answer in part.answers.items() if place in places)
            if part.done or time.monotonic() > end:
                break
        self._check_same(known, kernel_id)
        if part.error is not None and not answers:
            raise failed(part.error)
        return answers

    def _ready(self, kernel_id: str) -> _Kernel:
        """Return a kernel that can be asked, or raise NotFound or Unavailable."""
        if kernel_id not in self._kernels.list_kernel_ids():
            raise NotFound("There is no kernel with this id", "Open the notebook again or choose another kernel")
        known = self._known.get(kernel_id)
        if known is None or known.process != self._process(kernel_id):
            raise Unavailable("The kernel is starting", "The reading follows by itself")
        if not known.installed:
            raise Unavailable(known.reason, _HINTS.get(known.final, ""))
        return known

    def _check_same(self, known: _Kernel, kernel_id: str) -> None:
        present = kernel_id in self._kernels.list_kernel_ids()
        if not present or known is not self._known.get(kernel_id) or known.process != self._process(kernel_id):
            raise Unavailable("The kernel has just restarted", "The reading follows by itself")

    # ---- installing -------------------------------------------------------------------------------------------

    async def _maintain(self) -> None:
        while True:
            try:
                self._reconcile()
            except Exception:  # noqa: BLE001 - outermost edge of the task: a fault must not end it
                self._log.exception("looking after the kernels failed")
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)

    def _reconcile(self) -> None:
        present = set(self._kernels.list_kernel_ids())
        for kernel_id in set(self._known) - present:
            self._drop(self._known.pop(kernel_id))
        for kernel_id in present:
            process = self._process(kernel_id)
            known = self._known.get(kernel_id)
            if known is None or known.process != process:
                if known is not None:
                    self._drop(known)
                known = self._known[kernel_id] = _Kernel(process)
            if known.task is not None and known.task.done():
                known.task = None
            done = known.task is not None or known.installed or known.final
            if not done and time.monotonic() >= known.retry_at and self._may_install(kernel_id, known):
                known.task = asyncio.create_task(self._install(kernel_id, known), name=f"install in {kernel_id}")
            if known.installed:
                self._look_after_cell(kernel_id, known)

    def _look_after_cell(self, kernel_id: str, known: _Kernel) -> None:
        """Look, after each cell, whether it has installed or imported something."""
        seen = self.activity(kernel_id)
        # The files are looked at beside a reading: a later one tells what was found.
        unfinished = known.last is None or known.last.content_age is None
        if (unfinished or (seen is not None and seen != known.seen)) and (known.look is None or known.look.done()):
            known.seen = seen
            known.look = asyncio.create_task(self._notice_change(kernel_id, known), name=f"look at {kernel_id}")

    async def _notice_change(self, kernel_id: str, known: _Kernel) -> None:
        with contextlib.suppress(asyncio.TimeoutError, CoiledError, OSError, RuntimeError):
            if await self._renew(known, kernel_id) and known is self._known.get(kernel_id):
                self._changed(kernel_id)

    def _process(self, kernel_id: str) -> object:
        """Return what tells one process of a kernel from the next; None while there is none, as during a restart."""
        provisioner = getattr(self._kernels.get_kernel(kernel_id), "provisioner", None)
        if provisioner is None or not provisioner.has_process:
            return None
        pid = getattr(provisioner, "pid", None)
        # A remote kernel has no pid; its restarts are told by events.
        return ("restarts", self._restarts.get(kernel_id, 0)) if pid is None else ("pid", pid)

    def _may_install(self, kernel_id: str, known: _Kernel) -> bool:
        if known.process is None:
            return False
        manager = self._kernels.get_kernel(kernel_id)
        language = getattr(getattr(manager, "kernel_spec", None), "language", "") or "python"
        if language.lower() != "python":
            known.final, known.reason = True, f"This kernel runs {language}, not Python, so it has no Python packages"
            self._changed(kernel_id)
            return False
        # After an attempt of ours the installing itself finds out whether the state is true.
        if known.attempts == 0 and getattr(manager, "execution_state", "idle") == "busy":
            known.reason = "A cell was running when we first met this kernel; it is read as soon as the cell ends"
            return False
        return True

    async def _install(self, kernel_id: str, known: _Kernel) -> None:
        manager = self._kernels.get_kernel(kernel_id)
        if not await self._idle(manager):
            known.retry_at = time.monotonic() + 2.0
            return
        known.attempts += 1
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(manager.ready)), 60)
            await self._greet(known, kernel_id, 30.0 if known.attempts == 1 else 5.0)
            # A cell may have begun meanwhile.
            if known is not self._known.get(kernel_id) or not await self._idle(manager):
                return
            answer = await self._execute(known, kernel_id, 10.0)
        except (asyncio.TimeoutError, RuntimeError, OSError):
            known.retry_at = time.monotonic() + 2.0 * known.attempts
            if await self._idle(manager):
                known.final = known.attempts >= 2
                known.reason = (
                    "The kernel doesn't run code on its control channel, as ipykernel would"
                    if known.final
                    else "The kernel's control channel doesn't answer yet"
                )
        else:
            if known is not self._known.get(kernel_id):
                return
            known.installed, known.reason = bool(answer.get("ok")), str(answer.get("reason") or "")[:300]
            known.final = not known.installed
        self._changed(kernel_id)

    async def _idle(self, manager: Any) -> bool:
        """Return whether no cell runs.

        The server's word "busy" isn't enough: of messages that it sent on two channels at once, xeus-python can
        announce the end of one as the end of the other, and the server then believes in a cell for ever. A kernel
        answers on its shell channel only between cells.
        """
        if getattr(manager, "execution_state", "idle") != "busy":
            return True
        client = _client(manager)
        client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)  # noqa: S604 - a channel
        try:
            client.kernel_info()
            await asyncio.wait_for(client.shell_channel.get_msg(timeout=None), self._deadline)
        except asyncio.TimeoutError:
            return False
        finally:
            client.stop_channels()
        return True

    async def _greet(self, known: _Kernel, kernel_id: str, deadline: float) -> None:
        """Wait until the control channel answers."""
        end = time.monotonic() + deadline
        while True:
            # ipykernel can leave a message that came before it began to listen until the next one comes.
            with contextlib.suppress(asyncio.TimeoutError):
                await self._request(known, kernel_id, "kernel_info_request", {}, 0.5)
                return
            if time.monotonic() > end:
                raise asyncio.TimeoutError

    async def _execute(self, known: _Kernel, kernel_id: str, deadline: float) -> dict[str, Any]:
        namespace = {"__name__": "coiled_jupyter_text"}
        sources = {name: source(name) for name in ("probe", "content", "edits", "node", "clients")}
        expression = "(lambda n: (exec({}, n), n['install']({}, {}))[1])({})".format(
            repr(source("kernel_handler")), repr(sources), self._load_magic, repr(namespace)
        )
        content = {
            "code": "",
            "silent": True,
            "store_history": False,
            "allow_stdin": False,
            "stop_on_error": False,
            "user_expressions": {"coiled": expression},
        }
        reply = await self._request(known, kernel_id, "execute_request", content, deadline)
        result = reply.get("user_expressions", {}).get("coiled", {})
        try:
            answer = json.loads(ast.literal_eval(result["data"]["text/plain"]))
        except (KeyError, TypeError, ValueError, SyntaxError):
            return {"ok": False, "reason": "The kernel runs Python but doesn't evaluate expressions as IPython would"}
        return answer if isinstance(answer, dict) else {}

    # ---- asking -----------------------------------------------------------------------------------------------

    async def _tell(self, known: _Kernel, kernel_id: str, content: dict[str, Any]) -> str:
        """Ask like `_ask`, but a kernel that is silent raises Timeout."""
        try:
            return await self._ask(known, kernel_id, content)
        except asyncio.TimeoutError:
            raise self._late(Timeout) from None

    def _late(self, kind: type[CoiledError]) -> CoiledError:
        return kind(
            f"The kernel didn't answer within {self._deadline:g} s",
            "A cell may be holding the interpreter's lock; the reading follows when it lets go",
        )

    async def _ask(self, known: _Kernel, kernel_id: str, asked: dict[str, Any]) -> str:
        content = await self._request(known, kernel_id, REQUEST, asked, self._deadline)
        text = content.get("text")
        if content.get("status") != "ok" or not isinstance(text, str):
            raise Unavailable("The kernel could not be read", "Restart the kernel if this stays")
        return text

    async def _request(
        self, known: _Kernel, kernel_id: str, kind: str, content: dict[str, Any], deadline: float
    ) -> dict[str, Any]:
        """Send one control message and return its reply's content; asyncio.TimeoutError after `deadline` seconds."""

        async def exchange() -> dict[str, Any]:
            async with known.lock:
                if known.client is None:
                    known.client = _client(self._kernels.get_kernel(kernel_id))
                    known.client.start_channels(shell=False, iopub=False, stdin=False, hb=False, control=True)
                message = known.client.session.msg(kind, content)
                known.client.control_channel.send(message)
                while True:
                    reply = await known.client.control_channel.get_msg(timeout=None)
                    if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                        body: dict[str, Any] = reply["content"]
                        return body

        return await asyncio.wait_for(exchange(), deadline)

    def _drop(self, known: _Kernel) -> None:
        for task in (known.task, known.look):
            if task is not None:
                # What was sent to the last process won't be answered.
                task.cancel()
        if known.client is not None:
            known.client.stop_channels()
            known.client = None


def _client(manager: Any) -> Any:
    """Return a client of a kernel with an identity of its own.

    The manager keeps a control socket that reconnects after a restart; of two sockets with one identity only the one
    that came last gets the answers.
    """
    session = manager.session.clone()
    session.session = uuid.uuid4().hex
    return manager.client(session=session)


_HINTS = {
    True: "Use an ipykernel to compare packages without running a cell",
    False: "The reading follows by itself",
}
