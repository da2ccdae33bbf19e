"""The command at a terminal: questions, answers, and an interrupt at any moment."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.patience import deadline
from tests.processes import apart, wait_for
from tests.test_cli import run


class Terminal:
    """A command at a pseudo-terminal, where a person would sit."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coiled_jupyter.cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def until(self, pattern: str, seconds: float = 60) -> None:
        end = deadline(seconds)
        while not re.search(pattern, self.said):
            assert self._more(end - time.monotonic()), f"no {pattern!r} in {self.said!r}"

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self, seconds: float = 30) -> int:
        """Return how it ended, with all that it has said."""
        end = deadline(seconds)
        while self._more(end - time.monotonic()):
            pass
        return self.process.wait(max(end - time.monotonic(), 1))

    def _more(self, seconds: float) -> bool:
        assert seconds > 0, f"it goes on after {self.said!r}"
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            part = os.read(self._ours, 4096)
        except OSError:
            # All that had the terminal have ended.
            return False
        self.said += part.decode(errors="replace")
        return bool(part)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


def _take_terminal() -> None:
    import fcntl
    import termios

    # Ctrl-C goes to who has the terminal for its own.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


INTERRUPT = "\x03"


@pytest.fixture(scope="module")
def home():
    env = {**os.environ, **apart()}
    yield env
    for cluster in listed(env):
        run("cluster", "stop", cluster["id"], env=env)


@pytest.fixture(scope="module")
def older(home):
    """The only cluster, whose iniconfig is older than this Python's."""
    made = ("cluster", "create", "older", "--workers", "1", "--requirement", "iniconfig==1.1.1")
    assert run(*made, env=home)[0] == 0
    return home


def listed(env) -> list[dict]:
    return json.loads(run("cluster", "list", "--json", env=env)[1])


def iniconfig(env) -> str:
    rows = json.loads(run("diff", "--json", env=env)[1])["rows"]
    return next(row for row in rows if row["name"] == "iniconfig")["groups"][0]["version"]


ANSWERS = (("\n", 1), (INTERRUPT, 130), ("n\n", 1), ("\x04", 1))
"""What isn't yes, with the exit code; each is a whole plan, so the last two are tried each night."""


def test_a_sync_asks_and_is_not_done_unless_that_is_answered_with_yes(older, nightly):
    for answer, code in ANSWERS if nightly else ANSWERS[:2]:
        with Terminal("sync", "iniconfig", env=older) as terminal:
            terminal.until(r"Go on\? \[y/N\] $")
            assert "iniconfig  1.1.1 →" in terminal.said
            terminal.type(answer)
            assert terminal.end() == code, terminal.said
            assert "Traceback" not in terminal.said
    assert iniconfig(older) == "1.1.1"
    with Terminal("sync", "iniconfig", env=older) as terminal:
        terminal.until(r"Go on\? \[y/N\] $")
        terminal.type("y\n")
        assert terminal.end(120) == 0, terminal.said
        assert "✓ Verify" in terminal.said
        assert "✓ The worker runs exactly the planned packages" in terminal.said
    assert iniconfig(older) != "1.1.1"
    assert run("undo", "--yes", env=older)[0] == 0
    assert iniconfig(older) == "1.1.1"


BUSY = """
import coiled_jupyter, sys, time, warnings
warnings.simplefilter("ignore")
with coiled_jupyter.connect("older") as client:
    task = client.submit(time.sleep, 300)
    while not any(client.processing().values()):
        time.sleep(0.05)
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_sync_that_is_interrupted_goes_back(older):
    # The only worker is busy, so it isn't restarted before the interrupt.
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=older) as busy:
        assert busy.stdout.readline() == "begun\n"
        with Terminal("sync", "iniconfig", "--yes", env=older) as terminal:
            terminal.until("✓ Build")
            terminal.type(INTERRUPT)
            assert terminal.end() == 130, terminal.said
            assert "Cancelled: the old state comes back" in terminal.said
            assert "Traceback" not in terminal.said
        wait_for(lambda: syncs(older)[0]["state"] == "cancelled", what="the sync's end")
        busy.stdin.close()
    wait_for(lambda: iniconfig(older) == "1.1.1", what="the old state")


def syncs(env) -> list[dict]:
    # Of the report, which needs no server.
    return json.loads(run("doctor", "--json", env=env)[1])["syncs"]


def test_a_start_that_is_interrupted_leaves_no_cluster(home):
    before = {cluster["id"] for cluster in listed(home)}
    with Terminal("cluster", "create", "--requirement", "iniconfig==1.1.1", env=home) as terminal:
        new = wait_for(lambda: [c for c in listed(home) if c["id"] not in before], what="a cluster that starts")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130, terminal.said
        assert "Traceback" not in terminal.said
    wait_for(lambda: _status(home, new[0]["id"]) in ("stopped", None), what="its end")


def _status(env, cluster_id: str) -> str | None:
    return next((c["status"] for c in listed(env) if c["id"] == cluster_id), None)


def test_an_interrupt_before_anything_has_begun_is_one_line(home):
    """As soon as the process has Python's own handler, while it still imports."""
    hook = "import signal, sys; sys.addaudithook(lambda event, given: event == 'import' and given[0] == 'msgspec' and signal.raise_signal(signal.SIGINT))"
    code = f"{hook}\nfrom coiled_jupyter.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=home, timeout=60)
    assert (done.returncode, done.stderr) == (130, "Interrupted\n")


def test_a_failure_is_pasted_or_piped_and_an_interrupt_is_heard_while_it_is_waited_for(older, tmp_path):
    failure = "ImportError: cannot import name 'x' from 'iniconfig'\n"
    with Terminal("explain", env=older) as terminal:
        terminal.until("press Ctrl-D")
        terminal.type(failure + "\x04")
        assert terminal.end() == 0, terminal.said
        assert "iniconfig" in terminal.said.partition(failure.strip())[2]
    with Terminal("explain", env=older) as terminal:
        terminal.until("press Ctrl-D")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130, terminal.said
    file = tmp_path / "failure"
    file.write_text(failure)
    command = [sys.executable, "-m", "coiled_jupyter.cli", "explain"]
    with file.open() as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, env=older, timeout=60)
    assert (done.returncode, "iniconfig" in done.stdout) == (0, True), done.stderr


def test_following_logs_ends_with_an_interrupt(older):
    with Terminal("cluster", "logs", "older", "--follow", env=older) as terminal:
        terminal.until("Scheduler at")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        # Dask may have written one to a log, but none has a line of ours.
        assert "/coiled_jupyter/" not in terminal.said.rpartition("Scheduler at")[2]
