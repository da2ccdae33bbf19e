"""Syncs of real clusters under faults: each is done, or wholly back, or lost, and nothing is green that isn't so.

After each fault an independent reading, by fresh processes of the workers' own interpreters, is compared with the diff.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from uv import find_uv_bin

from coiled_jupyter import paths
from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.change.journal import FINAL
from coiled_jupyter.core.choice import ENDED
from coiled_jupyter.core.errors import CoiledError, Conflict, Impossible
from coiled_jupyter.core.wire import ClusterAttach, ClusterCreate, PlanFrom
from coiled_jupyter.ledger import Ledger
from coiled_jupyter.paths import cluster_dir
from coiled_jupyter.service.facade import Service
from tests.fakes import InterpreterKernels
from tests.index import Index, make_wheel
from tests.notebook import CellError, Notebook
from tests.patience import deadline
from tests.remote import RemoteCluster
from tests.supervisor.test_sync import COUNTS, TODAY, Lab, cell, lab, python_of, shell, told

FULL = pytest.mark.nightly
KERNEL = (*TODAY, "numpy==2.4.6", "ipykernel")
STEPS = ("building", "rolling", "verifying")
# What a worker's own interpreter has, as a fresh process of it reads it, with the files that are missing of each.
FRESH = """
import csv, importlib.metadata as m, json, os
found = {}
for d in m.distributions():
    name = d.metadata["Name"].lower().replace("_", "-").replace(".", "-")
    record = os.path.join(str(d._path), "RECORD")
    base = os.path.dirname(str(d._path))
    rows = list(csv.reader(open(record, encoding="utf-8", newline=""))) if os.path.exists(record) else [["no RECORD"]]
    gone = [r[0] for r in rows if r and not r[0].endswith(".pyc") and not os.path.exists(os.path.join(base, r[0]))]
    found[name] = [d.version, gone]
try:
    import numpy
    found["import numpy"] = [numpy.__version__, []]
except ImportError:
    pass
print(json.dumps(found))
"""
SEEN = """
import json
_seen = (
    "__import__('json').dumps([__import__('sys').executable, __import__('sys').prefix, "
    "getattr(__import__('sys').modules.get('numpy'), '__version__', None)])"
)
_answers = client.run(eval, _seen, on_error="ignore")
sorted(_answers.items())
"""


class Site:
    """One cluster with a user's client at it, and what is true of it."""

    def __init__(self, lab: Lab, cluster: str, notebook: Notebook, home: Path | None = None) -> None:
        self.lab, self.cluster, self.notebook, self.home = lab, cluster, notebook, home
        self.green = 0

    @property
    def service(self) -> Service:
        return self.lab.service

    async def truth(self) -> dict[str, dict[str, list]]:
        """Return by worker what a fresh process of its interpreter says."""
        workers = await cell(self.notebook, SEEN, 60)
        found: dict[str, dict[str, list]] = {}
        read: dict[str, dict[str, list]] = {}
        for address, text in workers:
            python, prefix, loaded = json.loads(text)
            assert Path(python).parent.parent == Path(prefix), (python, prefix)
            if python not in read:
                environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
                done = await asyncio.to_thread(
                    subprocess.run, [python, "-I", "-c", FRESH], capture_output=True, text=True, env=environ, timeout=60
                )
                assert done.returncode == 0, done.stderr
                read[python] = json.loads(done.stdout)
            found[address] = read[python]
            assert loaded is None or loaded == read[python]["numpy"][0], (loaded, read[python])
        return found

    async def check(self, sync: object = None) -> str:
        """See that a sync has ended in one of the allowed ways, and that what the diff calls the same is the same."""
        if sync is not None:
            assert sync.state in FINAL, told(sync)
            if sync.state in ("failed", "cancelled"):
                # Nothing was touched, or all of it is back as read from every worker.
                assert all(group.verified for group in sync.result.groups), told(sync)
        diff = await self.lab.diff(self.cluster)
        if sync is not None and sync.state == "lost":
            assert diff.verdict != "equal", told(sync)
        truth = await self.truth()
        groups = {group.id: group for group in await self.service.comparing.environments(cluster=self.cluster)}
        if not diff.unread:
            nodes = {node for group in groups.values() if group.role == "worker" for node in group.nodes}
            assert set(truth) <= nodes, (truth.keys(), nodes)
        for row in [row for row in diff.rows if not row.condition]:
            for side in row.groups:
                group = groups.get(side.group)
                if group is None or group.role != "worker":
                    continue
                for node in group.nodes:
                    has = truth.get(node, {}).get(row.name)
                    if node in truth and row.name != "python" and row.severity == "same" and row.kernel is not None:
                        self.green += 1
                        assert (has and has[0]) == side.version, (row, has)
                        assert not (has and has[1]), (row.name, has[1])
        states = {sync.state if sync else "", *({"numpy"} & set().union(*truth.values()) if truth else ())}
        if sync is not None and sync.state == "done" and sync.undo_of is None:
            assert all(has["numpy"] == has["import numpy"] == ["2.4.6", []] for has in truth.values()), states
        elif sync is not None and sync.state in ("failed", "cancelled"):
            assert not any("numpy" in has for has in truth.values()), (told(sync), truth.keys())
        self.quiet()
        return sync.state if sync else ""

    def quiet(self) -> None:
        """See that no build of a sync that has ended goes on, and that no layer is there that isn't complete."""
        if self.home is None:
            return
        end = deadline(10)
        while left := builders(self.home):
            assert time.monotonic() < end, [p.cmdline()[:3] for p in left]
            time.sleep(0.1)

    async def sync(self, fault=None, step: str = "rolling", **fields):
        """Run a sync with a fault at a step, and return how it ended."""
        plan = await self.lab.plan(self.cluster, **fields)
        assert plan.how == "roll", plan
        begun = await self.service.sync(plan.id)
        await self.lab.until(lambda: self.lab.reached(begun, step, *FINAL), 60)
        if fault is not None:
            await fault(begun)
        return await self.lab.ended(begun, 200)

    async def back(self, sync) -> None:
        """Bring the base state back, with a layer that has to be built again."""
        if sync.state == "done":
            undone = await self.lab.ended(await self.service.undo(sync.id))
            assert undone.state == "done", told(undone)
        if self.home is not None:
            emptied(self.home)

    def workers(self) -> list[psutil.Process]:
        return [process for process, _ in _processes(self.lab.attached)]

    def nannies(self) -> list[psutil.Process]:
        return [nanny for _, nanny in _processes(self.lab.attached)]

    def supervisor(self) -> int:
        return Ledger().get(self.cluster).pid


