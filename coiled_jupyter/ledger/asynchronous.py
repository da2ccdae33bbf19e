"""The ledger for code on an event loop: one thread makes the calls in sequence, with deadlines and retries."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..core.errors import CoiledError, Timeout, Unavailable
from ..core.paces import NORMAL
from .reservations import Ledger

T = TypeVar("T")
PATIENCE_SECONDS = 5.0
GRACE_SECONDS = 1.0
"""How much longer than its deadline a call is waited for: SQLite gives up by itself at the deadline."""
WAITING = 200
"""The most calls that may wait; they must not pile up behind a locked file."""
KEEP_SECONDS = 1.0
"""How long one attempt of a pending write may take, since calls wait behind it."""
_log = logging.getLogger("coiled_jupyter.ledger")


class _Call(Generic[T]):
    """One call and the future for its result; the caller may have given up."""

    def __init__(self, work: Callable[[Ledger], T], deadline: float) -> None:
        self.work, self.until = work, time.monotonic() + deadline
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[T] = self.loop.create_future()
        self.withdrawn = False

    def settle(self, result: T | None, error: BaseException | None) -> None:
        def there() -> None:
            if self.answer.done():
                return
            if error is not None:
                self.answer.set_exception(error)
            else:
                self.answer.set_result(result)  # type: ignore[arg-type]

        with contextlib.suppress(RuntimeError):  # Its loop has ended.
            self.loop.call_soon_threadsafe(there)


class AsyncLedger:
    """A ledger that is opened at its first use, and again until that succeeds; the package describes its use.

    Parameters
    ----------
    path
        Its file; None is the one in the runtime folder.
    retry_seconds
        Seconds between two attempts of a pending write.

    """

    def __init__(self, path: Path | None = None, *, retry_seconds: float = NORMAL.ledger_retry) -> None:
        self._path, self._retry = path, retry_seconds
        self._ledger: Ledger | None = None
        self._changed = threading.Condition()
        self._calls: deque[_Call[Any]] = deque()
        self._kept: dict[str, Callable[[Ledger], object]] = {}
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._ending = False
        self.fault: str | None = None
        """Why the last attempt of a pending write failed; None if everything is written."""

    async def ask(self, work: Callable[[Ledger], T], deadline: float = 5.0) -> T:
        """Return what `work` returns; what it raises, and Timeout or Unavailable, are raised here.

        A call that was reported as failed isn't carried out later.
        """
        call = _Call(work, deadline)
        with self._changed:
            if self._ending:
                raise Unavailable("The ledger of clusters was closed", "Open it again")
            if len(self._calls) >= WAITING:
                raise Unavailable("The ledger of clusters has too much to do", "Try again in some seconds")
            self._calls.append(call)
            self._wake()
        try:
            return await asyncio.wait_for(call.answer, deadline + GRACE_SECONDS)
        except asyncio.TimeoutError:
            raise Timeout("The ledger of clusters didn't answer in time", "Try again") from None
        finally:
            call.withdrawn = True
            with self._changed, contextlib.suppress(ValueError):
                self._calls.remove(call)

    def keep(self, key: str, work: Callable[[Ledger], object]) -> None:
        """Write something as soon as possible; it replaces a pending write with the same key."""
        with self._changed:
            self._kept[key] = work
            self._wake()

    async def flush(self, seconds: float) -> bool:
        """Wait for all pending writes, and return whether they are done."""
        deadline = time.monotonic() + seconds
        while self._kept and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return not self._kept

    async def close(self, seconds: float = 2.0) -> None:
        """Make the pending writes, as far as possible in this time, and end the thread."""
        await self.flush(seconds)
        with self._changed:
            self._ending = True
            self._changed.notify()

    def _wake(self) -> None:
        if self._thread is None:
            # A daemon thread: a file system that hangs must not keep the process alive.
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ending and not self._calls and not self._ready():
                    self._changed.wait(max(self._due - time.monotonic(), 0.0) if self._kept else None)
                if self._ending:
                    return
                call = self._calls.popleft() if self._calls else None
                key, work = next(iter(self._kept.items()), ("", None))
            if call is not None:
                self._answer(call)
            # Calls and writes take turns.
            if work is not None and time.monotonic() >= self._due:
                self._write(key, work)

    def _ready(self) -> bool:
        return bool(self._kept) and time.monotonic() >= self._due

    def _open(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self._path)
        return self._ledger

    def _answer(self, call: _Call[Any]) -> None:
        try:
            ledger = self._open()
            left = call.until - time.monotonic()
            if call.withdrawn or left <= 0:
                raise Timeout("The ledger of clusters didn't answer in time", "Try again")
            ledger.patience = min(left, PATIENCE_SECONDS)
            result = call.work(ledger)
        except Exception as error:  # noqa: BLE001 - it belongs to who asked
            call.settle(None, error)
        else:
            call.settle(result, None)

    def _write(self, key: str, work: Callable[[Ledger], object]) -> None:
        fault = None
        try:
            ledger = self._open()
            ledger.patience = KEEP_SECONDS
            work(ledger)
        except CoiledError as error:
            fault = error.message
        except Exception as error:  # noqa: BLE001 - a fault of bookkeeping ends nothing
            _log.exception("writing to the ledger failed")
            fault = f"The ledger of clusters can't be written: {type(error).__name__}"
        with self._changed:
            if fault is None:
                if self._kept.get(key) is work:
                    del self._kept[key]
            else:
                self._due = time.monotonic() + self._retry
                # The others, which may succeed, get their turn.
                self._kept[key] = self._kept.pop(key)
            if fault != self.fault and fault is not None:
                _log.warning("%s", fault)
            self.fault = fault
