"""A JupyterHub of two users, below a prefix, with the wheel as it is installed: what each of them sees, and may do."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests import installed
from tests.processes import ask, free_port, wait_for
from tests.schema import check

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

PREFIX = "/a/prefix"
CONFIG = """
import os

root, port, proxy = os.environ["HUB_ROOT"], os.environ["HUB_PORT"], os.environ["HUB_PROXY_PORT"]
c = get_config()
c.JupyterHub.bind_url = f"http://127.0.0.1:{port}%(prefix)s/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['HUB_API_PORT']}"
c.JupyterHub.db_url = f"sqlite:///{root}/hub.sqlite"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["HUB_TOKEN"]
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.command = [os.environ["HUB_PROXY"]]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy}"
c.JupyterHub.services = [{"name": "operator", "api_token": os.environ["HUB_TOKEN"]}]
scopes = ["admin:users", "admin:servers", "tokens"]
c.JupyterHub.load_roles = [{"name": "operator", "scopes": scopes, "services": ["operator"]}]
# Processes of the same system user: what keeps two users apart is that each has folders of their own.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = root + "/{username}"
c.Spawner.cmd = [os.environ["HUB_SINGLEUSER"]]
c.Spawner.args = ["--CoiledJupyter.core_limit=3", "--CoiledJupyter.lease_seconds=10"] + (["--allow-root"] if os.geteuid() == 0 else [])
c.Spawner.environment = {
    "XDG_RUNTIME_DIR": lambda spawner: f"{root}/{spawner.user.name}/run",
    "COILED_JUPYTER_PACE": os.environ["COILED_JUPYTER_PACE"],
}
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
"""


class Hub:
    """A hub on loopback with a proxy of its own, and an operator's token."""

    def __init__(self, root: Path, python: Path, proxy: Path) -> None:
        self.root, self.port, self.token = root, free_port(), secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        (root / "config.py").write_text(CONFIG % {"prefix": PREFIX})
        env = installed.environ(root, python) | {
            "PATH": f"{python.parent}{os.pathsep}{Path(shutil.which('node')).parent}{os.pathsep}{os.defpath}",
            "HUB_ROOT": str(root),
            "HUB_PORT": str(self.port),
            "HUB_API_PORT": str(free_port()),
            "HUB_PROXY_PORT": str(free_port()),
            "HUB_PROXY": str(proxy),
            "HUB_TOKEN": self.token,
            "HUB_SINGLEUSER": str(python.parent / "jupyterhub-singleuser"),
        }
        self.log = root / "hub.log"
        with self.log.open("wb") as log:
            command = [python, "-m", "jupyterhub", "--config", root / "config.py"]
            self.process = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(self._up, seconds=120, what="the hub")
        except BaseException:
            self.close()
            raise

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        with contextlib.suppress(OSError):
            return self.operate("GET", "users")[0] == 200
        return False

    def operate(self, method: str, path: str, body=None):
        """Ask the hub's own API as its operator; return (status, JSON or None)."""
        headers = {"Authorization": f"token {self.token}"}
        return ask(method, f"{self.url}/hub/api/{path}", body, headers=headers)[:2]

    def processes(self) -> list[psutil.Process]:
        """Return the live processes of the hub's users, also those that have lost their parent."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                folder = process.environ().get("XDG_RUNTIME_DIR", "")
                if Path(folder).is_relative_to(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        """End the hub as a service manager does; it ends the servers of its users and its proxy."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Server:
    """A single-user server behind the hub, and the token of its user."""

    def __init__(self, hub: Hub, user: str, name: str = "") -> None:
        self.path = f"/user/{user}/{name}".rstrip("/")
        self.url, self.hub, self.log = hub.url + self.path, hub, hub.root
        self.route = f"users/{user}/servers/{name}" if name else f"users/{user}/server"
        assert hub.operate("POST", self.route)[0] in (201, 202)
        self.token = hub.operate("POST", f"users/{user}/tokens")[1]["token"]
        wait_for(lambda: self.ask("GET", "about")[0] == 200, seconds=120, what=f"the server of {user}")

    def ask(self, method: str, path: str, body=None, *, token: str | None = None):
        """Return (status, JSON or None, headers) of one of our routes, asked with the user's own token or another."""
        token = self.token if token is None else token
        headers = {"Authorization": f"token {token}"} if token else {}
        return ask(method, f"{self.url}/coiled-jupyter/api/{path}", body, headers=headers)

    def api(self, method: str, path: str, body=None, **kwargs):
        """Return (status, JSON or None); it must be what the OpenAPI document says."""
        status, answer, _ = self.ask(method, path, body, **kwargs)
        check(method, path, status, answer)
        return status, answer

    def create(self, name: str, **kwargs) -> str:
        """Create a cluster, wait until its workers run, and return its id."""
        body = {"name": name, "threads_per_worker": 1, "memory_limit": "256 MiB", **kwargs}
        status, cluster, headers = self.ask("POST", "clusters", body)
        check("POST", "clusters", status, cluster)
        assert status == 202, cluster
        route = f"/coiled-jupyter/api/clusters/{cluster['id']}"
        assert headers["Location"] == PREFIX + self.path + route
        wait_for(lambda: self.workers(cluster["id"]) == kwargs["workers"], seconds=120, what=f"the workers of {name}")
        return cluster["id"]

    def workers(self, cluster_id: str) -> int:
        return len(self.api("GET", f"clusters/{cluster_id}")[1]["workers"])

    def names(self) -> set[str]:
        return {cluster["name"] for cluster in self.api("GET", "clusters")[1]}

    def requested(self) -> int:
        return self.api("GET", "usage")[1]["cores"]["requested"]

    def stop(self) -> None:
        self.hub.operate("DELETE", self.route)
        wait_for(lambda: self.ask("GET", "about")[0] != 200, seconds=60, what="the server's end")


