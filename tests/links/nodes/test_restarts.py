"""What executes on workers, on real clusters of every generation of Dask."""

from __future__ import annotations

import asyncio
import time

import pytest

from coiled_jupyter.links.nodes.restarts import Blocked
from tests.environments import environment, interpreters
from tests.links.nodes.test_link import OLD, TODAY, On, on
from tests.notebook import Notebook
from tests.patience import deadline
from tests.remote import RemoteCluster

OLDEST = (
    *("distributed==2022.2.0", "dask==2022.2.0", "cloudpickle==2.2.1", "msgpack==1.0.5", "tornado==6.1"),
    *("click<8.1", "jinja2<3.1", "numpy==1.24.4"),
)
GENERATIONS = {"2022.2": ("3.8", OLDEST), "2023.5": ("3.10", OLD), "today": ("3.11", TODAY)}
WORK = """
from distributed import Event, secede

def leads():
    secede()
    Event("end").wait()

def waits():
    Event("end").wait()

futures = [client.submit(leads, key="leads"), client.submit(waits, key="waits")]
None"""


@pytest.mark.nightly
@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_task_that_has_seceded_executes_and_a_worker_that_is_given_up_takes_tasks_again(tmp_path, generation):
    minor, base = GENERATIONS[generation]
    python = environment(interpreters()[minor], *base)

    async def until(condition, what) -> None:
        end = deadline(60)
        while not await condition():
            assert time.monotonic() < end, what
            await asyncio.sleep(0.05)

    async def body(steps: On) -> None:
        restarts = steps.nodes.restarts
        # Dask of 2022 doesn't tell the status of workers in its identity.
        loads = steps.nodes.surveyor.worker_loads

        async def two() -> bool:
            return len(await loads()) == 2

        await until(two, "two workers")
        (first, *_) = workers = [load.address for load in await loads()]
        with Notebook(python, running.address) as notebook:
            run = lambda code: asyncio.to_thread(notebook.run, code, 120)  # noqa: E731
            await run(WORK)

            async def both() -> bool:
                found = (await restarts.blocked(workers)).values()
                return sum(one.seceded for one in found) == 1 and sum(len(one.waits) for one in found) == 2

            await until(both, "two tasks that wait")
            assert sum((await restarts.executing(workers)).values()) == 2
            assert {name for one in (await restarts.blocked(workers)).values() for name in one.waits} == {"Event"}
            assert await restarts.shuffles(workers) == ()
            assert await restarts.hold_shuffles([first]) == ()
            assert sum(load.seceded for load in await loads()) == 1
            assert await restarts.retire([first], 20) == {first}
            assert (await restarts.executing([first]))[first] >= 1
            await restarts.cancel_retirement([first])
            await run("Event('end').set()\nclient.gather(futures)\nNone")

            async def idle() -> bool:
                return not any((await restarts.executing(workers)).values())

            await until(idle, "the end of both")
            assert await restarts.blocked(workers) == dict.fromkeys(workers, Blocked())
            assert await run(f"client.submit(pow, 2, 5, workers=[{first!r}], pure=False).result()") == 32

    with RemoteCluster(tmp_path / "cluster", python, workers=2) as running:
        on(running, body)