def _processes(attached: RemoteCluster) -> list[tuple[psutil.Process, psutil.Process]]:
    """Return each worker of a cluster with its nanny, by their processes."""
    found = []
    for program in attached.processes[1:]:
        with contextlib.suppress(psutil.Error):
            nanny = psutil.Process(program.pid)
            found += [(c, nanny) for c in nanny.children() if "spawn_main" in " ".join(c.cmdline())]
    return found


def emptied(home: Path) -> None:
    """Remove all layers; of one whose build has ended, its builder removes files at the same time."""
    for folder in home.iterdir() if home.exists() else ():
        while folder.is_dir() and not folder.name.startswith("."):
            shutil.rmtree(folder, ignore_errors=True)


def builders(home: Path) -> list[psutil.Process]:
    """Return the processes that build layers in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            if (
                process.status() != psutil.STATUS_ZOMBIE
                and (
                    any("Builds one layer" in word for word in words)
                    or (words and Path(words[0]).name == "uv" and any(str(home) in word for word in words))
                )
                and (str(home) in process.cwd() or any(str(home) in word for word in words))
            ):
                found.append(process)
    return found


@contextlib.contextmanager
def attached(
    folder: Path, workers: int = 2, *, base=TODAY, python: Path | None = None, cache: Path | None = None, **fields
):
    """Run somebody's cluster whose layers lie in a folder of its own."""
    cache = cache or folder / "cache"
    extra = {
        "XDG_CACHE_HOME": str(cache),
        # What files hold is the same whoever's cluster it is.
        "COILED_JUPYTER_CACHE_DIR": os.environ["COILED_JUPYTER_CACHE_DIR"],
        **fields.pop("extra", {}),
    }
    extra["UV_CACHE_DIR"] = subprocess.run(
        [find_uv_bin(), "cache", "dir"], capture_output=True, text=True
    ).stdout.strip()
    python = python or python_of("3.11", *base)
    with RemoteCluster(folder / "remote", python, workers=workers, extra=extra, **fields) as cluster:
        yield cluster, cache / "coiled-jupyter" / "layers"


@pytest.fixture(scope="module")
def _pair(tmp_path_factory):
    with attached(tmp_path_factory.mktemp("pair")) as found:
        yield found


@pytest.fixture
def pair(_pair):
    """Two workers, and the folder of their layers, which is empty; for tests that leave them in their base."""
    emptied(_pair[1])
    return _pair


def site(cluster: RemoteCluster, home: Path | None, body, kernel: Path | None = None, configuration=None) -> None:
    kernel = kernel or python_of("3.11", *KERNEL)

    async def go(lab: Lab) -> None:
        lab.attached = cluster
        made = await lab.attach(cluster)
        with contextlib.closing(await asyncio.to_thread(Notebook, kernel, cluster.address, cluster.tls)) as notebook:
            await cell(notebook, COUNTS)
            await body(Site(lab, made, notebook, home))

    lab(go, {"k": (kernel, ("numpy",))}, configuration)


async def values(site: Site, count: int = 40) -> None:
    await cell(
        site.notebook,
        f"futures = client.map(pow, range({count}), [2] * {count}, key='kept')\nlen(client.gather(futures))",
    )


async def all_there(site: Site, count: int = 40) -> None:
    assert await cell(site.notebook, f"client.gather(futures) == [n ** 2 for n in range({count})]")


# ---- faults -----------------------------------------------------------------------------------------------------


def cancel(site: Site):
    async def act(sync) -> None:
        with contextlib.suppress(Conflict, CoiledError):
            await site.service.cancel_sync(sync.id)

    return act


def kill_worker(site: Site):
    async def act(sync) -> None:
        with contextlib.suppress(psutil.Error, IndexError):
            site.workers()[-1].kill()

    return act


def kill_nanny(site: Site):
    async def act(sync) -> None:
        site.nannies()[-1].kill()

    return act


def kill_supervisor(site: Site):
    async def act(sync) -> None:
        os.kill(site.supervisor(), signal.SIGKILL)

    return act


def stopped(which: str, seconds: float):
    def fault(site: Site):
        async def act(sync) -> None:
            with contextlib.suppress(psutil.Error, IndexError):
                process = getattr(site, which)()[-1]
                process.suspend()
                await asyncio.sleep(seconds)
                process.resume()

        return act

    return fault


async def grown(site: Site, count: int) -> None:
    """See that the cluster has its workers again."""
    cluster = site.lab.attached
    alive = [p for p in cluster.processes[1:] if p.poll() is None]
    for number in range(count - len(alive)):
        cluster.add_worker(f"again-{time.monotonic_ns()}-{number}")
    await site.lab.until(lambda: len(site.service.clusters.get(site.cluster).workers) >= count)


def test_cancelled_at_every_step_the_old_state_is_back_and_nothing_goes_on(pair, nightly):
    async def body(site: Site) -> None:
        await values(site)
        counted = await cell(site.notebook, "counts('kept')")

        async def refused_and_cancelled(sync) -> None:
            # Whoever lets go of it now would leave it half moved.
            with pytest.raises(Conflict, match="sync of this cluster is running"):
                await site.service.clusters.delete(site.cluster)
            with pytest.raises(Conflict) as running:
                await site.lab.plan(site.cluster)
            assert running.value.data["sync"] == sync.id
            await cancel(site)(sync)

        # Each step is a layer that is built and left; while it is built and while workers move there is most to undo.
        for step in STEPS if nightly else ("building", "rolling"):
            if step == "rolling":
                # What runs is waited for, so that it doesn't end meanwhile.
                await cell(site.notebook, "import time\nslow = client.map(time.sleep, [6, 6.1])\nNone")
            ended = await site.sync(refused_and_cancelled if step == "rolling" else cancel(site), step)
            assert await site.check(ended) in ("cancelled", "done"), told(ended)
            assert step == "verifying" or ended.state == "cancelled", told(ended)
            await all_there(site)
            await site.back(ended)
        assert site.green > 0
        assert await cell(site.notebook, "counts('kept')") == counted

    site(*pair, body)


