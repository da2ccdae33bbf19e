"""Classes that implement a port for tests, with real data behind them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import weakref
from pathlib import Path

from coiled_jupyter.core.errors import NotFound
from coiled_jupyter.core.reading import decode_answer
from coiled_jupyter.core.times import now
from coiled_jupyter.links.kernel import KernelReading
from coiled_jupyter.texts import source

_READ = """
import json, sys, time
texts = {}
for name, text in json.loads(sys.stdin.readline()).items():
    texts[name] = {"__name__": name}
    exec(compile(text, name, "exec"), texts[name])
# A test waits for it, beside others that keep the machine busy.
texts["content"]["NICE"] = 0
local, *used = sys.argv[1:]
texts["probe"]["baseline"](True, [{"In": ["import " + name for name in used]}])
for name in used:
    __import__(name)
for _ in sys.stdin:
    while True:
        keys = texts["probe"]["keys"]()
        answer = texts["node"]["answer"](
            keys, texts["probe"], texts["content"], "", bool(local), (), texts["probe"]["forget"]
        )
        if json.loads(answer)["content_age"] is not None:
            break
        time.sleep(0.05)
    print(answer, flush=True)
"""


class Program:
    """A process that stands for a kernel's: read by running the texts in it, again and again.

    Parameters
    ----------
    used
        The modules that it imports first, as a notebook does.
    local
        Whether code beside it is examined too.
    restarted
        Whether each reading is that of a new process, as where a test changes what it has loaded.

    """

    def __init__(
        self,
        python: Path | str,
        used: tuple[str, ...] = (),
        *,
        folder: Path | None = None,
        local: bool = False,
        restarted: bool = False,
    ) -> None:
        self._command = [str(python), "-c", _READ, "local" if local else "", *used]
        self._folder, self._restarted = folder, restarted
        self._running: subprocess.Popen[str] | None = None
        self._one = threading.Lock()

    async def read(self) -> KernelReading:
        """Return what it has, its files included."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> KernelReading:
        with self._one:
            if self._running is None:
                self._running = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self._folder
                )
                texts = {name: source(name) for name in ("probe", "content", "node")}
                self._running.stdin.write(json.dumps(texts) + "\n")
            self._running.stdin.write("\n")
            self._running.stdin.flush()
            answer = decode_answer(self._running.stdout.readline())
            if self._restarted:
                self._end()
        assert answer.reading is not None
        return KernelReading(answer.reading, now(), answer.content_age)

    def close(self) -> None:
        """End it."""
        with self._one:
            self._end()

    def _end(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.communicate()
            self._running = None


class InterpreterKernels:
    """Kernels of which each is read by running the texts in a Python of its environment; no cell ever runs.

    Parameters
    ----------
    pythons
        By kernel id, the interpreter, and the modules that its notebook has imported.

    """

    def __init__(self, pythons: dict[str, tuple[Path | str, tuple[str, ...]]]) -> None:
        self.pythons = pythons
        self._programs: dict[tuple[str, tuple[str, ...]], Program] = {}
        weakref.finalize(self, _close, self._programs)

    def kernel_ids(self) -> list[str]:
        return []

    def activity(self, kernel_id: str) -> object:
        return None

    async def read(self, kernel_id: str) -> KernelReading:
        if kernel_id not in self.pythons:
            raise NotFound("There is no such kernel")
        python, used = self.pythons[kernel_id]
        key = str(python), used
        if key not in self._programs:
            self._programs[key] = Program(python, used)
        return await self._programs[key].read()

    async def clients(self, kernel_id: str) -> tuple[()]:
        return ()

    async def call(self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request):
        raise NotFound("There is no such client")

    async def seal(self, kernel_id: str, scheduler: str, *, seal: bool) -> None:
        """Nothing of these kernels runs: a test that has a client seals it itself."""

    def process(self, kernel_id: str) -> object:
        return kernel_id if kernel_id in self.pythons else None

    async def roll(self, kernel_id: str, **request: object) -> str:
        raise NotFound("There is no such cluster")

    async def relay(self, kernel_id: str, **request: object) -> str:
        raise NotFound("There is no such cluster")


def _close(programs: dict[object, Program]) -> None:
    for program in programs.values():
        program.close()
