"""Starts real programs for tests and makes sure that they end."""

from __future__ import annotations

import contextlib
import json
import os
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

from tests.schema import check


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, *, seconds: float = 60, what: str = "the condition"):
    """Return the first true value of ``condition()``; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def apart() -> dict[str, str]:
    """Return the variable by which a server or command has clusters and a ledger of its own."""
    # A socket's path is limited, so the folder's name is short.
    return {"COILED_JUPYTER_RUNTIME_DIR": tempfile.mkdtemp(prefix="cj-")}


def words(process: psutil.Process) -> str:
    """Return a process's command line; of one that has ended, or is a zombie, an empty text."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def of_clusters(cluster_id: str = "") -> list[psutil.Process]:
    """Return the live processes of clusters of this session's runtime folder, also those that have lost their parent."""
    mine = os.environ["COILED_JUPYTER_RUNTIME_DIR"]
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


class JupyterServer:
    """A real server (or lab) with folders and a token of its own, on loopback."""

    def __init__(self, root: Path, app: str = "server", *arguments: str, env: dict[str, str] | None = None) -> None:
        self.root, self.port, self.token = root, free_port(), secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}"
        self.work = root / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        home = root / "home"
        home.mkdir(exist_ok=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))} | {
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "run"),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_TOKEN": self.token,
            **(env or {}),
        }
        # What is tested is what this process would import, also from another checkout than the installed one.
        paths = [(env or {}).get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
        self.env["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(paths)))
        command = [sys.executable, "-m", "jupyter", app, "--no-browser", "--ServerApp.ip=127.0.0.1"]
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
            wait_for(self._up, what="the server")
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
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}"} if headers is None else headers
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, text.decode(errors="replace")

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