@pytest.mark.parametrize("times", [pytest.param(2, marks=FULL), pytest.param(20, marks=FULL)])
def test_cancelled_and_killed_at_random_moments_nothing_half_built_is_taken_for_complete(pair, times, seed):
    chance = random.Random(seed)

    async def body(site: Site) -> None:
        await values(site)
        for number in range(times):

            async def later(sync, number=number) -> None:
                await asyncio.sleep(chance.random() * (2.5 if number % 2 else 6))
                if number % 2:
                    # The installer, wherever it is by now.
                    for process in builders(site.home):
                        with contextlib.suppress(psutil.Error):
                            process.kill()
                else:
                    await cancel(site)(sync)

            ended = await site.sync(later, "building")
            assert await site.check(ended) in ("cancelled", "failed", "done"), told(ended)
            await all_there(site)
            await site.back(ended)
        last = await site.sync()
        assert await site.check(last) == "done", told(last)
        await site.back(last)

    site(*pair, body)


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        pytest.param(kill_worker, "building", marks=FULL),
        pytest.param(kill_worker, "rolling", marks=FULL),
        (kill_supervisor, "rolling"),
        pytest.param(kill_worker, "verifying", marks=FULL),
        pytest.param(kill_nanny, "building", marks=FULL),
        pytest.param(kill_nanny, "rolling", marks=FULL),
        pytest.param(kill_nanny, "verifying", marks=FULL),
        pytest.param(kill_supervisor, "building", marks=FULL),
        pytest.param(kill_supervisor, "verifying", marks=FULL),
        *(
            pytest.param(stopped(which, seconds), step, marks=FULL, id=f"stopped-{which}-{seconds}-{step}")
            for which in ("workers", "nannies")
            for seconds in (3, 20)
            for step in STEPS
        ),
    ],
)
def test_whatever_is_killed_or_stopped_nothing_is_green_that_is_not(tmp_path, fault, step):
    async def body(site: Site) -> None:
        ended = await site.sync(fault(site), step)
        await grown(site, 3)
        state = await site.check(ended)
        assert state in ("done", "failed", "lost"), told(ended)
        if fault is kill_supervisor and step == "rolling":
            assert state in ("failed", "done"), told(ended)
        # Whatever it was, the next one goes through.
        if state != "done":
            again = await site.sync()
            assert await site.check(again) == "done", told(again)

    with attached(tmp_path, 3) as (cluster, home):
        site(cluster, home, body)


# Of a real server in each run: tests/server/test_sync_faults.py.
@FULL
def test_a_server_that_ends_leaves_the_sync_to_its_supervisor_and_the_next_server_sees_it_done(tmp_path):
    async def body(site: Site) -> None:
        async def restarted(sync) -> None:
            await site.service.close()
            site.lab.service = Service(kernels=InterpreterKernels({"k": (python_of("3.11", *KERNEL), ("numpy",))}))
            await site.service.start()

        ended = await site.sync(restarted, "rolling")
        await site.lab.ready(site.cluster, 2)
        assert await site.check(ended) == "done", told(ended)

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


@pytest.mark.nightly
def test_a_supervisor_that_is_told_to_end_in_mid_roll_gives_the_workers_back_first(tmp_path):
    async def body(site: Site) -> None:
        await values(site)

        async def told_to_end(sync) -> None:
            # One worker is moved by then, or both, or none.
            os.kill(site.supervisor(), signal.SIGTERM)

        ended = await site.sync(told_to_end, "rolling")
        assert ended.state in ("cancelled", "done"), told(ended)
        await site.lab.until(lambda: site.service.clusters.get(site.cluster).status in ENDED)
        wanted = "2.4.6" if ended.state == "done" else None
        truth = await site.truth()
        assert len(truth) == 2
        assert {has.get("numpy", (None,))[0] for has in truth.values()} == {wanted}, told(ended)
        site.quiet()
        await all_there(site)
        assert (await site.service.comparing.diff(site.cluster, kernel="k")).verdict not in (
            "equal",
            "compatible",
            "risky",
        )

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


@pytest.mark.nightly
def test_a_scheduler_that_ends_leaves_a_sync_lost_and_nothing_green(tmp_path):
    async def body(site: Site) -> None:
        async def kill(sync) -> None:
            site.lab.attached.processes[0].kill()

        ended = await site.sync(kill, "rolling")
        assert ended.state == "lost", told(ended)
        diff = await site.service.comparing.diff(site.cluster, kernel="k")
        assert diff.verdict not in ("equal", "compatible", "risky"), diff.verdict

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


async def supervisor_killed(lab: Lab, cluster: str, step: str, **fields) -> None:
    """See that a managed cluster goes with its supervisor, and that its sync is lost."""
    plan = await lab.plan(cluster, **fields)
    begun = await lab.service.sync(plan.id)
    await lab.until(lambda: lab.reached(begun, step, *FINAL))
    os.kill(Ledger().get(cluster).pid, signal.SIGKILL)
    ended = await lab.ended(begun)
    assert ended.state == "lost", (told(ended), plan)
    await lab.until(lambda: lab.service.clusters.get(cluster).status == "lost")
    assert (await lab.service.comparing.diff(cluster, kernel="k")).verdict not in ("equal", "compatible", "risky")


@FULL
def test_a_managed_cluster_whose_supervisor_ends_while_it_builds_goes_with_it_and_its_sync_is_lost():
    async def body(lab: Lab) -> None:
        made = await lab.service.clusters.create(ClusterCreate(workers=1, requirements=TODAY, python="3.11"))
        await lab.ready(made.id, 1)
        await supervisor_killed(lab, made.id, "building")

    lab(body, {"k": (python_of("3.11", *KERNEL), ("numpy",))})


