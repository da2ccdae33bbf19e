"""A cluster for the length of a `with` block, for scripts."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..activity import doing, following
from ..commands.base import body, given
from ..commands.run import visit
from ..core.choice import ENDED
from ..core.errors import Conflict, NotFound, Unavailable
from ..core.wire import Cluster, ClusterCreate
from ..service.facade import Service
from .connect import connect_to
from .threads import finished

if TYPE_CHECKING:
    from distributed import Client

STOP_SECONDS = 30.0
_T = TypeVar("_T")


@contextlib.contextmanager
def cluster(
    name: str | None = None,
    *,
    factory: str | None = None,
    options: dict[str, str | int | float | bool | None] | None = None,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    memory_limit: int | str | None = None,
    adaptive: tuple[int, int] | None = None,
    software: str | None = None,
    requirements: Sequence[str] | None = None,
    python: str | None = None,
    environ: dict[str, str] | None = None,
    **kwargs: Any,
) -> Iterator[Client]:
    """Run a cluster as long as a `with` block, and give a client of it.

    Parameters
    ----------
    name
        Made up where there is none.
    factory, options
        Where it runs (``local``), such as ``ssh`` or ``slurm``, and the options that this declares.
    workers, threads_per_worker, memory_limit
        Workers to begin with (2), threads of each (1), and memory of each, in bytes or such as ``4GiB``.
    adaptive
        Bounds between which it grows and shrinks with its work, in workers.
    software, requirements, python
        The environment that it runs in: a software environment, or requirements with their Python; without either this
        Python's own.
    environ
        Variables of the workers.
    kwargs
        For `distributed.Client`.

    Raises
    ------
    CoiledError
        It can't be started; nothing is left of it.

    """
    bounds = {"minimum": adaptive[0], "maximum": adaptive[1]} if adaptive else None
    request = body(
        given(
            name=name,
            factory=factory,
            options=options,
            workers=workers,
            threads_per_worker=threads_per_worker,
            memory_limit=memory_limit,
            adaptive=bounds,
            software=software,
            requirements=list(requirements) if requirements is not None else None,
            python=python,
            environ=environ,
        ),
        ClusterCreate,
    )
    made: list[str] = []
    try:
        client = connect_to(_with_service(lambda service: _started(service, request, made)), **kwargs)
        try:
            yield client
        finally:
            client.close()
    finally:
        if made:
            _with_service(lambda service: _stopped(service, made[0]))


async def _started(service: Service, request: ClusterCreate, made: list[str]) -> Cluster:
    found = await service.clusters.create(request)
    made.append(found.id)
    while found.status == "starting":
        await asyncio.sleep(0.02)
        found = service.clusters.get(found.id)
    if found.status in ENDED:
        raise Unavailable(
            f"{found.name} {found.status}: {found.reason}", "Look at it with `coiled-jupyter cluster logs`"
        )
    return found


async def _stopped(service: Service, cluster_id: str) -> None:
    with contextlib.suppress(NotFound):
        await service.clusters.delete(cluster_id)
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
            if service.clusters.get(cluster_id).status in ENDED:
                # Nobody has a use for the card of a cluster that a block of code had; refused while processes still end.
                with contextlib.suppress(Conflict):
                    await service.clusters.delete(cluster_id)


def _with_service(act: Callable[[Service], Coroutine[Any, Any, _T]]) -> _T:
    async def main() -> _T:
        async with visit() as service:
            return await act(service)

    with following(lambda text: print(f"… {text}", file=sys.stderr)), doing("Starting or stopping the cluster"):
        return finished(main)
