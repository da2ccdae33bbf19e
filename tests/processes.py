"""Starts real programs for tests and makes sure that they end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from tests.patience import deadline
from tests.schema import check

# A process of Dask looks at itself up to a hundred times a second: some idle clusters would keep a core busy.
IDLE_DASK = {
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "500ms",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
_IDLE_DASK_FILE = """
distributed:
  admin: {system-monitor: {interval: 2s}, tick: {interval: 500ms}}
  worker: {memory: {monitor-interval: 500ms}, profile: {enabled: false}}
"""


def idle_dask(home: Path) -> None:
    """Configure Dask in this home as `IDLE_DASK`: a cluster doesn't get the variables of who starts it."""
    (home / ".config" / "dask").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "dask" / "tests.yaml").write_text(_IDLE_DASK_FILE)


def free_port() -> int:
    """Return a port that nothing listens at, and that the system gives to nobody who asks for any."""
    # A port of the system's own range may be given away before the program that is started here listens at it.
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(condition, *, seconds: float = 60, what: str = "the condition"):
    """Return the first true value of ``condition()``; AssertionError where it doesn't come (`patience`)."""
    begun, end = time.monotonic(), deadline(seconds)
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begun
        assert time.monotonic() < end, f"waited {waited:.0f} s for {what}"
        # To look is work too, of which what is waited for has the less the more often it's done.
        time.sleep(min(0.1 + waited / 20, 0.3))


def short_folder() -> str:
    """Return a new folder for a runtime folder: in memory, as where a login has one, and short, as a socket needs it.

    A disk to which several environments are written at once delays each commit by seconds.
    """
    memory = "/dev/shm"
    return tempfile.mkdtemp(prefix="cj-", dir=memory if os.access(memory, os.W_OK) else None)


def apart() -> dict[str, str]:
    """Return the variable by which a server or command has clusters and a ledger of its own."""
    return {"COILED_JUPYTER_RUNTIME_DIR": short_folder()}


def words(process: psutil.Process) -> str:
    """Return a process's command line; of one that has ended, or is a zombie, an empty text."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def of_clusters(cluster_id: str = "", runtime: str | None = None) -> list[psutil.Process]:
    """Return the live processes of clusters of a runtime folder (None: this session's), also those without a parent."""
    mine = runtime or os.environ["COILED_JUPYTER_RUNTIME_DIR"]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = " ".join(process.cmdline())
            # A node's arguments are its launcher's, whose text begins so.
            kind = any(
                mark in words for mark in ("spawn_main", "Runs the nodes of one cluster", "coiled_jupyter.supervisor")
            )
            if kind and cluster_id in process.cwd() and process.environ().get("COILED_JUPYTER_RUNTIME_DIR") == mine:
                found.append(process)
    return found


def ask(method: str, url: str, body=None, *, raw: bytes | None = None, headers: dict[str, str], timeout: float = 20):
    """Return (status, JSON or text or None, headers) of what a server on loopback answers."""
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, text, told = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            status, text, told = error.code, error.read(), error.headers
    try:
        return status, json.loads(text) if text else None, told
    except ValueError:
        return status, text.decode(errors="replace"), told


class JupyterServer:
    """A real server (or lab) with folders and a token of its own, on loopback."""

    def __init__(
        self,
        root: Path,
        app: str = "server",
        *arguments: str,
        env: dict[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        self.root, self.port, self.token = root, free_port(), secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}"
        self.work = root / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        home = root / "home"
        idle_dask(home)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))} | {
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "run"),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_TOKEN": self.token,
            **(env or {}),
        }
        if app == "server":
            # A lab takes a second to import, and no page is asked for.
            others = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook", "notebook_shim")
            config = {"ServerApp": {"jpserver_extensions": dict.fromkeys(others, False)}}
            (home / "config").mkdir(exist_ok=True)
            (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
        # What is tested is what this process would import, also from another checkout than the installed one.
        paths = [(env or {}).get("PYTHONPATH"), None if python else os.environ.get("PYTHONPATH")]
        self.env["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(paths)))
        # `jupyter` looks for `jupyter-lab` on PATH, where another environment may come first.
        self.env["PATH"] = os.pathsep.join(
            [str(Path(python or sys.executable).parent), self.env.get("PATH", os.defpath)]
        )
        command = [str(python or sys.executable), "-m", "jupyter", app, "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.work}"]
        command += ["--ServerApp.allow_unauthenticated_access=False"]
        if os.geteuid() == 0:
            command.append("--allow-root")
        self.log = root / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], env=self.env, stdout=log, stderr=subprocess.STDOUT, cwd=self.work
            )
        try:
            wait_for(self._up, seconds=150, what="the server")
        except AssertionError:
            self.close()
            raise AssertionError(self.log.read_text()[-3000:]) from None

    def _up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.ask("GET", "/api/status")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body=None, *, raw: bytes | None = None, headers=None, timeout: float = 20):
        """Return (status, JSON or None)."""
        headers = {"Authorization": f"token {self.token}"} if headers is None else headers
        return ask(method, self.url + path, body, raw=raw, headers=headers, timeout=timeout)[:2]

    def api(self, method: str, path: str, body=None, **kwargs):
        """Ask one of our routes; what it answers must be what the OpenAPI document says."""
        status, answer = self.ask(method, f"/coiled-jupyter/api/{path}", body, **kwargs)
        check(method, path, status, answer)
        return status, answer

    def head(self, path: str, tag: str | None = None) -> tuple[int, str | None]:
        """Return (status, ETag) of a GET."""
        headers = {"Authorization": f"token {self.token}"} | ({"If-None-Match": tag} if tag else {})
        request = urllib.request.Request(f"{self.url}/coiled-jupyter/api/{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers["ETag"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["ETag"]

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def close(self, seconds: float = 40) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
