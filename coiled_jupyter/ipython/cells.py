"""Runs a cell on a cluster for `%%coiled`: prints come back while it runs, its last value at its end.

Only text crosses, and the values that the user names; the worker compiles the text with its own Python.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import sys
import threading
import time
import traceback
import warnings
from typing import Any

from .. import texts
from ..core.errors import CoiledError, Unavailable
from .connect import connect

END_SECONDS = 3.0
"""How long the last prints of a cell may take after its end."""
INTERRUPT_SECONDS = 5.0


class RemoteError(CoiledError):
    """A cell failed on the cluster; shown with the traceback of the worker."""

    def __init__(self, name: str, message: str, told: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.remote = told

    def _render_traceback_(self) -> list[str]:
        return ["On the cluster:", *self.remote.rstrip("\n").splitlines()]


class Cells:
    """The clients by which a kernel's cells reach their clusters."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    def client(self, cluster: str) -> Any:
        """Return a client of a cluster, kept for the next cell, that isn't the default of the user's own code."""
        known = self._clients.get(cluster)
        if known is not None and known.status == "running":
            return known
        if known is not None:
            # One that has given up to connect again raises why; another takes its place.
            with contextlib.suppress(Exception):
                known.close(timeout=1)
        with warnings.catch_warnings():
            # What Dask warns of is in the diff that was looked at a moment ago.
            warnings.simplefilter("ignore")
            self._clients[cluster] = connect(cluster, set_as_default=False, timeout=10, name="coiled-cell")
        return self._clients[cluster]

    def run(self, client: Any, source: str, given: dict[str, Any], *, wanted: bool) -> tuple[Any, str]:
        """Return the last value of a cell (None unless it's wanted) and its repr; raise RemoteError where it fails."""
        topic = f"coiled-cell-{secrets.token_hex(6)}"
        said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        ended = threading.Event()
        client.subscribe_topic(topic, lambda event: said.put(event[1]))
        future = None
        try:
            names = texts.cell_names(topic, source, given, wanted=wanted)
            # By reference: a builtin and text; no code of this kernel's Python is sent.
            future = client.submit(eval, texts.CELL, names, key=f"{topic}-task", pure=False, retries=0)
            future.add_done_callback(lambda _: ended.set())
            while not ended.wait(0.05):
                _tell(said)
            answer = _gathered(future)
            _tell_rest(said)
        except KeyboardInterrupt:
            if future is not None:
                self._interrupt(client, future, topic, ended)
                _tell(said)
            raise
        finally:
            with contextlib.suppress(Exception):
                client.unsubscribe_topic(topic)
            if future is not None:
                future.release()
        state, value, told = answer
        if state == "failed":
            raise RemoteError(*told)
        return value, told

    def _interrupt(self, client: Any, future: Any, topic: str, ended: threading.Event) -> None:
        with contextlib.suppress(Exception):
            workers = [worker for worker, keys in client.processing().items() if future.key in keys]
            client.run(eval, texts.INTERRUPT, texts.cell_names(topic), workers=workers, on_error="ignore")
        if not ended.wait(INTERRUPT_SECONDS):
            with contextlib.suppress(Exception):
                future.cancel(force=True)


def _gathered(future: Any) -> list[Any]:
    try:
        found: list[Any] = future.result(timeout=60)
    except Exception as error:  # noqa: BLE001 - whatever Dask or a value's own code raises, a person is told
        # Its class may be anything's; what it says is what helps.
        told = "".join(traceback.format_exception_only(type(error), error))
        raise Unavailable(
            f"The cell's result didn't come back: {told.strip()[:1000]}", "Look at the cluster's logs"
        ) from None
    return found


def _tell(said: queue.SimpleQueue[dict[str, Any]]) -> bool:
    """Print what has come; True once the cell's end has."""
    while True:
        try:
            message = said.get_nowait()
        except queue.Empty:
            return False
        if message.get("stream") == "end":
            return True
        stream = sys.stderr if message.get("stream") == "stderr" else sys.stdout
        stream.write(str(message.get("text", "")))
        stream.flush()


def _tell_rest(said: queue.SimpleQueue[dict[str, Any]]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not _tell(said) and time.monotonic() < deadline:
        time.sleep(0.01)
