"""Runs a cell on a cluster for `%%coiled`: what it prints comes back while it runs, its last value at its end.

Only text is sent, and the values that the user names; the worker compiles the text with its own Python.
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
"""How long the last output of a cell may arrive after its end."""
INTERRUPT_SECONDS = 5.0


class RemoteError(CoiledError):
    """A cell failed on the cluster; shown with the traceback of the worker."""

    def __init__(self, name: str, message: str, remote: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.remote = remote

    def _render_traceback_(self) -> list[str]:
        return ["On the cluster:", *self.remote.rstrip("\n").splitlines()]


class Cells:
    """The Dask clients through which a kernel's cells reach their clusters."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    def client(self, cluster: str) -> Any:
        """Return a client of a cluster, kept for the next cell and never the default client of the user's own code."""
        known = self._clients.get(cluster)
        if known is not None and known.status == "running":
            return known
        if known is not None:
            # A client that has stopped reconnecting may raise here; another takes its place.
            with contextlib.suppress(Exception):
                known.close(timeout=1)
        with warnings.catch_warnings():
            # Dask's warning says less than the diff that was just checked.
            warnings.simplefilter("ignore")
            self._clients[cluster] = connect(cluster, set_as_default=False, timeout=10, name="coiled-cell")
        return self._clients[cluster]

    def run(self, client: Any, source: str, values: dict[str, Any], *, wanted: bool) -> tuple[Any, str]:
        """Return the last value of a cell (None unless it is wanted) and its repr; raise RemoteError if the cell fails."""
        topic = f"coiled-cell-{secrets.token_hex(6)}"
        messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        ended = threading.Event()
        client.subscribe_topic(topic, lambda event: messages.put(event[1]))
        future = None
        try:
            names = texts.cell_names(topic, source, values, wanted=wanted)
            # A builtin by reference, and text: no code object of this kernel's Python is sent.
            future = client.submit(eval, texts.CELL, names, key=f"{topic}-task", pure=False, retries=0)
            future.add_done_callback(lambda _: ended.set())
            while not ended.wait(0.05):
                _print(messages)
            answer = _gathered(future)
            _print_rest(messages)
        except KeyboardInterrupt:
            if future is not None:
                self._interrupt(client, future, topic, ended)
                _print(messages)
            raise
        finally:
            with contextlib.suppress(Exception):
                client.unsubscribe_topic(topic)
            if future is not None:
                future.release()
        state, value, text = answer
        if state == "failed":
            raise RemoteError(*text)
        return value, text

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
    except Exception as error:  # noqa: BLE001 - Dask and a value's own code can raise anything
        # Its class may exist only on the worker; its text is what helps.
        reason = "".join(traceback.format_exception_only(type(error), error))
        raise Unavailable(
            f"The cell's result didn't come back: {reason.strip()[:1000]}", "Look at the cluster's logs"
        ) from None
    return found


def _print(messages: queue.SimpleQueue[dict[str, Any]]) -> bool:
    """Print what has arrived; True once the end of the cell has."""
    while True:
        try:
            message = messages.get_nowait()
        except queue.Empty:
            return False
        if message.get("stream") == "end":
            return True
        stream = sys.stderr if message.get("stream") == "stderr" else sys.stdout
        stream.write(str(message.get("text", "")))
        stream.flush()


def _print_rest(messages: queue.SimpleQueue[dict[str, Any]]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not _print(messages) and time.monotonic() < deadline:
        time.sleep(0.01)
