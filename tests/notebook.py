"""A user's process with one Dask client that lives through whatever happens to its cluster."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from pathlib import Path

_PROGRAM = """
import json, sys, traceback
space = {}
for line in sys.stdin:
    try:
        code = json.loads(line)
        head, _, last = code.rpartition("\\n")
        exec(head, space)
        try:
            value = eval(last, space)
        except SyntaxError:
            exec(last, space)
            value = None
        answer = {"value": value}
        text = json.dumps(answer, default=str)
    except BaseException as error:
        text = json.dumps({"error": type(error).__name__, "text": str(error)[:2000]})
    print("ANSWER " + text, flush=True)
"""
_CONNECT = """
from distributed import Client
from distributed.security import Security
import warnings
warnings.simplefilter("ignore")
security = {security}
client = Client({address!r}, security=security, timeout=20)
"""


class CellError(Exception):
    """A cell failed."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Notebook:
    """Runs cells in one process of `python`; the value of a cell is that of its last line.

    Parameters
    ----------
    address
        Of the scheduler to which it has a client; without one it has none.
    tls
        Paths of ``ca_file``, ``cert_file`` and ``key_file``, for a tls address.

    """

    def __init__(self, python: Path | str, address: str = "", tls: dict[str, str] | None = None) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DASK", "COILED"))}
        self.process = subprocess.Popen(
            [str(python), "-u", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        security = "None"
        if tls:
            security = (
                f"Security(tls_ca_file={tls['ca_file']!r}, tls_client_cert={tls['cert_file']!r}, "
                f"tls_client_key={tls['key_file']!r}, require_encryption=True)"
            )
        if address:
            self.run(_CONNECT.format(address=address, security=security))

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                self._answers.put(line[7:])

    def run(self, code: str, seconds: float = 60):
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(code.strip("\n")) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._answers.get(timeout=seconds))
        if "error" in answer:
            raise CellError(answer["error"], answer["text"])
        return answer["value"]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
