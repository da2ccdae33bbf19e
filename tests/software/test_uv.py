"""What uv is run with, and what it says, holds no secret; a deadline ends it and what it started."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import psutil
import pytest

from coiled_jupyter.core.errors import CoiledError, Unavailable
from coiled_jupyter.core.launch import BuildSpec
from coiled_jupyter.software import build, index, uv

SECRET = "hunter22secret"


def arguments() -> list[str]:
    """The arguments of every process that descends from this one, as any user of the machine can read them."""
    read = []
    for process in psutil.Process().children(recursive=True):
        try:
            read.append(Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, psutil.Error):
            continue
    return read


def test_the_index_is_no_argument_of_the_running_uv(silent, caplog):
    caplog.set_level(logging.DEBUG)
    spec = BuildSpec(requirements=("iniconfig",), index_options=("--index-url", silent))
    seen: list[str] = []

    async def watched():
        task = asyncio.create_task(build.lock(spec, deadline=3))
        while not task.done():
            seen.extend(await asyncio.to_thread(arguments))
            await asyncio.sleep(0.05)
        with pytest.raises(Unavailable) as caught:
            await task
        return caught.value

    error = asyncio.run(watched())
    assert "within 3 s" in error.message
    running = [line for line in seen if "pip compile" in line]
    assert running
    assert not [line for line in seen if SECRET in line]
    assert SECRET not in repr(error) + error.hint + caplog.text
    assert not [line for line in arguments() if "pip compile" in line]


def test_its_words_hold_no_credentials(caplog):
    caplog.set_level(logging.DEBUG)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    url = f"http://me:{SECRET}@127.0.0.1:{port}/simple?key={SECRET}"
    spec = BuildSpec(requirements=("iniconfig",), index_options=("--index-url", url))
    with pytest.raises(CoiledError) as caught:
        asyncio.run(build.lock(spec))
    assert f"127.0.0.1:{port}" in caught.value.message
    assert SECRET not in caught.value.message + caplog.text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("error: https://me:secret@host/simple", "error: https://host/simple"),
        ("error: https://me:se@cret@host/simple", "error: https://host/simple"),
        ("\x1b[31m  \u00d7 password is hunter22secret\x1b[0m", "password is ****"),
    ],
)
def test_a_line_of_uv(line, shown):
    assert uv._plain(line, index.parse(["-i", f"https://me:{SECRET}@host"]).hidden) == shown
