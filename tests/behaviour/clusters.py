"""Real clusters whose scheduler, workers and client run in environments of their own, cached between runs."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.patience import deadline

ACTS = Path(__file__).with_name("acts.py")
CACHE = Path(os.environ.get("COILED_JUPYTER_TEST_CACHE") or Path.home() / ".cache" / "coiled-jupyter-tests")
_CLEAN = ("PYTHON", "VIRTUAL_ENV", "DASK_", "COILED_JUPYTER")


@dataclass(frozen=True)
class Env:
    """A virtualenv by what is in it; `overrides` are versions that a requirement of another package forbids."""

    python: str = "3.11"
    requirements: tuple[str, ...] = ("dask==2026.8.0", "distributed==2026.8.0")
    overrides: tuple[str, ...] = ()

    def plus(self, *requirements: str, python: str | None = None, overrides: tuple[str, ...] = ()) -> Env:
        """Return this one with more, or other versions, in it."""
        names = {line.partition("==")[0] for line in requirements}
        kept = tuple(line for line in self.requirements if line.partition("==")[0] not in names)
        return Env(python or self.python, (*kept, *requirements), overrides)


def interpreter(wish: str) -> str:
    """Return a Python of this version; `other X.Y` is one with another patch release than `X.Y`'s first."""
    found = _interpreters()
    other, _, minor = wish.rpartition(" ")
    paths = {version: path for version, path in sorted(found.items()) if version.startswith(minor + ".")}
    index = 1 if other else 0
    if len(paths) <= index:
        pytest.skip(f"no {wish} among the interpreters of PATH, uv and pyenv")
    return list(paths.values())[-1 - index]


@functools.cache
def _interpreters() -> dict[str, str]:
    command = [sys.executable, "-m", "uv", "python", "list", "--only-installed", "--output-format", "json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    paths = {entry["version"]: entry["path"] for entry in listed if entry["implementation"] == "cpython"}
    for path in sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python")):
        paths[path.parent.parent.name] = str(path)
    return {version: path for version, path in paths.items() if version[-1].isdigit()}


@functools.cache
def build(env: Env) -> str:
    """Return the Python of a virtualenv with `env` in it, made at most once for each content."""
    base = interpreter(env.python)
    key = hashlib.blake2b(json.dumps([base, env.requirements, env.overrides]).encode(), digest_size=8).hexdigest()
    target = CACHE / key
    python = target / "bin" / "python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        # Another run of the tests may build the same.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "complete").exists():
            _make(env, base, target, python)
    return str(python)


def _make(env: Env, base: str, target: Path, python: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--no-config", "--python", base, str(target)], check=True)
    overrides = target / "overrides.txt"
    overrides.write_text("\n".join(env.overrides))
    command = [*uv, "pip", "install", "--python", str(python), "--override", str(overrides), *env.requirements]
    subprocess.run(command, check=True)
    (target / "complete").touch()


def _environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_CLEAN)}


class Cluster:
    """A scheduler and one worker, each in its environment and in an empty folder."""

    def __init__(self, scheduler: Env, worker: Env) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="cjb-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        file = self.root / "scheduler.json"
        common = ["--no-dashboard", "--scheduler-file", str(file)]
        self.folders = {name: self.root / name for name in ("scheduler", "worker")}
        for folder in self.folders.values():
            folder.mkdir()
        self._start(scheduler, "scheduler", ["--host", "127.0.0.1", "--port", "0", *common])
        self._wait(file.exists, "the scheduler")
        alone = ["--no-nanny", "--nworkers", "1", "--nthreads", "1", "--host", "127.0.0.1", *common]
        self._start(worker, "worker", alone)
        log = self.root / "worker.log"
        self._wait(lambda: b"Registered to" in log.read_bytes(), "the worker")
        self.address = json.loads(file.read_text())["address"]

    def _start(self, env: Env, what: str, arguments: list[str]) -> None:
        command = [build(env), "-m", f"distributed.cli.dask_{what}", *arguments]
        with (self.root / f"{what}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folders[what], stdout=log, stderr=log, env=_environ(), start_new_session=True
            )
        self._processes.append(process)

    def _wait(self, condition, what: str) -> None:
        end = deadline(60)
        while not condition():
            dead = any(process.poll() is not None for process in self._processes)
            if dead or time.monotonic() > end:
                pytest.fail(f"{what} did not start:\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        """Return what the processes wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.root.glob("*.log")))

    def run(self, client: Env, acts: list[str], folder: Path | None = None) -> dict[str, dict[str, object]]:
        """Do these acts of ``acts.py`` as a client and return how each went."""
        command = [build(client), str(ACTS), self.address, *acts]
        done = subprocess.run(
            command, cwd=folder or self.root, env=_environ(), capture_output=True, text=True, timeout=120, check=False
        )
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert answers, done.stderr[-3000:]
        return {answer.pop("act"): answer for answer in answers}

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


_LIST = """
import importlib.metadata, json, platform, sys, sysconfig
print(json.dumps({
    "python": platform.python_version(), "implementation": sys.implementation.name, "platform": sysconfig.get_platform(),
    "packages": sorted({d.metadata["Name"].lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}.items()),
}))
"""


@functools.cache
def listed(env: Env) -> dict[str, object]:
    """Return what an environment says of itself: Python, platform and all distributions."""
    done = subprocess.run([build(env), "-I", "-c", _LIST], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)
