"""What takes long says within two seconds what is being waited for, at a terminal and in a pipe, and comes to an end."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.commands.test_terminal import Terminal
from tests.nightly import each_night
from tests.processes import apart, wait_for
from tests.test_cli import run

SPOKEN = r"[…⠀-⣿] \w+"
"""At a terminal with a sign that turns."""
SECONDS = 20.0
"""A guard for loaded machines; who waits in silence has a minute and more to be silent."""


@pytest.fixture
def silent_index(tmp_path):
    """The variables of a user whose index accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        url = "http://{}:{}/simple".format(*server.getsockname())
        (tmp_path / "jupyter_server_config.json").write_text(
            json.dumps({"CoiledJupyter": {"index_options": ["--index-url", url]}})
        )
        yield {
            **os.environ,
            **apart(),
            "JUPYTER_CONFIG_DIR": str(tmp_path),
            "COILED_JUPYTER_DATA_DIR": str(tmp_path / "data"),
            "UV_CACHE_DIR": str(tmp_path / "cache"),
        }


@pytest.fixture(scope="module")
def stopped():
    """The variables of a user whose only cluster has a supervisor that is stopped."""
    env = {**os.environ, **apart()}
    made = run("cluster", "create", "mine", "--workers", "1", env=env)
    assert made[0] == 0, made[2]
    (supervisor,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "coiled_jupyter.supervisor" in (process.info["cmdline"] or ())
        and process.environ()["COILED_JUPYTER_RUNTIME_DIR"] == env["COILED_JUPYTER_RUNTIME_DIR"]
    ]
    supervisor.send_signal(signal.SIGSTOP)
    yield env
    supervisor.send_signal(signal.SIGCONT)
    wait_for(lambda: run("cluster", "stop", "mine", env=env)[0] == 0, what="its end")


class Piped:
    """A command whose output and errors are pipes."""

    def __init__(self, *words: str, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coiled_jupyter.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )
        self.said = ""

    def until(self, pattern: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            while not re.search(pattern, self.said):
                assert selector.select(max(deadline - time.monotonic(), 0)), f"no {pattern!r} in {self.said!r}"
                part = os.read(self.process.stderr.fileno(), 4096)
                assert part, f"it has ended with {self.said!r}"
                self.said += part.decode()

    def end(self, seconds: float) -> tuple[int, str, str]:
        out, error = self.process.communicate(timeout=seconds)
        return self.process.returncode, out.decode(), self.said + error.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


CREATE = ("software", "create", "new", "iniconfig")


@pytest.mark.parametrize("kind", [Piped, Terminal])
@pytest.mark.parametrize(
    "words", [CREATE, (*CREATE, "--json"), ("cluster", "create", "new", "--requirement", "iniconfig==1.1.1")]
)
def test_an_index_that_never_answers_is_what_is_said_to_be_waited_for(silent_index, kind, words):
    with kind(*words, env=silent_index) as command:
        command.until("[…⠀-⣿] (Resolving the packages: uv asks the index|Build environment|Resolve)", SECONDS)
        command.process.send_signal(signal.SIGINT)
        assert command.end(60) if kind is Terminal else command.end(60)[0] == 130
    assert "Traceback" not in command.said


STOPPED = [
    (Piped, ("diff",)),
    (Terminal, ("diff",)),
    (Terminal, ("cluster", "stop")),
    (Piped, ("cluster", "scale", "2")),
    (Piped, ("sync", "--dry-run")),
    (Terminal, ("doctor", "--json")),
]


@pytest.mark.parametrize(
    ("kind", "words"),
    each_night(STOPPED, [STOPPED[0], STOPPED[2], STOPPED[5]]),
)
def test_a_stopped_supervisor_is_said_to_be_waited_for_and_no_command_waits_for_ever(stopped, kind, words):
    with kind(*words, env=stopped) as command:
        command.until(SPOKEN, SECONDS)
        ended = command.end(120)
        code = ended if kind is Terminal else ended[0]
    # A report says what is missing, and is a report.
    assert code == 0 if words[0] == "doctor" else code in (1, 3)
    assert "Traceback" not in command.said


@pytest.fixture
def silent_scheduler():
    """The address of what accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield "tcp://{}:{}".format(*server.getsockname())


@pytest.mark.parametrize("words", [("cluster", "attach"), ("diff", "--cluster")])
def test_a_scheduler_that_never_answers_is_said_to_be_waited_for(silent_scheduler, words):
    env = {**os.environ, **apart()}
    with Piped(*words, silent_scheduler, env=env) as command:
        command.until(SPOKEN, SECONDS)
        assert command.end(60)[0] == 3
    run("cluster", "stop", env=env)


def test_a_client_that_connects_for_long_says_to_whom(silent_scheduler):
    env = {**os.environ, **apart(), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
    code = f"import coiled_jupyter as c; c.connect({silent_scheduler!r})"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert f"… Connecting to the scheduler at {silent_scheduler}\n" in done.stderr
    assert "can't be reached" in done.stderr.splitlines()[-1]
