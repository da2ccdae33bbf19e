"""The text that relays to a scheduler which only a client of its process reaches, on every Python and with a real cluster."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.factories.local import tls_paths, write_tls
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from tests.environments import environment, interpreters
from tests.links.nodes.test_link import OLD, TODAY
from tests.notebook import Notebook
from tests.processes import wait_for
from tests.remote import RemoteCluster
from tests.texts.test_clients import values

TEXT = Path("coiled_jupyter/texts/relay.py").resolve()
_RUN = """
import json, sys, threading
n = {"__name__": "t"}
exec(compile(open(sys.argv[1], "rb").read(), "relay", "exec"), n)
told = n["call"]({"scheduler": "x", "folder": sys.argv[1], "port": 0})
print(json.dumps([told, sorted({"distributed", "dask", "tornado"} & set(sys.modules)), threading.active_count()]))
"""
# A client whose certificates are only in its memory, as a gateway hands them out.
OPEN = """
from distributed import Client
from distributed.security import Security
read = lambda path: open(path).read()
security = Security(tls_ca_file=read({ca_file!r}), tls_client_cert=read({cert_file!r}), tls_client_key=read({key_file!r}), require_encryption=True)
client = Client({address!r}, security=security, timeout=30)
relay = {{"__name__": "relay"}}
exec(compile(open({text!r}).read(), "relay", "exec"), relay)
import json
ask = lambda folder, port=0, scheduler=None: json.loads(relay["call"]({{"scheduler": scheduler or client._scheduler_identity["id"], "folder": folder, "port": port}}))
None"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_without_dask_there_is_nothing_to_relay_to(minor):
    asked = subprocess.run(
        [interpreters()[minor], "-W", "error", "-c", _RUN, str(TEXT)], capture_output=True, check=True, text=True
    )
    told, modules, threads = json.loads(asked.stdout)
    assert (json.loads(told), modules, threads) == ({"error": "gone"}, [], 1)


_namespace: dict = {"__name__": "t"}
exec(compile(TEXT.read_text(encoding="utf-8"), "relay", "exec"), _namespace)


@given(values | st.fixed_dictionaries({"scheduler": values, "folder": values, "port": values}))
def test_any_request_is_answered(value):
    assert isinstance(json.loads(_namespace["call"](value)), dict)


def identity(port: int, folder: Path) -> dict:
    async def go() -> dict:
        link = SchedulerLink(f"tls://127.0.0.1:{port}", TLSFiles(**{k: str(p) for k, p in tls_paths(folder).items()}))
        try:
            # Two at once, and one after the other over what was kept.
            await asyncio.gather(link.identity(20), link.identity(20))
            assert await link.evaluate_on_scheduler("'x' * n", {"n": 1 << 20}, 20) == "x" * (1 << 20)
            return await link.identity(20)
        finally:
            link.close()

    return asyncio.run(go())


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether nothing is answered to who comes with this context."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain) as secure:
                return secure.recv(1) == b""
        except OSError:
            return True


@pytest.mark.parametrize(
    ("minor", "base"),
    [
        pytest.param("3.11", TODAY, id="today"),
        pytest.param("3.10", OLD, id="2023.5", marks=pytest.mark.nightly),
    ],
)
def test_who_has_the_relays_certificate_gets_through_and_nobody_else(tmp_path, minor, base):
    python = environment(interpreters()[minor], *base, "cryptography")
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        write_tls(folder)
    with RemoteCluster(tmp_path / "cluster", python, tls=True) as running, Notebook(python) as notebook:
        notebook.run(OPEN.format(address=running.address, text=str(TEXT), **running.tls))
        assert notebook.run(f"ask({str(tmp_path)!r})") == {"error": "elsewhere"}
        assert notebook.run(f"ask({str(mine)!r}, scheduler='another')") == {"error": "gone"}
        port = notebook.run(f"ask({str(mine)!r})")["port"]
        assert notebook.run(f"ask({str(mine)!r})") == {"port": port}
        assert identity(port, mine)["id"] == notebook.run("client._scheduler_identity['id']")

        unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        assert refused(port, unchecked)
        unchecked.load_cert_chain(*(str(tls_paths(other)[name]) for name in ("cert", "key")))
        assert refused(port, unchecked)
        with pytest.raises(CoiledError):
            identity(port, other)

        # Those of its own cluster aren't the relay's.
        unchecked.load_cert_chain(running.tls["cert_file"], running.tls["key_file"])
        assert refused(port, unchecked)
        assert notebook.run("client.submit(sum, [1, 2]).result()") == 3
        notebook.run("client.close()")

        def closed() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) != 0

        wait_for(closed, what="the end of the relay")
        notebook.run(f"client = Client({running.address!r}, security=security, timeout=30)\nNone")
        assert notebook.run(f"ask({str(mine)!r}, {port})") == {"port": port}
        assert identity(port, mine)["workers"] is not None