@pytest.fixture
def hub(tmp_path):
    npm = shutil.which("npm")
    assert npm, "JupyterHub's proxy is a program of Node and is installed by npm: install both"
    # Where Node is older than what the newest proxy asks for, npm warns.
    installed.run(
        npm, "install", "--no-audit", "--no-fund", "--prefix", tmp_path / "proxy", "configurable-http-proxy@5"
    )
    wheel = installed.build_wheel(tmp_path / "dist")
    # With what a hub's image has: a lab isn't needed to serve the routes.
    packages = ["jupyterhub>=5,<7", "jupyter-server", "ipykernel", wheel]
    python = installed.install(tmp_path / "venv", sys.executable, *packages)
    # A socket's path is limited, so the folder's name is short.
    root = Path(tempfile.mkdtemp(prefix="cj-"))
    for user in ("alice", "bob"):
        (root / user / "run").mkdir(parents=True)
    running = None
    try:
        running = Hub(root, python, tmp_path / "proxy/node_modules/.bin/configurable-http-proxy")
        yield running
    finally:
        if running:
            running.close()
            for process in running.processes():
                process.kill()
        shutil.rmtree(root)


def test_two_users_have_clusters_apart_and_a_named_server_shares_its_users_ledger_and_limit(hub):
    for user in ("alice", "bob"):
        assert hub.operate("POST", f"users/{user}")[0] == 201
    alice, bob = Server(hub, "alice"), Server(hub, "bob")
    assert alice.api("GET", "about")[1]["limits"]["cores"] == 3

    mine = alice.create("hers", workers=2)
    assert (bob.names(), bob.requested()) == (set(), 0)
    # Together more than the limit, which is each user's own.
    bob.create("his", workers=2)
    assert (alice.names(), alice.requested()) == ({"hers"}, 2)
    assert (bob.names(), bob.requested()) == ({"his"}, 2)
    assert bob.api("GET", f"clusters/{mine}")[0] == 404
    assert bob.api("DELETE", f"clusters/{mine}")[0] == 404

    named = Server(hub, "alice", "second")
    assert (named.names(), named.requested()) == ({"hers"}, 2)
    status, refused = named.api("POST", "clusters", {"name": "more", "workers": 2, "threads_per_worker": 1})
    assert (status, refused["error"]["kind"]) == (409, "conflict")
    named.create("another", workers=1)
    wait_for(lambda: alice.names() == {"hers", "another"}, what="the cluster of the named server")
    assert alice.requested() == named.requested() == 3

    for method, path in (("GET", "about"), ("GET", "clusters"), ("POST", "clusters"), ("DELETE", f"clusters/{mine}")):
        for server in (alice, named):
            for token in ("", "wrong", bob.token):
                assert server.api(method, path, {} if method == "POST" else None, token=token)[0] == 403
    assert alice.names() == {"hers", "another"}

    # What the other server of its user follows lives on.
    named.stop()
    assert alice.requested() == 3
    assert alice.names() == {"hers", "another"}

    assert len(hub.processes()) > 6
    everything = [hub.process.pid, *(child.pid for child in psutil.Process(hub.process.pid).children(recursive=True))]
    # A hub interrupts its servers, which then end without asking an extension to: their clusters end with their leases.
    hub.close()
    wait_for(lambda: not hub.processes(), seconds=60, what="the end of all processes of both users")
    wait_for(lambda: not any(map(psutil.pid_exists, everything)), seconds=30, what="the end of the hub's own processes")
