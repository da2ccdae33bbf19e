"""Runs the command in processes that are forked from one which has imported it: most of a short command is its imports."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# Each request is JSON with three descriptors and one for the answer: the number of the process, then how it ended. The
# command's process ends as any Python does; one between waits for it, since only its parent is told how it ended.
_SERVER = """
import gc, json, os, runpy, signal, socket, sys
import coiled_jupyter.commands.terminal
sys.argv = ["-m"]
gc.freeze()
line = socket.socket(fileno=int(os.environ.pop("FORKS_SOCKET")))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def run(words, env, folder):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["coiled-jupyter", *words]
    sys.path[0] = folder
    runpy.run_module("coiled_jupyter.cli", run_name="__main__", alter_sys=True)

request = None
while request is None:
    data, given, _, _ = socket.recv_fds(line, 1 << 16, 4)
    if not data:
        break
    while not data.endswith(b"\\n"):
        data += line.recv(1 << 16)
    if not os.fork():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        line.close()
        number = os.fork()
        if number:
            for each in given[:3]:
                os.close(each)
            os.write(given[3], b"%d\\n" % number)
            os.write(given[3], b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
            os._exit(0)
        for target, each in enumerate(given[:3]):
            os.dup2(each, target)
        for each in given:
            os.close(each)
        request = json.loads(data)
    else:
        for each in given:
            os.close(each)
if request is not None:
    run(*request)
"""
_OF_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that a Python reads when it starts."""


class _Forks:
    """One process that has imported the command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVER],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "FORKS_SOCKET": str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
            )

    def run(self, words: tuple[str, ...], env: dict[str, str], given: str, timeout: float) -> tuple[int, bytes, bytes]:
        text = json.dumps([words, env, str(Path.cwd())]).encode() + b"\n"
        with tempfile.TemporaryFile() as stdin:
            stdin.write(given.encode())
            stdin.seek(0)
            ours, theirs = zip(os.pipe(), os.pipe(), os.pipe(), strict=True)
            try:
                with self._lock:
                    sent = socket.send_fds(self._line, [text], [stdin.fileno(), *theirs])
                    self._line.sendall(text[sent:])
            finally:
                for each in theirs:
                    os.close(each)
        said: list[bytes] = [b"", b"", b""]

        def read(number: int) -> None:
            with os.fdopen(ours[number], "rb") as pipe:
                # By lines, so that the number of the process is there before its end.
                for line in pipe:
                    said[number] += line

        readers = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
        if any(reader.is_alive() for reader in readers):
            os.kill(int(said[2].split()[0]), signal.SIGKILL)
            raise subprocess.TimeoutExpired(words, timeout, said[0], said[1])
        return int(said[2].split()[1]), said[0], said[1]

    def close(self) -> None:
        self._line.close()
        self.process.wait(10)


@functools.cache
def _forks() -> _Forks:
    made = _Forks()
    atexit.register(made.close)
    return made


def run(*words: str, env: dict[str, str], text: str = "", timeout: float = 120) -> tuple[int, str, str]:
    """Return (exit code, standard output, standard error) of ``coiled-jupyter`` with these arguments."""
    changed = {key for key in {*env, *os.environ} if env.get(key) != os.environ.get(key)}
    if any(key.startswith(_OF_START) for key in changed):
        command = [sys.executable, "-m", "coiled_jupyter.cli", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, input=text, env=env, timeout=timeout, check=False
        )
        return done.returncode, done.stdout, done.stderr
    code, out, error = _forks().run(words, env, text, timeout)
    return code, out.decode(), error.decode()