@FULL
def test_a_single_managed_worker_keeps_its_values_until_its_supervisor_is_killed():
    kernel = python_of("3.11", *KERNEL)

    async def body(lab: Lab) -> None:
        made = await lab.service.clusters.create(ClusterCreate(workers=1, requirements=TODAY, python="3.11"))
        await lab.ready(made.id, 1)
        tls = {f"{name}_file": str(cluster_dir(made.id) / f"{name}.pem") for name in ("ca", "cert", "key")}
        address = lab.service.clusters.get(made.id).scheduler.address
        with contextlib.closing(await asyncio.to_thread(Notebook, kernel, address, tls)) as notebook:
            await cell(notebook, COUNTS)
            here = Site(lab, made.id, notebook)
            await values(here)
            await cell(notebook, "scattered = client.scatter([1, 2, 3])\nlen(scattered)")
            assert (await lab.plan(made.id)).needs == ()
            ended = await here.sync(cancel(here), "rolling")
            assert await here.check(ended) in ("cancelled", "done"), told(ended)
            await lab.until(lambda: len(lab.service.clusters.get(made.id).workers) == 1)
            if ended.state != "done":
                ended = await here.sync()
                assert await here.check(ended) == "done", told(ended)
            await lab.until(lambda: len(lab.service.clusters.get(made.id).workers) == 1)
            await all_there(here)
            assert await cell(notebook, "client.gather(scattered)") == [1, 2, 3]
            assert await cell(notebook, "counts('kept')") == [40, 0]
            await supervisor_killed(lab, made.id, "rolling", source=PlanFrom(layer="base"))

    lab(body, {"k": (kernel, ("numpy",))})


# ---- layers that can't be ---------------------------------------------------------------------------------------


def test_a_package_that_does_not_import_there_is_found_before_any_worker_moves(tmp_path, pair):
    project = tmp_path / "acme"
    (project / "acme").mkdir(parents=True)
    (project / "acme" / "__init__.py").write_text("raise ImportError('libacme.so: cannot open shared object file')\n")
    (project / "pyproject.toml").write_text('[project]\nname = "acme"\nversion = "1.0"\n')
    kernel = python_of("3.11", *KERNEL, str(project))

    async def body(site: Site) -> None:
        await values(site)
        before = [worker.id for worker in site.service.clusters.get(site.cluster).workers]
        ended = await site.sync()
        assert await site.check(ended) == "failed", told(ended)
        assert "libacme.so" in ended.result.text, told(ended)
        assert [worker.id for worker in site.service.clusters.get(site.cluster).workers] == before
        await all_there(site)

    site(*pair, body, kernel)


@pytest.mark.nightly
def test_a_layer_is_made_again_where_it_was_damaged_and_known_again_where_its_cluster_was_let_go(pair, nightly):

    async def body(site: Site) -> None:
        await values(site)
        counted = await cell(site.notebook, "counts('kept')")
        first = await site.sync()
        assert await site.check(first) == "done", told(first)
        undone = await site.lab.ended(await site.service.undo(first.id))
        assert undone.state == "done", told(undone)
        (layer,) = (f for f in site.home.iterdir() if f.is_dir() and not f.name.startswith("."))
        (packages,) = layer.glob("lib/python*/site-packages")
        # A nanny would start a worker of a layer without distributed again and again.
        shutil.rmtree(packages / "distributed")
        second = await site.sync()
        assert await site.check(second) == "done", told(second)
        # Nobody can go back to a folder that isn't there, unless it's known how it was made.
        third = await site.lab.ended(await site.service.undo(second.id))
        assert third.state == "done", told(third)
        shutil.rmtree(layer)
        again = await site.lab.plan(site.cluster, source=PlanFrom(layer=second.layer))
        ended = await site.lab.sync(again)
        assert await site.check(ended) == "done", told(ended)
        await attached_again(site, counted)

    async def attached_again(site: Site, counted: list[int]) -> None:
        await site.service.clusters.delete(site.cluster)
        site.cluster = await site.lab.attach(site.lab.attached)
        await site.lab.until(lambda: site.service.clusters.get(site.cluster).environment.layer is not None)
        assert (await site.lab.plan(site.cluster)).how == "nothing"
        if nightly:
            # What is cancelled comes back to the layer, which the base would not be.
            site.lab.pythons["k"] = (python_of("3.11", *KERNEL, "tabulate==0.9.0"), ("numpy",))
            cancelled = await site.sync(cancel(site), "rolling")
            assert cancelled.state == "cancelled", told(cancelled)
            truth = await site.truth()
            assert {has["numpy"][0] for has in truth.values()} == {"2.4.6"}
            assert not any("tabulate" in has for has in truth.values())
        back = await site.lab.sync(await site.lab.plan(site.cluster, source=PlanFrom(layer="base")))
        assert back.state == "done", told(back)
        assert not any("numpy" in has for has in (await site.truth()).values())
        await all_there(site)
        assert await cell(site.notebook, "counts('kept')") == counted

    site(*pair, body)


@pytest.mark.nightly
def test_a_full_disk_fails_before_any_worker_moves_and_leaves_no_half_layer(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)], capture_output=True)
    if made.returncode:
        pytest.skip("only root can mount the small disk that this fills")

    async def body(site: Site) -> None:
        ended = await site.sync()
        assert await site.check(ended) == "failed", told(ended)
        assert "space" in ended.result.text, told(ended)
        assert not list(site.home.glob("*/coiled-jupyter.json"))

    try:
        with attached(tmp_path, cache=small) as (cluster, home):
            site(cluster, home, body)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


# ---- what the plan foresees, or the roll stops at -------------------------------------------------------------------


