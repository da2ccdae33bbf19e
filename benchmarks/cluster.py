"""From the request to a cluster that is ready, beside the same cluster started bare from a fresh process."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from .table import Figure, median

WORKERS = 2
_BARE = """
import sys
from distributed import LocalCluster
from distributed.security import Security

if __name__ == "__main__":
    security = Security.temporary()
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, security=security, protocol="tls://", dashboard_address=None,
        worker_dashboard_address=None, host="127.0.0.1", silence_logs=50,
    ) as cluster:
        cluster.wait_for_workers(int(sys.argv[1]))
        print("ready", flush=True)
        sys.stdin.read()
"""


class Server:
    """A Jupyter server with folders of its own."""

    def __init__(self, root: Path, *, extension: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._token, self._url = secrets.token_hex(16), f"http://127.0.0.1:{port}"
        env = {**os.environ, "JUPYTER_TOKEN": self._token, "COILED_JUPYTER_RUNTIME_DIR": str(root / "r")}
        env.update({f"JUPYTER_{name}_DIR": str(root / name) for name in ("CONFIG", "DATA", "RUNTIME")})
        command = [sys.executable, "-m", "jupyter", "server", "--no-browser", f"--ServerApp.port={port}"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={root}", "--log-level=ERROR"]
        if not extension:
            command.append("--ServerApp.jpserver_extensions={'coiled_jupyter': False}")
        if os.geteuid() == 0:
            command.append("--allow-root")
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.fetch("GET", "/api/status")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit("the server didn't start") from None
                time.sleep(0.1)

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return what a route of ours answers."""
        return self.fetch(method, f"/coiled-jupyter/api/{path}", body)

    def fetch(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return what any route answers."""
        request = urllib.request.Request(
            f"{self._url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def close(self) -> None:
        """End the server, and with it clusters that nobody else holds."""
        self.process.terminate()
        self.process.wait(30)

    def start_cluster(self) -> float:
        """Return the seconds from the request to as many workers as asked for; the cluster is stopped again."""
        start = time.perf_counter()
        path = "clusters/" + self.ask("POST", "clusters", {"workers": WORKERS})["id"]
        while (cluster := self.ask("GET", path))["status"] == "starting":
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        if len(cluster["workers"]) != WORKERS:
            raise SystemExit(f"the cluster is {cluster['status']}: {cluster['reason']}")
        self.ask("DELETE", path)
        while self.ask("GET", path)["status"] != "stopped":
            time.sleep(0.05)
        self.ask("DELETE", path)
        return seconds


def _start_bare(script: Path) -> float:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, script, str(WORKERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        if process.stdout is None or process.stdout.readline().strip() != b"ready":
            raise SystemExit("the bare cluster didn't start")
        return time.perf_counter() - start


def measure(rounds: int) -> list[Figure]:
    """Return the seconds until a cluster is ready: asked of a running server, and bare, in turns."""
    # A socket's path is limited, so the folder's name is short.
    with tempfile.TemporaryDirectory(prefix="cj") as folder:
        script = Path(folder, "bare.py")
        script.write_text(_BARE)
        server = Server(Path(folder))
        try:
            pairs = [(server.start_cluster(), _start_bare(script)) for _ in range(rounds + 1)][1:]
        finally:
            server.close()
    ours, bare = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    what = f"Click until a cluster of {WORKERS} workers is ready, its environment built"
    return [Figure(what, ours, "`LocalCluster` with TLS in a fresh process", bare, limit=1.2)]
