"""Answers for this process as a server's kernel does, so that a command in a notebook reaches the clusters it has opened.

Requests go to copies of the texts of a kernel's handler, in this process. A cell of the notebook waits for the command
meanwhile, so a cluster whose event loop is that of the cells can't answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.clients import Answer, KernelClient, decode_clients
from ..core.errors import NotFound
from ..core.times import now
from . import this_process
from .kernel import KernelReading
from .through_kernel import answers

ID = "here"


class OwnKernel:
    """The kernel in which this runs, under the id `ID`."""

    def kernel_ids(self) -> list[str]:
        """Return the id of this kernel."""
        return [ID]

    def activity(self, kernel_id: str) -> object:
        """Return None: a cell runs."""
        return None

    async def read(self, kernel_id: str) -> KernelReading:
        """Return a reading of this process."""
        _check(kernel_id)
        reading, age = await asyncio.to_thread(this_process.read)
        return KernelReading(reading, now(), age)

    async def clients(self, kernel_id: str) -> tuple[KernelClient, ...]:
        """Return the live Dask clients of this process; none if it hasn't imported Dask."""
        _check(kernel_id)
        return decode_clients(this_process.text("clients")["clients"]())

    async def call(
        self, kernel_id: str, client_id: str, operation: str, *, deadline: float = 5.0, **request: Any
    ) -> dict[str, Answer]:
        """Send one request through a Dask client of this process, as ``KernelLink.call`` does."""
        _check(kernel_id)
        text = this_process.text("clients")

        async def ask(content: dict[str, Any]) -> str:
            if content["verb"] == "begin":
                return str(text["begin"](content["request"]))
            return str(text["result"](content["ticket"]))

        return await answers(ask, client_id, operation, deadline, **request)

    def process(self, kernel_id: str) -> object:
        """Return what identifies this process."""
        return ID if kernel_id == ID else None

    async def roll(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/local_roll.py``."""
        _check(kernel_id)
        return str(this_process.text("local_roll")["call"](request))

    async def relay(self, kernel_id: str, **request: Any) -> str:
        """Send a request to ``texts/relay.py``."""
        _check(kernel_id)
        return str(this_process.text("relay")["call"](request))

    async def seal(self, kernel_id: str, scheduler: str, *, seal: bool) -> None:
        """Have this process's clients send sealed graphs to a scheduler from now on, or end that."""
        _check(kernel_id)
        await asyncio.to_thread(this_process.seal, scheduler, on=seal)


def _check(kernel_id: str) -> None:
    if kernel_id != ID:
        raise NotFound("There is no kernel with this id")