@pytest.mark.nightly
def test_what_can_not_move_is_in_the_plan_and_what_runs_too_long_stops_the_roll(tmp_path):
    async def body(site: Site) -> None:
        await values(site)
        await cell(
            site.notebook,
            "import tabulate\nclass_value = client.submit(getattr, tabulate, 'Line', key='needy')\nstr(class_value.status)",
        )
        await cell(site.notebook, "from distributed import wait\nwait(class_value, timeout=20)\nclass_value.status")
        # Not to be agreed to: what makes such a value again would end every worker that reads it.
        plan = await site.lab.plan(site.cluster, confirm=("lost_results",), scope="all", remove_extra=True)
        assert (plan.how, plan.rolls, plan.needs) == ("refused", (), ()), plan
        assert plan.actions[0].kind == "refuse"
        with pytest.raises(Impossible, match="tabulate, which the new environment doesn't have: release them first"):
            await site.service.sync(plan.id)
        await cell(site.notebook, "class_value.release()\ndel class_value\nNone")
        await asyncio.sleep(0.5)
        assert (await site.lab.plan(site.cluster)).needs == ()
        await cell(
            site.notebook,
            "class Counter:\n    n = 0\n    def add(self):\n        self.n += 1\n        return self.n\n"
            "actor = client.submit(Counter, actor=True).result(timeout=20)\nactor.add().result(timeout=20)",
        )
        plan = await site.lab.plan(site.cluster)
        assert plan.needs == ("lost_results",)
        assert "actors" in plan.lost.why
        await cell(site.notebook, "import gc\ndel actor\ngc.collect()\nNone")
        end = deadline(10)
        while (plan := await site.lab.plan(site.cluster)).needs:
            assert time.monotonic() < end, plan.lost
            await asyncio.sleep(0.3)
        # Whatever the load, it runs until it is told to end.
        ending = tmp_path / "ending"
        await cell(
            site.notebook,
            f"def held():\n    import os, time\n    while not os.path.exists({str(ending)!r}):\n        time.sleep(0.05)\n"
            "slow = client.submit(held, key='slow-1')\nNone",
        )
        await asyncio.sleep(0.3)
        ended = await site.sync(drain_seconds=1.0)
        assert await site.check(ended) == "failed", told(ended)
        assert "longer than 1 s" in ended.result.text
        ending.touch()
        await cell(site.notebook, "slow.result(timeout=30)")
        assert await cell(site.notebook, "counts('slow')") == [1, 0]
        assert await cell(site.notebook, "counts('kept')") == [40, 0]
        await all_there(site)

    kernel = python_of("3.11", *KERNEL, "tabulate==0.9.0")
    bare = python_of("3.11", *KERNEL)

    async def with_table(site: Site) -> None:
        site.lab.pythons["k"] = (bare, ("numpy",))
        await body(site)

    with attached(tmp_path, base=(*TODAY, "tabulate==0.9.0")) as (cluster, home):
        site(cluster, home, with_table, kernel)


@pytest.mark.nightly
def test_data_that_fits_nowhere_is_named_and_a_roll_that_meets_it_goes_back(tmp_path):
    big = (
        "from distributed import wait\nimport operator\n"
        "big = [client.submit(operator.mul, b'x', 50_000_000 + n, key=f'{P}-{n}', workers=[a]) "
        "for n, a in enumerate(list(client.scheduler_info()['workers']) * 2)]\n"
        "wait(big, timeout=30)\nNone"
    )

    async def body(site: Site) -> None:
        await cell(site.notebook, "P = 'big'\n" + big)
        plan = await site.lab.plan(site.cluster)
        assert plan.needs == ("lost_results",), plan
        assert "fit" in plan.lost.why
        assert plan.lost.futures >= 2
        await cell(site.notebook, "del big\nNone")
        end = deadline(20)
        while (plan := await site.lab.plan(site.cluster)).needs:
            assert time.monotonic() < end, plan.lost
            await asyncio.sleep(0.3)

        async def fill(sync) -> None:
            # While its builder is held the roll can't begin, however soon an environment is made.
            while not (held := builders(home)):
                assert await site.lab.reached(sync, "building")
                await asyncio.sleep(0)
            for process in held:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            assert await site.lab.reached(sync, "building")
            try:
                await cell(site.notebook, "P = 'late'\n" + big)
            finally:
                for process in held:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.resume()

        ended = await site.sync(fill, "building")
        assert await site.check(ended) == "failed", told(ended)
        assert "the others have no room for them. The old state is back" in ended.result.text
        assert await cell(site.notebook, "[f.status for f in big]") == ["finished"] * 4
        assert await cell(site.notebook, "counts('late')") == [4, 0]

    extra = {
        "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "false",
        "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "false",
    }
    with attached(tmp_path, extra=extra, arguments=("--memory-limit", "300MB")) as (cluster, home):
        site(cluster, home, body)


@pytest.mark.nightly
def test_a_single_worker_of_a_cluster_that_is_not_ours_asks_first_and_newcomers_join_the_layer(tmp_path):
    async def body(site: Site) -> None:
        await values(site, 5)
        plan = await site.lab.plan(site.cluster)
        assert plan.needs == ("lost_results",)
        with pytest.raises(Conflict):
            await site.service.sync(plan.id)

        async def joins(sync) -> None:
            site.lab.attached.add_worker("late")

        ended = await site.sync(joins, "rolling", confirm=("lost_results",))
        await site.lab.ready(site.cluster, 2)
        assert await site.check(ended) == "done", told(ended)

    with attached(tmp_path, 1) as (cluster, home):
        site(cluster, home, body)


@pytest.mark.nightly
def test_nannies_of_one_process_move_together_and_five_rolls_leave_nothing_suspicious(tmp_path):
    async def body(site: Site) -> None:
        await values(site)
        await cell(site.notebook, "scattered = client.scatter([1, 2, 3])\nlen(scattered)")
        ended = None
        for number in range(5):
            if number == 3:
                ended = await shell("undo", "--cluster", site.cluster)
            elif number == 1:
                ended = await site.lab.ended(await site.service.undo(ended.id))
            else:
                ended = await site.sync()
            assert ended.state == "done", told(ended)
            await all_there(site)
            assert await cell(site.notebook, "client.gather(scattered)") == [1, 2, 3]
        assert await site.check(ended) == "done", told(ended)
        assert await cell(site.notebook, "counts('')[1]") == 0
        assert await cell(site.notebook, "counts('kept')") == [40, 0]

    with attached(tmp_path, 1, arguments=("--nworkers", "2")) as (cluster, home):
        site(cluster, home, body)


