"""Classes that implement a port for tests, with real data behind them."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from coiled_jupyter.core.errors import NotFound
from coiled_jupyter.core.reading import decode_answer
from coiled_jupyter.core.times import now
from coiled_jupyter.links.kernel import KernelReading
from coiled_jupyter.texts import source

_READ = """
import sys, json
texts = {}
for name, text in json.load(sys.stdin).items():
    texts[name] = {"__name__": name}
    exec(compile(text, name, "exec"), texts[name])
# A test waits for it, beside others that keep the machine busy.
texts["content"]["NICE"] = 0
used = sys.argv[1:]
texts["probe"]["baseline"](True, [{"In": ["import " + name for name in used]}])
for name in used:
    __import__(name)
import time
while True:
    keys = texts["probe"]["keys"]()
    answer = texts["node"]["answer"](keys, texts["probe"], texts["content"], "", False, (), texts["probe"]["forget"])
    if json.loads(answer)["content_age"] is not None:
        break
    time.sleep(0.05)
print(answer)
"""


class InterpreterKernels:
    """Kernels of which each is read by running the texts in a Python of its environment; no cell ever runs.

    Parameters
    ----------
    pythons
        By kernel id, the interpreter, and the modules that its notebook has imported.

    """

    def __init__(self, pythons: dict[str, tuple[Path | str, tuple[str, ...]]]) -> None:
        self.pythons = pythons

    def kernel_ids(self) -> list[str]:
        return []

    def activity(self, kernel_id: str) -> object:
        return None

    async def read(self, kernel_id: str) -> KernelReading:
        if kernel_id not in self.pythons:
            raise NotFound("There is no such kernel")
        python, used = self.pythons[kernel_id]
        return await asyncio.to_thread(_read, str(python), used)

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


def _read(python: str, used: tuple[str, ...]) -> KernelReading:
    import json

    texts = json.dumps({name: source(name) for name in ("probe", "content", "node")})
    done = subprocess.run([python, "-c", _READ, *used], input=texts, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    answer = decode_answer(done.stdout)
    assert answer.reading is not None
    return KernelReading(answer.reading, now(), answer.content_age)
