"""Runs `scripts/lab`, the demo, as a person does, and makes sure that it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.processes import apart, wait_for

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "lab"


class Demo(NamedTuple):
    """A demo that runs: its server, its token, and what it has printed."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    log: Path

    @property
    def page(self) -> str:
        """Return the URL of the notebook's page."""
        return f"{self.url}/lab/tree/first-look.ipynb?token={self.token}"

    def stop(self) -> None:
        """Stop it as Ctrl-C does; AssertionError if it or a process of it stays."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0, self.log.read_text()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        assert "Traceback" not in self.log.read_text()


def home(folder: Path) -> dict[str, str]:
    """Return the variables of a person who has nothing in this folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
    return kept | {"HOME": str(folder), **apart()}


@contextlib.contextmanager
def demo(folder: Path, env: dict[str, str] | None = None) -> Iterator[Demo]:
    """Yield the demo, which runs in the environment of this process and writes into `folder`."""
    env = env or home(folder / "home")
    env = {**env, "COILED_JUPYTER_VENV": sys.prefix, "COILED_JUPYTER_DEMO": str(folder / "demo")}
    log = folder / "log"
    with log.open("wb") as file:
        lab = subprocess.Popen([sys.executable, SCRIPT, "--no-browser"], env=env, stdout=file, stderr=subprocess.STDOUT)
    family: list[psutil.Process] = []
    try:
        wait_for(lambda: "Press Ctrl-C" in log.read_text() or lab.poll() is not None, seconds=120, what="the lab")
        said = log.read_text()
        found = re.search(r"JupyterLab runs: (http://127\.0\.0\.1:\d+)/lab/tree/\S+\?token=([0-9a-f]{48})", said)
        assert found is not None, said
        yield Demo(lab, *found.groups(), log)
    finally:
        if lab.poll() is None:
            # JupyterLab has a session of its own, and would outlive a script that is killed.
            family += psutil.Process(lab.pid).children(recursive=True)
            lab.kill()
            lab.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