def test_a_notebooks_own_local_cluster_is_refused_with_the_reason(tmp_path):
    program = (
        "from distributed import LocalCluster\nimport sys\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)\n"
        "    print(cluster.scheduler_address, flush=True)\n    sys.stdin.read()\n"
    )
    script = tmp_path / "own.py"
    script.write_text(program)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DASK"))}
    own = subprocess.Popen(
        [str(python_of("3.11", *TODAY)), str(script)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd=tmp_path,
    )  # fmt: skip

    async def body(lab: Lab) -> None:
        made = await lab.service.clusters.attach(ClusterAttach(address=own.stdout.readline().strip()))
        await lab.ready(made.id, 2)
        plan = await lab.plan(made.id)
        assert plan.how == "refused", plan
        assert any("shares a process with the scheduler" in action.why for action in plan.actions)

    try:
        lab(body, {"k": (python_of("3.11", *KERNEL), ("numpy",))})
    finally:
        own.stdin.close()
        own.wait(20)
        own.stdout.close()


@contextlib.contextmanager
def read_only(top: Path, at: Path):
    """Give a folder under another name where not even root can write; where that can't be mounted, the folder itself."""
    at.mkdir()
    mounted = subprocess.run(["mount", "--bind", str(top), str(at)], capture_output=True).returncode == 0
    try:
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(at)], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (at / "written").touch()
        yield at if mounted else top
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.mark.nightly
def test_groups_with_different_starts_end_alike_and_the_base_is_never_written(tmp_path):
    other = python_of("3.11", *TODAY, "numpy==2.4.6")
    base = python_of("3.11", *TODAY)

    def files(python: Path) -> set[tuple[str, int, int, bytes]]:
        top = python.parent.parent
        # The caches of bytecode belong to the processes that started from there before.
        found = [p for p in top.rglob("*") if "__pycache__" not in p.parts and p.is_file() and not p.is_symlink()]
        return {
            (str(p), p.stat().st_size, p.stat().st_mtime_ns, hashlib.blake2b(p.read_bytes()).digest()) for p in found
        }

    async def body(site: Site) -> None:
        cluster = site.lab.attached
        # One that has all already, one that has none of it.
        cluster.add_worker("other", python=other)
        await site.lab.ready(site.cluster, 2)
        await values(site)
        before = files(base), files(other)
        ended = await site.sync()
        assert await site.check(ended) == "done", told(ended)
        await all_there(site)
        undone = await shell("undo", "--cluster", site.cluster)
        assert await site.check(undone) == "done", told(undone)
        await all_there(site)
        assert (files(base), files(other)) == before

    with (
        read_only(base.parent.parent, tmp_path / "base") as top,
        attached(tmp_path, 1, python=top / "bin" / "python") as (cluster, home),
    ):
        site(cluster, home, body)


@pytest.mark.nightly
def test_a_plan_holds_while_only_time_passes_and_not_when_packages_change(tmp_path):
    async def body(site: Site) -> None:
        plan = await site.lab.plan(site.cluster)
        # Whose files are looked at, what runs, who has just joined: none of it is what the plan rests on.
        await values(site)
        site.lab.attached.add_worker("late")
        await site.lab.ready(site.cluster, 3)
        assert (await site.lab.plan(site.cluster)).digest == plan.digest
        running = await cell(site.notebook, "import time\nslow = client.map(time.sleep, [2, 2.1, 2.2])\nNone")
        assert running is None
        assert (await site.lab.plan(site.cluster)).digest == plan.digest
        await site.lab.diff(site.cluster)
        assert (await site.lab.plan(site.cluster)).digest == plan.digest
        site.lab.attached.add_worker("other", python=python_of("3.11", *TODAY, "tabulate==0.9.0"))
        await site.lab.ready(site.cluster, 4)
        await site.lab.until(lambda: site.service.clusters.get(site.cluster).other_clients)
        other = await site.lab.plan(site.cluster)
        assert other.digest != plan.digest
        # Whose results are in its workers is told, also where none is lost.
        assert len(other.others) == 1, other.others

    with attached(tmp_path) as (cluster, home):
        site(cluster, home, body)


# ---- where packages come from -------------------------------------------------------------------------------------


def environment_with(folder: Path, wheels: Path, *names: str) -> Path:
    """Return the Python of a new environment that has, beside today's Dask, packages of ours as if from an index."""
    python, uv = folder / "bin" / "python", find_uv_bin()
    subprocess.run([uv, "venv", "-q", "--python", str(python_of("3.11", *TODAY)), str(folder)], check=True)
    links = ("--find-links", str(wheels))
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", str(python), *links, *TODAY, "numpy==2.4.6", *names], check=True
    )
    return python


def _program(line: bytes) -> str:
    return Path(line.split(b"\0")[0].decode(errors="replace")).name


class Watch(threading.Thread):
    """Looks all the time for a secret among the arguments and variables of all processes."""

    def __init__(self, secret: str) -> None:
        super().__init__(daemon=True)
        self._secret, self._end = secret.encode(), threading.Event()
        self.arguments: set[str] = set()
        self.variables: set[str] = set()

    def run(self) -> None:
        while not self._end.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    line = (folder / "cmdline").read_bytes()
                    if self._secret in line:
                        self.arguments.add(line.decode(errors="replace"))
                    if self._secret in (folder / "environ").read_bytes():
                        parent = Path("/proc", (folder / "stat").read_text().rpartition(")")[2].split()[1])
                        names = [_program(line), _program((parent / "cmdline").read_bytes())]
                        # A uv asks the Python of its environment what it is.
                        self.variables.add("uv" if "uv" in names else " of ".join(names))

    def close(self) -> None:
        self._end.set()
        self.join()


