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
from typing import Any, Protocol

from msgspec import Struct, field

from .. import tasks
from ..core import conda
from ..core.clients import WRAPPED_LIMIT, Answer, KernelClient, Sealed, decode, decode_clients
from ..core.errors import CoiledError, NotFound, Timeout, Unavailable
from ..core.reading import Reading, decode_answer
from ..core.times import now
from ..texts import source
from ..texts.kernel_handler import REPLY, REQUEST
from .through_kernel import answers

UNTRACKED = (REQUEST, REPLY)
"""Message types that must not count as the user's activity (``MappingKernelManager.untracked_message_types``)."""


LOOK_SECONDS = 0.5
MESSAGE_LIMIT = WRAPPED_LIMIT + 1024 * 1024
"""Bytes of one message from a kernel; a connection that sends a larger one is closed before it is in memory."""
SEAL_SECONDS = 30.0
"""How long a kernel may take to seal its clients; if it has no client yet, it imports Dask for that."""
INSTALLED_LIMIT = 10_000
"""Characters of the answer to the installation of our handler."""


class Kernels(Protocol):
    """What is needed of jupyter_server's kernel manager."""

    untracked_message_types: list[str]

    def list_kernel_ids(self) -> list[str]:
        """Return the ids of all kernels."""

    def get_kernel(self, kernel_id: str) -> Any:
        """Return the manager of one kernel."""


