"""Relays are opened once, and again where they have closed, with certificates that stay the same."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from coiled_jupyter.core.clients import KernelClient
from coiled_jupyter.core.errors import CoiledError, Impossible
from coiled_jupyter.service.relays import Relays
from tests.processes import free_port


def client(key: str = "c", address: str = "gateway://10.0.0.7:80/x", scheduler: str = "s") -> KernelClient:
    return KernelClient(id=key, status="running", address=address, scheduler=scheduler)


class Kernels:
    """Kernels that answer a request for a relay with what is given, and keep what they were asked."""

    def __init__(self, answer: dict[str, Any] | str) -> None:
        self.answer, self.asked = answer, []

    async def relay(self, kernel_id: str, **request: Any) -> str:
        self.asked.append((kernel_id, request))
        return self.answer if isinstance(self.answer, str) else json.dumps(self.answer)


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_RUNTIME_DIR", str(tmp_path / "run"))


def on(kernels: Kernels, body: Callable[[Relays], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        relays = Relays(kernels)
        try:
            await body(relays)
        finally:
            await relays.close()

    asyncio.run(go())


async def settled(kernels: Kernels, count: int) -> None:
    for _ in range(500):
        if len(kernels.asked) >= count:
            return
        await asyncio.sleep(0.01)


def test_a_relay_is_opened_with_files_of_this_user_alone_and_at_the_same_port_again():
    kernels = Kernels({"port": 4321})

    async def body(relays: Relays) -> None:
        address, files = await relays.open("k", client())
        assert address == "tls://127.0.0.1:4321"
        paths = [Path(files.ca), Path(files.cert), Path(files.key)]
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700
        assert kernels.asked == [("k", {"scheduler": "s", "folder": str(paths[0].parent), "port": 0})]
        key = paths[2].read_bytes()
        assert await relays.open("other", client("d")) == (address, files)
        assert kernels.asked[1][1]["port"] == 4321
        assert paths[2].read_bytes() == key
        _, others = await relays.open("k", client("e", scheduler="t"))
        assert others.key != files.key

    on(kernels, body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "elsewhere"}, "runs on another machine than this server"),
        ({"error": "gone"}, "has closed its client"),
        ({"error": "SSLError"}, "could not pass requests on"),
        ({"port": None}, "could not pass requests on"),
        ({"port": 0}, "isn't what was asked for"),
        ({"port": 65536}, "isn't what was asked for"),
        ("nothing", "isn't what was asked for"),
    ],
)
def test_why_there_is_no_relay_is_said(answer, words):
    async def body(relays: Relays) -> None:
        with pytest.raises(CoiledError) as caught:
            await relays.open("k", client())
        assert words in caught.value.message
        assert not isinstance(caught.value, Impossible) or caught.value.hint

    on(Kernels(answer), body)


def test_only_a_relay_that_was_open_and_has_closed_is_opened_again():
    port = free_port()
    kernels = Kernels({"port": port})

    async def before(relays: Relays) -> None:
        relays.met("k", client())
        await asyncio.sleep(0.1)
        assert kernels.asked == []
        await relays.open("k", client())
        # Through the same client it is open.
        relays.met("k", client())
        relays.met("k", client("d", "tcp://10.0.0.7:8786"))
        await asyncio.sleep(0.1)

    async def after(relays: Relays) -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", port))
            listening.listen()
            # As that of another kernel.
            relays.met("other", client("e"))
            await asyncio.sleep(0.1)

    async def closed(relays: Relays) -> None:
        relays.met("k", client("f"))
        await settled(kernels, 2)
        relays.met("k", client("f"))
        await asyncio.sleep(0.1)

    on(kernels, before)
    assert len(kernels.asked) == 1
    on(kernels, after)
    assert len(kernels.asked) == 1
    on(kernels, closed)
    assert [(kernel, request["port"]) for kernel, request in kernels.asked] == [("k", 0), ("k", port)]