@pytest.mark.nightly
def test_credentials_of_an_index_cross_only_where_that_was_agreed_and_reach_the_installer_alone(tmp_path, caplog):
    caplog.set_level("DEBUG")
    # No other test's, which may run beside this one.
    secret = f"hunter2-{secrets.token_hex(8)}"
    make_wheel(tmp_path / "wheels", "cj_private")
    index = Index(tmp_path / "wheels", f"someone:{secret}", pause=0.3)
    kernel = environment_with(tmp_path / "kernel", tmp_path / "wheels", "cj-private")
    shown: list[object] = []

    async def body(site: Site) -> None:
        plan = await site.lab.plan(site.cluster)
        assert (plan.how, plan.needs) == ("roll", ("plain_connection",)), plan
        with pytest.raises(Conflict, match="unencrypted") as refused:
            await site.service.sync(plan.id)
        assert not site.home.exists()
        local = index.asked
        assert local, "it was resolved here, where the credentials are"
        ended = await site.sync(confirm=("plain_connection",))
        assert await site.check(ended) == "done", told(ended)
        assert index.asked > local, "the node's installer asked it too"
        shown.extend((plan, refused.value.to_wire(), ended, await site.lab.diff(site.cluster)))
        shown.extend(
            (await site.service.changing.syncs(), await site.service.changing.layers(), site.service.clusters.all())
        )
        undone = await site.lab.ended(await site.service.undo(ended.id))
        shown.append(undone)
        assert undone.state == "done", told(undone)
        kept = [*site.home.parent.parent.rglob("*"), *paths.runtime_dir().rglob("*"), *cluster.folder.rglob("*")]
        for path in kept:
            if path.is_file() and path.stat().st_size < 1 << 22:
                assert secret.encode() not in path.read_bytes(), path
        shown.append(await site.service.changing.syncs())

    watch = Watch(secret)
    watch.start()
    try:
        extra = {"DASK_LOGGING__DISTRIBUTED": "debug"}
        with attached(tmp_path, extra=extra) as (cluster, home):
            options = ("--index", index.url)
            site(cluster, home, body, kernel, Configuration(index_options=options))
    finally:
        watch.close()
        index.stop()
    assert not watch.arguments
    assert watch.variables == {"uv"}
    assert secret.encode() not in msgspec.json.encode(shown)
    assert secret not in repr(shown) + caplog.text


