"""Syncs of real clusters, with a user's client at them: nothing is lost, nothing runs twice, and green is what was read."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.change.journal import FINAL
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError, Conflict, Impossible, NotFound
from coiled_jupyter.core.wire import ClusterAttach, ClusterCreate, PlanCreate, PlanFrom, Sync, TLSFiles
from coiled_jupyter.paths import cluster_dir
from coiled_jupyter.service.facade import Service
from tests.door import Door
from tests.environments import environment, interpreters
from tests.fakes import InterpreterKernels
from tests.notebook import CellError, Notebook
from tests.patience import deadline
from tests.remote import RemoteCluster

TODAY = ("distributed==2026.8.0", "dask==2026.8.0", "cloudpickle==3.1.2", "msgpack==1.2.4", "tornado==6.6.1")
OLD = ("distributed==2023.5.0", "dask==2023.5.0", "cloudpickle==2.2.1", "msgpack==1.0.5", "tornado==6.5.10")
# How often tasks ended in memory, and the greatest `suspicious` of any task, as the scheduler counts.
COUNTS = """
import json
_text = (
    "__import__('json').dumps((lambda s: [sum(1 for t in s.transition_log if t[1] == 'processing' and t[2] == 'memory'"
    " and str(t[0]).startswith(P)), max([t.suspicious for t in s.tasks.values()] or [0])])"
    "(list(__import__('distributed').Scheduler._instances)[0]))"
)
counts = lambda prefix: json.loads(client.run_on_scheduler(eval, _text, {"P": prefix}))
"""


def python_of(minor: str, *requirements: str) -> Path:
    return environment(interpreters()[minor], *requirements)


class Lab:
    """A service with the kernels of a test, and what is done with it; plans and syncs go by REST."""

    def __init__(self, service: Door, pythons: dict[str, tuple[Path, tuple[str, ...]]]) -> None:
        self.service, self.pythons = service, pythons

    async def attach(self, cluster: RemoteCluster) -> str:
        tls = TLSFiles(**cluster.tls) if cluster.tls else None
        made = await self.service.clusters.attach(ClusterAttach(address=cluster.address, tls=tls))
        await self.ready(made.id, len(cluster.processes) - 1)
        return made.id

    async def ready(self, cluster: str, workers: int) -> None:
        await self.until(
            lambda: (
                self.service.clusters.get(cluster).status in ("running", "idle")
                and len(self.service.clusters.get(cluster).workers) >= workers
            ),
            what=lambda: self.service.clusters.get(cluster),
        )

    async def until(self, condition, seconds: float = 60, what=lambda: "it"):
        end = deadline(seconds)
        while not await _value(condition):
            assert time.monotonic() < end, f"waited {seconds} s for {what()}"
            await asyncio.sleep(0.05)

    async def plan(self, cluster: str, kernel: str = "k", **fields):
        return await self.service.plan(PlanCreate(cluster=cluster, kernel=kernel, **{"scope": "all", **fields}))

    async def sync(self, plan) -> object:
        return await self.ended(await self.service.sync(plan.id))

    async def ended(self, sync, seconds: float = 120):
        await self.until(lambda: self.reached(sync, *FINAL), seconds, lambda: sync.id)
        return await self.service.changing.find_sync(sync.id)

    async def reached(self, sync, *states: str) -> bool:
        return (await self.service.changing.find_sync(sync.id)).state in states

    async def diff(self, cluster: str, kernel: str = "k"):
        """Return a diff for which the files were looked at."""
        end = deadline(30)
        while True:
            diff = await self.service.comparing.diff(cluster, kernel=kernel)
            if diff.checked.content or time.monotonic() > end:
                return diff
            await asyncio.sleep(0.2)

    def row(self, diff, name: str):
        return next(row for row in diff.rows if row.name == name)


async def _value(ask):
    found = ask()
    return await found if inspect.isawaitable(found) else found


def lab(body, pythons, configuration: Configuration | None = None):
    async def go():
        service = Service(configuration, kernels=InterpreterKernels(pythons))
        door = Door(service)
        await service.start()
        door.open()
        of = Lab(door, pythons)
        try:
            await body(of)
        finally:
            await door.shut()
            # A test may have closed the first one, and opened another.
            service = of.service
            for cluster in service.clusters.all():
                if cluster.status not in ENDED:
                    # A supervisor that doesn't answer at once is ended with the session.
                    with contextlib.suppress(CoiledError):
                        await service.clusters.delete(cluster.id)
            for _ in range(200):
                if all(c.status in ENDED for c in service.clusters.all()):
                    break
                await asyncio.sleep(0.05)
            await service.close()

    asyncio.run(go())


def told(sync) -> str:
    """Return what a failed assertion has to show."""
    return f"{sync.state}: {sync.result}\n{sync.steps}\n" + "\n".join(sync.log.lines[-20:])


async def cell(notebook: Notebook, code: str, seconds: float = 60):
    return await asyncio.to_thread(notebook.run, code, seconds)


async def shell(*arguments: str) -> Sync:
    """Run a command that ends in a sync as a person does in a shell, beside the service, and return that sync."""
    command = [sys.executable, "-m", "coiled_jupyter.cli", *arguments, "--yes", "--json"]
    run = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, error = await asyncio.wait_for(run.communicate(), 120)
    assert run.returncode == 0, (out, error)
    return msgspec.json.decode(out, type=Sync)


def truth(python: Path | str) -> dict[str, str]:
    """Return what an interpreter has, read independently of anything of ours."""
    script = "import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower().replace('_', '-').replace('.', '-'): d.version for d in m.distributions()}))"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return json.loads(
        subprocess.run(
            [str(python), "-I", "-c", script], check=True, capture_output=True, text=True, env=environ
        ).stdout
    )


WORKERS_SEE = """
import json
_see = (
    "__import__('json').dumps([__import__('sys').prefix, {d.metadata['Name'].lower(): d.version for d in "
    "__import__('importlib.metadata').metadata.distributions()}, __import__('subprocess').run([__import__('sys').executable, '-c', "
    "'import sys; print(sys.prefix)'], capture_output=True, text=True).stdout.strip()])"
)
sorted(client.run(eval, _see).values())
"""


@pytest.mark.parametrize(
    ("minor", "base", "tls"),
    [("3.11", TODAY, True), pytest.param("3.10", OLD, False, marks=pytest.mark.nightly)],
    ids=["today", "old"],
)
def test_a_strangers_cluster_gets_the_notebooks_packages_and_loses_nothing(tmp_path, minor, base, tls):
    numpy = "numpy==2.2.6" if minor == "3.10" else "numpy==2.4.6"
    kernel = python_of(minor, *base, numpy, "ipykernel")
    remote = python_of(minor, *base, "tabulate==0.9.0")

    async def body(lab: Lab) -> None:
        cluster = await lab.attach(attached)
        before = await lab.diff(cluster)
        assert before.verdict == "breaks"
        assert lab.row(before, "numpy").severity == "breaks"
        with contextlib.closing(await asyncio.to_thread(Notebook, kernel, attached.address, attached.tls)) as notebook:
            await cell(notebook, COUNTS)
            with pytest.raises(CellError):
                await cell(
                    notebook,
                    "import numpy as np\nclient.submit(np.sum, np.arange(4), pure=False).result(timeout=20).item()",
                )
            await cell(
                notebook, "futures = client.map(pow, range(200), [2] * 200, key='kept')\nlen(client.gather(futures))"
            )
            await cell(notebook, "scattered = client.scatter(list(range(5)), broadcast=False)\nlen(scattered)")
            await cell(notebook, "import time\nslow = client.submit(time.sleep, 3, key='slow-1')\nNone")
            plan = await lab.plan(cluster)
            assert plan.how == "roll", plan
            assert {(a.kind, a.name) for a in plan.actions} >= {("install", "numpy")}
            assert "tabulate" not in {action.name for action in plan.actions}
            assert (plan.totals.extra, plan.totals.remove, plan.remaining) == (1, 0, ())
            asked = await lab.plan(cluster, remove_extra=True)
            assert ("remove", "tabulate") in {(action.kind, action.name) for action in asked.actions}
            assert plan.needs == ()
            assert (plan.lost.futures, plan.lost.scattered) == (0, 0)
            done = await lab.sync(plan)
            assert done.state == "done", told(done)
            # As somebody else reads it: exactly the plan, in the workers and in their children.
            for text in await cell(notebook, WORKERS_SEE):
                prefix, packages, child = json.loads(text)
                assert packages["numpy"] == numpy.partition("==")[2]
                # What only the cluster has stays.
                assert packages["tabulate"] == "0.9.0"
                assert child == prefix != str(remote.parent.parent)
                assert {n.replace("_", "-").replace(".", "-"): v for n, v in packages.items()} == truth(
                    Path(prefix) / "bin" / "python"
                )
            assert (
                await cell(notebook, "client.submit(np.sum, np.arange(4), pure=False).result(timeout=20).item()") == 6
            )
            assert await cell(notebook, "client.gather(futures) == [n ** 2 for n in range(200)]")
            assert await cell(notebook, "client.gather(scattered) == list(range(5))")
            await cell(notebook, "slow.result(timeout=30)")
            assert await cell(notebook, "counts('kept')") == [200, 0]
            assert await cell(notebook, "counts('slow')") == [1, 0]
            after = await lab.diff(cluster)
            assert lab.row(after, "numpy").status == "same", lab.row(after, "numpy")
            assert after.verdict in ("equal", "compatible", "risky"), [r for r in after.rows if r.severity != "same"]
            assert truth(remote).get("tabulate") == "0.9.0"
            # And back, as truly.
            undone = await lab.ended(await lab.service.undo(done.id))
            assert undone.state == "done", told(undone)
            assert undone.undo_of == done.id
            assert (await lab.service.changing.find_sync(done.id)).undone_by == undone.id
            back = await lab.diff(cluster)
            assert lab.row(back, "numpy").severity == "breaks"
            assert await cell(notebook, "client.gather(futures) == [n ** 2 for n in range(200)]")
            assert await cell(notebook, "counts('kept')") == [200, 0]
            for text in await cell(notebook, WORKERS_SEE):
                prefix, packages, _ = json.loads(text)
                assert prefix == str(remote.parent.parent)
                assert "numpy" not in packages
            # From a shell likewise: of what its own Python has, as much as was named.
            done = await shell("sync", "iniconfig", "--cluster", cluster)
            assert done.state == "done", told(done)
            assert [json.loads(text)[1].get("iniconfig") for text in await cell(notebook, WORKERS_SEE)] == (
                [version("iniconfig")] * 2
            )
            undone = await shell("undo", "--cluster", cluster)
            assert undone.state == "done", told(undone)
            assert {json.loads(text)[0] for text in await cell(notebook, WORKERS_SEE)} == {str(remote.parent.parent)}
            assert await cell(notebook, "client.gather(futures) == [n ** 2 for n in range(200)]")
            assert await cell(notebook, "client.gather(scattered) == list(range(5))")
            assert await cell(notebook, "counts('kept')") == [200, 0]

    with RemoteCluster(tmp_path / "remote", remote, workers=2, tls=tls) as attached:
        # A worker is ready when its scheduler knows it, which `attach` waits for.
        lab(body, {"k": (kernel, ("numpy",))}, Configuration(tls_roots=(str(tmp_path),)))


def test_a_managed_cluster_rolls_and_its_newcomers_start_in_the_layer(tmp_path):
    kernel = python_of("3.11", *TODAY, "numpy==2.4.6", "ipykernel")

    async def body(lab: Lab) -> None:
        made = await lab.service.clusters.create(ClusterCreate(workers=2, requirements=TODAY, python="3.11"))
        await lab.ready(made.id, 2)
        folder = cluster_dir(made.id)
        tls = {f"{name}_file": str(folder / f"{name}.pem") for name in ("ca", "cert", "key")}
        address = lab.service.clusters.get(made.id).scheduler.address
        with contextlib.closing(await asyncio.to_thread(Notebook, kernel, address, tls)) as notebook:
            await cell(
                notebook,
                COUNTS + "futures = client.map(pow, range(50), [2] * 50, key='kept')\nlen(client.gather(futures))",
            )
            plan = await lab.plan(made.id)
            assert plan.how == "roll", plan
            done = await lab.sync(plan)
            assert done.state == "done", told(done)
            assert lab.service.clusters.get(made.id).environment.layer == plan.layer
            assert await cell(notebook, "client.gather(futures) == [n ** 2 for n in range(50)]")
            assert await cell(notebook, "counts('kept')") == [50, 0]
            assert [w.restarts for w in lab.service.clusters.get(made.id).workers] == [0, 0]
            assert (await lab.plan(made.id)).how == "nothing"
            from coiled_jupyter.core.wire import ClusterChange

            await lab.service.clusters.change(made.id, ClusterChange(workers=3))
            await lab.ready(made.id, 3)
            seen = [json.loads(text) for text in await cell(notebook, WORKERS_SEE)]
            assert len(seen) == 3
            assert {packages.get("numpy") for _, packages, _ in seen} == {"2.4.6"}

    lab(body, {"k": (kernel, ("numpy",))})


def test_plans_are_used_once_and_not_when_the_world_has_changed(tmp_path):
    kernel = python_of("3.11", *TODAY, "numpy==2.4.6", "ipykernel")
    other = python_of("3.11", *TODAY, "numpy==2.4.6", "tabulate==0.9.0", "ipykernel")
    remote = python_of("3.11", *TODAY)

    async def body(lab: Lab) -> None:
        cluster = await lab.attach(attached)
        with pytest.raises(NotFound):
            await lab.service.sync("nonsense")
        plan = await lab.plan(cluster)
        with pytest.raises(NotFound):
            await lab.service.sync(plan.id, "somebody else")
        lab.pythons["k"] = (other, ("numpy",))
        with pytest.raises(Conflict) as stale:
            await lab.service.sync(plan.id)
        fresh = await lab.service.held_plan(stale.value.data["plan"])
        assert "tabulate" in {action.name for action in fresh.actions}
        with pytest.raises(NotFound):
            await lab.service.sync(plan.id)
        first, second = await asyncio.gather(
            lab.service.sync(fresh.id), lab.service.sync((await lab.plan(cluster)).id), return_exceptions=True
        )
        assert sorted(type(x).__name__ for x in (first, second)) == ["Conflict", "Sync"]
        running = first if not isinstance(first, Exception) else second
        await lab.service.cancel_sync(running.id)
        ended = await lab.ended(running)
        assert ended.state == "cancelled"
        assert (await lab.diff(cluster)).verdict == "breaks"
        with pytest.raises(NotFound):
            await lab.service.plan(PlanCreate(cluster=cluster, kernel="k", source=PlanFrom(layer="nonsense")))

    with RemoteCluster(tmp_path / "remote", remote, workers=2) as attached:
        lab(body, {"k": (kernel, ("numpy",))})


def test_what_has_no_nanny_is_refused_with_who_can(tmp_path):
    kernel = python_of("3.11", *TODAY, "numpy==2.4.6", "ipykernel")

    async def body(lab: Lab) -> None:
        cluster = await lab.attach(attached)
        plan = await lab.plan(cluster)
        assert plan.how == "refused"
        assert any("nanny" in action.why for action in plan.actions)
        with pytest.raises(Impossible):
            await lab.service.sync(plan.id)

    with RemoteCluster(tmp_path / "remote", python_of("3.11", *TODAY), workers=1, nannies=False) as attached:
        lab(body, {"k": (kernel, ("numpy",))})