class _Kernel(Struct):
    """What is known of one kernel process; a restart makes a new one."""

    process: object
    installed: bool = False
    final: bool = False
    reason: str = "The kernel is starting"
    attempts: int = 0
    retry_at: float = 0.0
    client: Any = None
    task: asyncio.Task[None] | None = None
    """The task that installs the handler."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: KernelReading | None = None
    fingerprint: str = ""
    """The fingerprint of `last`."""
    seen: object = None
    """The last activity after which the kernel was checked."""
    look: asyncio.Task[None] | None = None


class KernelReading(Struct, frozen=True):
    """A kernel's reading, when it was taken, and how many seconds before that its files were examined (None: not yet)."""

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
        Called with a kernel's id when it becomes readable or unreadable, or its environment has changed.
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
        # Without this, the culler would take a busy kernel for idle, and a polled one for busy forever.
        missing = [name for name in UNTRACKED if name not in kernels.untracked_message_types]
        kernels.untracked_message_types = [*kernels.untracked_message_types, *missing]

    def start(self) -> None:
        """Start the task that installs handlers in present and future kernels."""
        self._task = asyncio.create_task(self._maintain(), name="coiled-jupyter kernels")

    async def close(self) -> None:
        """End the maintenance and close all connections; kernels are left as they are."""
        await tasks.end([self._task, *(task for known in self._known.values() for task in (known.task, known.look))])
        for known in self._known.values():
            self._drop(known)
        self._known.clear()

    def notice(self, kernel_id: str, action: str) -> None:
        """Record a kernel action ("start", "restart", "shutdown", ...) of jupyter_server's event bus."""
        if action == "restart":
            self._restarts[kernel_id] = self._restarts.get(kernel_id, 0) + 1
        self._wake.set()

    async def read(self, kernel_id: str) -> KernelReading:
        """Return the kernel's reading.

        For a kernel that doesn't answer in time, this is its last reading, with that reading's time.

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
                raise self._timed_out(Unavailable) from None
        self._check_same(known, kernel_id)
        if known.last is None:
            raise Unavailable("The kernel has just restarted", "The reading follows by itself")
        return known.last

    async def _renew(self, known: _Kernel, kernel_id: str) -> bool:
        """Update ``known.last`` and return whether the reading has changed."""
        answer = decode_answer(
            await self._ask(known, kernel_id, {"verb": "read", "known": known.fingerprint}), self._conda_names()
        )
        reading = answer.reading
        if reading is None:
            if known.last is None or answer.keys != known.fingerprint:
                raise Unavailable("The kernel could not be read", "Restart the kernel if this persists")
            reading = known.last.reading
        before = known.fingerprint
        known.last, known.fingerprint = KernelReading(reading, now(), answer.content_age), answer.keys
        return before != known.fingerprint

    def kernel_ids(self) -> list[str]:
        """Return the ids of the kernels whose handler answers now."""
        return [kernel_id for kernel_id, known in list(self._known.items()) if known.installed]

    def activity(self, kernel_id: str) -> object:
        """Return a value that changes when a cell has ended, or None while one runs; sends the kernel no request."""
        manager = self._kernels.get_kernel(kernel_id)
        busy = getattr(manager, "execution_state", None) == "busy"
        return None if busy else getattr(manager, "last_activity", None)

    async def clients(self, kernel_id: str) -> tuple[KernelClient, ...]:
        """Return the live Dask clients of a kernel; raises as `read` does, and Timeout if it doesn't answer."""
        known = self._ready(kernel_id)
        found = decode_clients(await self._ask_in_time(known, kernel_id, {"verb": "clients"}))
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

        async def ask(content: dict[str, Any]) -> str:
            text = await self._ask_in_time(known, kernel_id, content)
            self._check_same(known, kernel_id)
            return text

        return await answers(ask, client_id, operation, deadline, **request)

    def process(self, kernel_id: str) -> object:
        """Return what identifies the process of a kernel, equal as long as it is the same one; None if there is none."""
        return self._process(kernel_id) if kernel_id in self._kernels.list_kernel_ids() else None

    async def roll(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/local_roll.py`` and return its answer; raises as `clients`."""
        return await self._passed(kernel_id, {"verb": "roll", "request": request})

    async def relay(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/relay.py`` and return its answer; raises as `clients`."""
        return await self._passed(kernel_id, {"verb": "relay", "request": request})

    async def _passed(self, kernel_id: str, content: dict[str, Any]) -> str:
        known = self._ready(kernel_id)
        text = await self._ask_in_time(known, kernel_id, content)
        self._check_same(known, kernel_id)
        return text

    async def seal(self, kernel_id: str, scheduler: str, *, seal: bool) -> None:
        """Have a kernel's Dask clients send sealed graphs to a scheduler (its id) from now on, or end that.

        Raises
        ------
        NotFound, Unavailable, Timeout
            As `read`; or it can't be done there, with the reason.

        """
        known = self._ready(kernel_id)
        asked = {"verb": "change", "scheduler": scheduler, "seal": seal}
        try:
            answer = decode(await self._ask(known, kernel_id, asked, SEAL_SECONDS), Sealed)
        except asyncio.TimeoutError:
            raise self._timed_out(Timeout, SEAL_SECONDS) from None
        self._check_same(known, kernel_id)
        if answer.error:
            raise Unavailable(f"This notebook can't send sealed graphs: {answer.error}", "Nothing was changed")
        await self._renew_soon(known, kernel_id)

    async def _renew_soon(self, known: _Kernel, kernel_id: str) -> None:
        """Update the reading after a change of ours, if the kernel answers in time."""
        with contextlib.suppress(asyncio.TimeoutError, CoiledError):
            await self._renew(known, kernel_id)
        self._changed(kernel_id)

    def _ready(self, kernel_id: str) -> _Kernel:
        """Return a kernel that can answer, or raise NotFound or Unavailable."""
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
                self._log.exception("the maintenance of the kernels failed")
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
        """Check after each cell whether it has installed or imported something."""
        seen = self.activity(kernel_id)
        # Files are examined in the background of a reading: a later reading has the result.
        unfinished = known.last is None or known.last.content_age is None
        if (unfinished or (seen is not None and seen != known.seen)) and (known.look is None or known.look.done()):
            known.seen = seen
            known.look = asyncio.create_task(self._notice_change(kernel_id, known), name=f"look at {kernel_id}")

    async def _notice_change(self, kernel_id: str, known: _Kernel) -> None:
        with contextlib.suppress(asyncio.TimeoutError, CoiledError, OSError, RuntimeError):
            if await self._renew(known, kernel_id) and known is self._known.get(kernel_id):
                self._changed(kernel_id)

    def _process(self, kernel_id: str) -> object:
        """Return what identifies a kernel's process; None while there is none, as during a restart."""
        provisioner = getattr(self._kernels.get_kernel(kernel_id), "provisioner", None)
        if provisioner is None or not provisioner.has_process:
            return None
        pid = getattr(provisioner, "pid", None)
        # A remote kernel has no pid; its restarts are known from events.
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
        # After a first attempt, the installation itself shows whether the kernel is idle.
        if known.attempts == 0 and getattr(manager, "execution_state", "idle") == "busy":
            known.reason = "A cell was running when this kernel was first seen; it is read as soon as the cell ends"
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
            await self._wait_for_channel(known, kernel_id, 30.0 if known.attempts == 1 else 5.0)
            # A cell may have started meanwhile.
            if known is not self._known.get(kernel_id) or not await self._idle(manager):
                return
            answer = await self._execute(known, kernel_id, 10.0)
        except (asyncio.TimeoutError, RuntimeError, OSError, Unavailable):
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

        The server's state "busy" isn't enough: xeus-python can attribute an idle status to the wrong one of two messages
        on two channels, and the server then reports a running cell forever. A kernel answers on its shell channel only
        between cells.
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

    async def _wait_for_channel(self, known: _Kernel, kernel_id: str, deadline: float) -> None:
        """Wait until the control channel answers."""
        end = time.monotonic() + deadline
        while True:
            # ipykernel can leave a message that arrived before it listened in its queue until the next one arrives.
            with contextlib.suppress(asyncio.TimeoutError):
                await self._request(known, kernel_id, "kernel_info_request", {}, 0.5)
                return
            if time.monotonic() > end:
                raise asyncio.TimeoutError

    async def _execute(self, known: _Kernel, kernel_id: str, deadline: float) -> dict[str, Any]:
        namespace = {"__name__": "coiled_jupyter_text"}
        names = ("probe", "content", "edits", "node", "clients", "seal", "local_roll", "relay")
        sources = {name: source(name) for name in names}
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
            answer = json.loads(ast.literal_eval(result["data"]["text/plain"][:INSTALLED_LIMIT]))
        except (KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
            return {"ok": False, "reason": "The kernel runs Python but doesn't evaluate expressions as IPython would"}
        return answer if isinstance(answer, dict) else {}

    # ---- requests ---------------------------------------------------------------------------------------------

    async def _ask_in_time(self, known: _Kernel, kernel_id: str, content: dict[str, Any]) -> str:
        """Like `_ask`, but raises Timeout if the kernel is silent."""
        try:
            return await self._ask(known, kernel_id, content)
        except asyncio.TimeoutError:
            raise self._timed_out(Timeout) from None

    def _timed_out(self, kind: type[CoiledError], seconds: float | None = None) -> CoiledError:
        return kind(
            f"The kernel didn't answer within {seconds or self._deadline:g} s",
            "A cell may be holding the interpreter's lock; the reading follows when it releases it",
        )

    async def _ask(self, known: _Kernel, kernel_id: str, asked: dict[str, Any], deadline: float | None = None) -> str:
        content = await self._request(known, kernel_id, REQUEST, asked, deadline or self._deadline)
        text = content.get("text")
        if content.get("status") != "ok" or not isinstance(text, str):
            raise Unavailable("The kernel could not be read", "Restart the kernel if this persists")
        return text

    async def _request(
        self, known: _Kernel, kernel_id: str, kind: str, content: dict[str, Any], deadline: float
    ) -> dict[str, Any]:
        """Send one control message and return its reply's content; asyncio.TimeoutError after `deadline` seconds."""

        async def exchange() -> dict[str, Any]:
            async with known.lock:
                message = self._send(known, kernel_id, kind, content)
                while True:
                    reply = await known.client.control_channel.get_msg(timeout=None)
                    if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                        body: dict[str, Any] = reply["content"]
                        return body

        try:
            return await asyncio.wait_for(exchange(), deadline)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError):
            # A kernel that isn't ipykernel, or a hostile one, can send anything.
            raise Unavailable("The kernel's answer can't be read", "Restart the kernel if this persists") from None

    def _send(self, known: _Kernel, kernel_id: str, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Send a control message and return it; reconnect if the last connection was closed by a message too large."""
        for _ in range(2):
            if known.client is None:
                known.client = _client(self._kernels.get_kernel(kernel_id))
                known.client.start_channels(shell=False, iopub=False, stdin=False, hb=False, control=True)
            message: dict[str, Any] = known.client.session.msg(kind, content)
            try:
                known.client.control_channel.send(message)
            except Exception:  # noqa: BLE001 - ZeroMQ's errors have no common base class
                self._disconnect(known)
            else:
                return message
        raise Unavailable("The kernel's control channel can't be reached", "The reading follows by itself")

    def _disconnect(self, known: _Kernel) -> None:
        if known.client is not None:
            known.client.stop_channels()
            known.client = None

    def _drop(self, known: _Kernel) -> None:
        for task in (known.task, known.look):
            if task is not None:
                # Requests to the previous process won't be answered.
                task.cancel()
        self._disconnect(known)


def _client(manager: Any) -> Any:
    """Return a client of a kernel with an identity of its own.

    The manager keeps a control socket that reconnects after a restart; of two sockets with the same identity, only the
    last one gets replies.
    """
    session = manager.session.clone()
    session.session = uuid.uuid4().hex
    # A shadow of the server's own ZeroMQ context, which is left unchanged: only sockets made here have the limit.
    context = type(manager.context).shadow(manager.context)
    context.maxmsgsize = MESSAGE_LIMIT
    # After a connection was closed for exceeding it, a send would block the server's event loop forever.
    context.sndtimeo = 0
    return manager.client(session=session, context=context)


_HINTS = {
    True: "Use an ipykernel to compare packages without running a cell",
    False: "The reading follows by itself",
}