def on_another_host() -> tuple[str, ...]:
    """Return what starts a program that believes itself on another host; skips where no such namespace can be made."""
    below = (
        "unshare",
        *(() if os.geteuid() == 0 else ("-r",)),
        "--uts",
        "sh",
        "-c",
        'hostname elsewhere; exec "$@"',
        "sh",
    )
    try:
        tried = subprocess.run([*below, "uname", "-n"], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        tried = ""
    if tried != "elsewhere":
        pytest.skip("no namespace can be made here in which a node has another name")
    return below


@pytest.mark.nightly
@pytest.mark.parametrize("tls", [True, pytest.param(False, marks=FULL)], ids=["ours-over-tls", "pip"])
def test_a_node_without_uv_gets_ours_over_tls_or_uses_its_own_pip(tmp_path, tls):
    base = TODAY if tls else (*TODAY, "pip")

    async def body(site: Site) -> None:
        await values(site)
        ended = await site.sync()
        assert await site.check(ended) == "done", told(ended)
        await all_there(site)
        assert {group.host for group in ended.result.groups} == {"elsewhere"}
        sent = list(site.home.glob(".files/*/uv"))
        if tls:
            assert "Sending uv to elsewhere" in ended.log.lines
            assert [path.read_bytes() for path in sent] == [Path(find_uv_bin()).read_bytes()]
        else:
            assert any("Successfully installed" in line for line in ended.log.lines), told(ended)
            assert not sent

    # No uv is on the PATH of such a node.
    fields = {"below": on_another_host(), "extra": {"PATH": "/usr/bin:/bin"}, "tls": tls, "base": base}
    with attached(tmp_path, **fields) as (cluster, home):
        site(cluster, home, body, configuration=Configuration(tls_roots=(str(tmp_path),)))


# ---- a cluster that starts anew -----------------------------------------------------------------------------------

BEFORE = ("distributed==2026.7.0", "dask==2026.7.0")
BREAKS = "import sys; sys.modules['dask'] = None\n"
BREAKS_LATER = "import os, sys; 'rehearsal' in os.getcwd() or sys.modules.__setitem__('dask', None)\n"


@pytest.mark.nightly
def test_a_replacement_that_can_not_be_never_leaves_a_cluster_between_two_environments(tmp_path, nightly):
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "cj_dead", {"cj_dead.py": "", "cj_dead.pth": BREAKS})
    make_wheel(wheels, "cj_late", {"cj_late.py": "", "cj_late.pth": BREAKS_LATER})
    kernels = {
        "good": (python_of("3.11", *KERNEL), ("numpy",)),
        "more": (python_of("3.11", *KERNEL, "tabulate==0.9.0"), ("numpy",)),
        "dead": (environment_with(tmp_path / "dead", wheels, "cj-dead"), ("numpy",)),
    }
    steps = ("Restart the cluster",)
    if nightly:
        kernels["late"] = (environment_with(tmp_path / "late", wheels, "cj-late"), ("numpy",))
        steps = ("Build the environment", "Test start", *steps, "Verify")

    async def body(lab: Lab) -> None:
        made = await lab.service.clusters.create(
            # Another release of Dask changes only with the scheduler's restart; sealed graphs would spare it numpy.
            ClusterCreate(workers=2, requirements=(*BEFORE, *TODAY[2:], "numpy==1.26.4"), python="3.11")
        )
        await lab.ready(made.id, 2)
        before = lab.service.clusters.get(made.id)
        tls = {f"{name}_file": str(cluster_dir(made.id) / f"{name}.pem") for name in ("ca", "cert", "key")}

        async def at(step: str, begun) -> bool:
            sync = await lab.service.changing.find_sync(begun.id)
            # Of a step that takes no time, since its environment is there, only the end may be seen.
            return sync.state in FINAL or any(s.name == step and s.state != "waiting" for s in sync.steps)

        async def replace(kernel: str, fault=None, step: str = ""):
            plan = await lab.plan(made.id, kernel, remove_extra=True, confirm=("lost_results",))
            assert plan.how == "replace", plan
            begun = await lab.service.sync(plan.id)
            if fault is not None:
                await lab.until(lambda: at(step, begun))
                await fault(begun)
            return await lab.ended(begun)

        async def as_before(ended) -> None:
            """See that the old cluster runs, at the same address, and that the same client works."""
            assert all(group.verified for group in ended.result.groups), told(ended)
            await lab.ready(made.id, 2)
            present = lab.service.clusters.get(made.id)
            assert present.scheduler.address == before.scheduler.address
            assert present.environment.prefix == before.environment.prefix
            assert present.environment.layer == rolled.layer
            assert await cell(notebook, "client.submit(pow, 2, 3, pure=False).result(timeout=30)") == 8
            diff = await lab.diff(made.id, "good")
            assert lab.row(diff, "numpy").severity == "breaks", lab.row(diff, "numpy")
            see = "sorted(set(client.run(eval, \"__import__('numpy').__version__ + __import__('tabulate').__version__\").values()))"
            assert await cell(notebook, see) == ["1.26.40.9.0"]

        async def cancelled(sync) -> None:
            with contextlib.suppress(Conflict):
                await lab.service.cancel_sync(sync.id)

        kernel = kernels["good"][0]
        with contextlib.closing(await asyncio.to_thread(Notebook, kernel, before.scheduler.address, tls)) as notebook:
            await cell(
                notebook,
                "import numpy as np\ntry_it = lambda: client.submit(np.sum, np.arange(4), pure=False).result(timeout=30).item()\nNone",
            )
            with pytest.raises(CellError):
                await cell(notebook, "try_it()")
            # Its workers are in a layer, which is what everything has to come back to.
            rolled = await lab.sync(await lab.plan(made.id, "more", scope=("tabulate",)))
            assert rolled.state == "done", told(rolled)
            workers = [worker.id for worker in lab.service.clusters.get(made.id).workers]
            await cell(notebook, "kept = client.map(pow, range(5), [2] * 5)\nlen(client.gather(kept))")
            ended = await replace("dead")
            assert (ended.state, ended.steps[1].state) == ("failed", "failed"), told(ended)
            assert "new environment" in ended.result.text
            # It was seen beside the cluster, of which nothing was touched.
            assert [w.id for w in lab.service.clusters.get(made.id).workers] == workers
            assert await cell(notebook, "client.gather(kept)") == [0, 1, 4, 9, 16]
            await as_before(ended)
            if nightly:
                ended = await replace("late")
                assert (ended.state, ended.steps[2].state) == ("failed", "failed"), told(ended)
                await as_before(ended)
            for step in steps:
                ended = await replace("good", cancelled, step)
                if ended.state == "done":
                    # It was verified before it heard of that: the base is where it began.
                    assert step == "Verify", told(ended)
                    back = await lab.plan(made.id, "good", source=PlanFrom(layer="base"), confirm=("lost_results",))
                    assert back.how == "replace", back
                    ended = await lab.sync(back)
                    assert ended.state == "done", told(ended)
                    assert lab.service.clusters.get(made.id).environment.prefix == before.environment.prefix
                else:
                    assert ended.state == "cancelled", told(ended)
                    await as_before(ended)
            # And now as it should be: it asks first, and the same client goes on at the same address.
            await cell(notebook, "kept = client.map(pow, range(5), [2] * 5)\nlen(client.gather(kept))")
            asked = await lab.plan(made.id, "good")
            assert (asked.how, asked.needs, asked.lost.futures) == ("replace", ("lost_results",), 5)
            with pytest.raises(Conflict):
                await lab.service.sync(asked.id)
            ended = await replace("good")
            assert ended.state == "done", told(ended)
            await lab.ready(made.id, 2)
            assert lab.service.clusters.get(made.id).scheduler.address == before.scheduler.address
            assert await cell(notebook, "try_it()") == 6
            after = await lab.diff(made.id, "good")
            # The notebook's own tools stay with it.
            assert after.verdict == "compatible", after.verdict
            assert [row.name for row in after.rows if row.severity != "same"] == []
            # What is rolled on it is undone without a loss.
            more = await lab.sync(await lab.plan(made.id, "more", scope=("tabulate",)))
            assert more.state == "done", told(more)
            await cell(notebook, "kept = client.map(pow, range(5), [2] * 5)\nlen(client.gather(kept))")
            undone = await lab.ended(await lab.service.undo(more.id))
            assert undone.state == "done", told(undone)
            assert await cell(notebook, "client.gather(kept)") == [0, 1, 4, 9, 16]
            assert lab.service.clusters.get(made.id).environment.layer == ended.layer
            # What undoes the replacement is one too, and leads into the layer that there was before.
            with pytest.raises(Conflict, match="lose results"):
                await lab.service.undo(ended.id)
            undo = await lab.plan(made.id, "good", source=PlanFrom(layer=rolled.layer), confirm=("lost_results",))
            assert undo.how == "replace", undo
            assert {(a.name, a.after) for a in undo.actions} >= {("numpy", "1.26.4"), ("tabulate", "0.9.0")}
            back = await lab.sync(undo)
            assert back.state == "done", told(back)
            assert {group.role for group in back.result.groups} == {"scheduler", "worker"}
            await as_before(back)
            # The cluster goes with its supervisor in the middle of the next one.
            again = await lab.plan(made.id, "good", confirm=("lost_results",))
            assert again.how == "replace", again
            begun = await lab.service.sync(again.id)
            await lab.until(lambda: at("Restart the cluster", begun))
            os.kill(Ledger().get(made.id).pid, signal.SIGKILL)
            ended = await lab.ended(begun)
            assert ended.state == "lost", told(ended)
            await lab.until(lambda: lab.service.clusters.get(made.id).status == "lost")
            assert (await lab.service.comparing.diff(made.id, kernel="good")).verdict not in (
                "equal",
                "compatible",
                "risky",
            )

    lab(body, kernels, Configuration(index_options=("--find-links", str(wheels))))
