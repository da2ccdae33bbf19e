"""A scheduler and workers of any Dask, started as their own programs by somebody else, for tests to attach."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.factories.local import write_tls
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from tests.patience import deadline

from .processes import IDLE_DASK, wait_for


class RemoteCluster:
    """One scheduler with workers.

    Parameters
    ----------
    python
        The interpreter, with distributed in its environment.
    nannies
        Whether workers have one.
    extra
        More variables of the environment; `PYTHONPATH` among them puts folders on the nodes' sys.path.
    arguments
        More arguments of ``dask worker``.
    below
        The program that starts each worker, with its arguments.

    """

    def __init__(
        self,
        folder: Path,
        python: Path | str,
        *,
        workers: int = 1,
        tls: bool = False,
        dashboard: bool = False,
        nannies: bool = True,
        extra: dict[str, str] | None = None,
        scheduler_python: Path | str | None = None,
        arguments: tuple[str, ...] = (),
        below: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.python, self._nannies = folder, str(python), nannies
        self._worker_arguments, self._below = arguments, below
        self.processes: list[subprocess.Popen[bytes]] = []
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DASK", "COILED"))}
        # Else each worker without a nanny has a seed of its own, which is a difference.
        self._environ |= IDLE_DASK | {
            "PYTHONHASHSEED": "0",
            "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
            **(extra or {}),
        }
        self.tls = None
        self._files: list[str] = []
        if tls:
            write_tls(folder)
            names = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"}
            self.tls = {key: str(folder / name) for key, name in names.items()}
            self._files = [
                *("--tls-ca-file", self.tls["ca_file"]),
                *("--tls-cert", self.tls["cert_file"], "--tls-key", self.tls["key_file"]),
            ]
        told = folder / "scheduler.json"
        self._protocol = "tls" if tls else "tcp"
        arguments = ["--host", f"{self._protocol}://127.0.0.1", "--port", "0", "--scheduler-file", str(told)]
        arguments += ["--dashboard-address", "127.0.0.1:0", *([] if dashboard else ["--no-dashboard"])]

        self.scheduler = self._run(scheduler_python or python, "dask_scheduler", *arguments)
        try:
            self.address = wait_for(lambda: self._told(told), seconds=60, what="the scheduler")
            for index in range(workers):
                self.add_worker(str(index))
        except BaseException:
            self.close()
            raise

    def add_worker(
        self, name: str, python: Path | str | None = None, extra: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        arguments = [self.address, "--name", name, "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]
        arguments += ["--local-directory", str(self.folder / f"local-{name}"), "--host", "127.0.0.1"]
        arguments += [*self._worker_arguments, *([] if self._nannies else ["--no-nanny"])]
        return self._run(python or self.python, "dask_worker", *arguments, extra=extra, below=self._below)

    def _run(self, python, program: str, *arguments: str, extra=None, below=()) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*below, str(python), "-m", f"distributed.cli.{program}", *arguments, *self._files],
                env={**self._environ, **(extra or {})},
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def _told(self, path: Path) -> str | None:
        assert self.scheduler.poll() is None, self.log()
        try:
            return json.loads(path.read_text())["address"]
        except (OSError, ValueError, KeyError):
            return None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def body(self) -> dict[str, object]:
        """Return the body that attaches this cluster."""
        return {"address": self.address, **({"tls": self.tls} if self.tls else {})}

    def close(self) -> None:
        for process in reversed(self.processes):
            for number in (signal.SIGCONT, signal.SIGTERM):
                _signal(process, number)
        deadline = time.monotonic() + 5
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
            _signal(process, signal.SIGKILL)
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until_workers(address: str, count: int = 1, tls: dict[str, str] | None = None) -> None:
    """Wait until so many workers have joined, which costs far less than to compare again and again meanwhile."""
    files = tls and TLSFiles(ca=tls["ca_file"], cert=tls["cert_file"], key=tls["key_file"])

    async def go() -> None:
        link = SchedulerLink(address, files or None)
        end = deadline(60)
        while True:
            # Nobody listens yet.
            with contextlib.suppress(CoiledError):
                if len((await link.identity())["workers"]) >= count:
                    break
            assert time.monotonic() < end, f"no {count} workers at {address}"
            await asyncio.sleep(0.1)
        link.close()

    asyncio.run(go())


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
