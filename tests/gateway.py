"""A real dask-gateway on loopback, with its local backend and a password, whose clusters are processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil

from .environments import environment, interpreters
from .processes import IDLE_DASK, free_port, wait_for, words

DASK_GATEWAY = (
    *("distributed==2026.8.0", "dask==2026.8.0", "dask-gateway==2026.3.0", "dask-gateway-server==2026.3.0"),
    *("sqlalchemy", "cryptography", "ipykernel>=7,<8"),
)
PASSWORD = "of the tests"
_CONFIGURATION = """
from dask_gateway_server.options import Bool, Float, Integer, Mapping, Options, Select, String

c.Backend.cluster_options = Options(
    Integer("worker_cores", default=1, min=1, max=2, label="Cores of a worker"),
    Float("worker_memory", default=1, min=0.5, max=2, label="Memory of a worker in GiB"),
    Select("profile", ["small", "large"], label="Profile"),
    String("note", default="", label="<b>Note</b>"),
    Mapping("environment", default={{}}, label="Variables"),
    Bool("shutdown_on_close", default=True, label="A name that is no option"),
    handler=lambda options: {{
        "worker_cores": options.worker_cores,
        "worker_memory": int(options.worker_memory * 2**30),
        "environment": {{"NOTE": options.note, "PROFILE": options.profile}},
    }},
)
c.ClusterConfig.cluster_max_workers = {most}
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = {password!r}
c.DaskGateway.address = "127.0.0.1:{api}"
c.Proxy.address = "127.0.0.1:{web}"
c.Proxy.tcp_address = "127.0.0.1:{tcp}"
c.UnsafeLocalBackend.clusters_directory = {clusters!r}
c.UnsafeLocalBackend.inherited_environment = {variables!r}
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.scheduler_cmd = [{dask!r}, "scheduler"]
c.ClusterConfig.worker_cmd = [{dask!r}, "worker"]
"""
# What is collected on the event loop's thread waits for that loop for ever, so everything is kept.
_OPEN = """
from dask_gateway import Gateway
from dask_gateway.auth import BasicAuth
gateway = Gateway({web!r}, proxy_address={tcp!r}, auth=BasicAuth("somebody", {password!r}))
cluster = gateway.new_cluster()
{size}
client = cluster.get_client()
client.wait_for_workers({workers}, timeout=240)
"""


def python() -> Path:
    """Return the Python of the gateway and of all that it starts."""
    return environment(interpreters()["3.11"], *DASK_GATEWAY)


class DaskGateway:
    """A gateway server; its heartbeat is the default one of 15 s.

    Parameters
    ----------
    extra
        More variables of the environment of its clusters' processes.
    nodes
        The Python of the clusters' processes; by default the gateway's.
    most
        The workers that a cluster may have; None: any number.

    """

    def __init__(
        self, folder: Path, extra: dict[str, str] | None = None, nodes: Path | None = None, most: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.python = folder, python()
        self._web, self._tcp = free_port(), free_port()
        dask = (nodes or self.python).parent / "dask"
        added = {**IDLE_DASK, **(extra or {})}
        (folder / "configuration.py").write_text(
            _CONFIGURATION.format(
                password=PASSWORD,
                api=free_port(),
                web=self._web,
                tcp=self._tcp,
                clusters=str(folder / "clusters"),
                variables=["PATH", "HOME", "LANG", *_trusted(), *added],
                dask=str(dask),
                most=most,
            )
        )
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DASK", "COILED"))} | added
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.python, "-m", "dask_gateway_server", "-f", str(folder / "configuration.py")],
                env=environ,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )

    def opening(self, workers: int = 2, *, adaptive: bool = False) -> str:
        """Return the code by which a notebook opens a cluster; its names are ``gateway``, ``cluster`` and ``client``."""
        self.ready()
        size = f"cluster.adapt({workers}, {workers + 2})" if adaptive else f"cluster.scale({workers})"
        web, tcp = f"http://127.0.0.1:{self._web}", f"gateway://127.0.0.1:{self._tcp}"
        return _OPEN.format(web=web, tcp=tcp, password=PASSWORD, size=size, workers=workers)

    def ready(self) -> None:
        """Wait until its proxy passes requests on."""
        wait_for(lambda: "GET /api/v1/routes" in self.told(), what="the gateway")

    def variables(self, password: str = PASSWORD) -> dict[str, str]:
        """Return the variables by which Dask's configuration names it."""
        return {
            "DASK_GATEWAY__ADDRESS": f"http://127.0.0.1:{self._web}",
            "DASK_GATEWAY__PROXY_ADDRESS": f"gateway://127.0.0.1:{self._tcp}",
            "DASK_GATEWAY__AUTH__KWARGS": repr({"username": "somebody", "password": password}),
        }

    def arguments(self) -> dict[str, object]:
        """Return the arguments of a ``dask_gateway.Gateway`` in this process."""
        from dask_gateway.auth import BasicAuth

        where = self.variables()
        names = {"address": "DASK_GATEWAY__ADDRESS", "proxy_address": "DASK_GATEWAY__PROXY_ADDRESS"}
        return {**{name: where[key] for name, key in names.items()}, "auth": BasicAuth("somebody", PASSWORD)}

    def told(self) -> str:
        """Return what it has logged."""
        assert self._process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        return self.log.read_text(errors="replace")

    def processes(self) -> list[str]:
        """Return the processes of its clusters."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [line for line in map(words, children) if "dask" in line and "dask-gateway-proxy" not in line]

    def stopped(self) -> int:
        """Return how many workers it has stopped."""
        return self.told().count("Stopping worker")

    def files(self, name: str) -> dict[str, str]:
        """Return the certificate files of a cluster, as the administrator of this machine has them."""
        folder = self.folder / "clusters" / name / ".certs"
        certificate, key = str(folder / "dask.crt"), str(folder / "dask.pem")
        return {"ca_file": certificate, "cert_file": certificate, "key_file": key}

    def close(self) -> None:
        """End it, and what it has started."""
        started = psutil.Process(self._process.pid).children(recursive=True) if self._lives() else []
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in started:
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)

    def _lives(self) -> bool:
        return self._process.poll() is None

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _trusted() -> list[str]:
    """Return the variables by which this machine reaches an index."""
    marks = ("UV_", "PIP_", "SSL_", "REQUESTS_", "HTTP", "NO_PROXY", "no_proxy", "http")
    return [name for name in os.environ if name.startswith(marks)]
