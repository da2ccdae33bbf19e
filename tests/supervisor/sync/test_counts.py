"""How often each task runs while its cluster is synced, by the tasks' own traces: each appends a line to a file."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from coiled_jupyter.core.wire import AdaptiveRequest, ClusterChange, ClusterCreate
from coiled_jupyter.paths import cluster_dir
from tests.environments import environment, interpreters
from tests.notebook import Notebook
from tests.remote import RemoteCluster
from tests.supervisor.test_sync import OLD, TODAY, Lab, cell, lab, told

FULL = pytest.mark.nightly
SCOPE = ("tabulate",)
"""What a sync brings, so that workers move to a layer in which all else is as it was."""
BASES = {
    "today": ("3.11", TODAY, ("numpy==2.4.6",)),
    "today with dataframes": ("3.11", TODAY, ("numpy==2.4.6", "pandas==2.3.3", "pyarrow==21.0.0")),
    "2024.5": (
        "3.11",
        (
            *("distributed==2024.5.0", "dask==2024.5.0", "dask-expr==1.1.0", "cloudpickle==3.0.0", "msgpack==1.0.8"),
            "tornado==6.5.10",
        ),
        ("numpy==1.26.4", "pandas==2.2.3", "pyarrow==16.1.0"),
    ),
    # Its shuffles fail with newer ones of pandas or pyarrow, synced or not.
    "2023.5": ("3.10", OLD, ("numpy==1.24.4", "pandas==1.5.3", "pyarrow==11.0.0")),
}
"""By generation: Python, Dask, and what the tasks need besides."""
PRELUDE = """
import os, threading, time
import dask, distributed
from distributed import Event, Lock, Queue, Variable, as_completed, worker_client
dask.config.set({"dataframe.convert-string": False})
if dask.__version__ < "2025":
    dask.config.set({"dataframe.query-planning": False})
FOLDER = %r
PARTS = 12

def part(name, seconds=0.3):
    with open(os.path.join(FOLDER, "trace"), "a") as stream:
        stream.write(name + "\\n")
    time.sleep(seconds)

def until_rolling():
    # What waits for it goes on when workers are about to move.
    while not os.path.exists(os.path.join(FOLDER, "rolling")):
        time.sleep(0.02)

def shuffles():
    text = (
        "(lambda s: len(getattr(p := (s.plugins.get('shuffle') or s.extensions['shuffle']), 'active_shuffles', None)"
        " or getattr(p, 'states', None) or ()))(list(__import__('distributed').Scheduler._instances)[0])"
    )
    return client.run_on_scheduler(eval, text)

def background(work):
    def run():
        try:
            values[place] = work()
        except BaseException as error:
            values[place] = repr(error)
    place = len(values)
    values.append(None)
    threads.append(threading.Thread(target=run))
    threads[-1].start()

threads, values = [], []
"""
ARRAY = """
import numpy as np
import dask.array as da

def row(i, gate):
    part("%(name)s-%%d" %% i)
    return np.ones((1, 6))

gate = dask.delayed(until_rolling)()
rows = [da.from_delayed(dask.delayed(row)(i, i > 4 and gate), (1, 6), float) for i in range(PARTS)]
# Else today's Dask puts small chunks together before it shuffles them.
ones = da.concatenate(rows).rechunk((PARTS, 1), block_size_limit=8, method=%(method)r)
background(lambda: float(ones.sum().compute()))
None"""
FRAME = """
import pandas as pd
import dask.dataframe as dd

def frame(i, gate):
    part("%(name)s-%%d" %% i)
    return pd.DataFrame({"a": range(i * 10, i * 10 + 10), "b": [i] * 10})

def same(frame):
    return frame

gate = dask.delayed(until_rolling)()
meta = pd.DataFrame({"a": [1], "b": [1]})
frames = [dask.delayed(frame)(i, i > 4 and gate) for i in range(PARTS)]
how = {("shuffle_method" if distributed.__version__ >= "2024.1" else "shuffle"): %(method)r}
moved = dd.from_delayed(frames, meta=meta, verify_meta=False).shuffle("a", **how)
background(lambda: float(moved.map_partitions(same, meta=meta)["b"].sum().compute()))
None"""
COORDINATED = """
def locked(i):
    with Lock("only-one"):
        part("lock-%d" % i, 0.1)
        if i == 2:
            until_rolling()
    Queue("done").put(i)
    return i

def waits():
    part("event-0", 0)
    Event("all").wait()
    return Variable("total").get()

def leads(i):
    part("leads-%d" % i, 0)
    with worker_client() as own:
        until_rolling()
        return sum(own.gather([own.submit(pow, n, 2, key="led-%d-%d" % (i, n)) for n in range(4)]))

def run():
    waiting = client.submit(waits, key="waits")
    leading = [client.submit(leads, i, key="leads-%d" % i) for i in range(3)]
    seen = as_completed([client.submit(locked, i, key="locked-%d" % i) for i in range(6)])
    total = 0
    for future in seen:
        total += future.result()
        if future.key == "locked-3":
            for i in range(6, 12):
                seen.add(client.submit(locked, i, key="locked-%d" % i))
    Variable("total").set(total)
    Event("all").set()
    queue = Queue("done")
    return [waiting.result(), sum(client.gather(leading)), sorted(queue.get() for _ in range(queue.qsize()))]

background(run)
None"""
SPILLED = """
def large(i):
    import os
    part("large-%d" % i, 0)
    return os.urandom(6 << 20)

large_ones = [client.submit(large, i, key="large-%d" % i) for i in range(PARTS)]
sizes = client.map(len, large_ones, key=["size-%d" % i for i in range(PARTS)])
background(lambda: float(sum(client.gather(sizes))))
None"""
SHUFFLES = {
    "array-p2p": ARRAY % {"name": "array-p2p", "method": "p2p"},
    "array-tasks": ARRAY % {"name": "array-tasks", "method": "tasks"},
    "frame-p2p": FRAME % {"name": "frame-p2p", "method": "p2p"},
    "frame-tasks": FRAME % {"name": "frame-tasks", "method": "tasks"},
}
STREAM = """
def step(i, before):
    part("step-%d" % i, 0.2)
    return i + before

def stream():
    value = 0
    for i in range(24):
        value = client.submit(step, i, value, key="step-%d" % i).result()
        if i == 2:
            client.submit(until_rolling, key="gate", pure=False).result()
    return value

background(stream)
None"""
WIDE = """
def wide(i):
    part("wide-%d" % i, 0.3)
    return i

background(lambda: sum(client.gather(client.map(wide, range(40), key=["wide-%d" % i for i in range(40)]))))
None"""
REPEATED = """
import numpy as np
import dask.array as da

def short(i, run):
    part("run%d-%d" % (run, i), 0.05)
    return np.ones((1, 6))

def repeat():
    runs = 0
    while not os.path.exists(os.path.join(FOLDER, "enough")):
        rows = [da.from_delayed(dask.delayed(short)(i, runs), (1, 6), float) for i in range(6)]
        da.concatenate(rows).rechunk((6, 1), block_size_limit=8, method="p2p").sum().compute()
        runs += 1
        time.sleep(0.3)
    return runs

background(repeat)
None"""
SUMS = {"array-p2p": 72.0, "array-tasks": 72.0, "frame-p2p": 660.0, "frame-tasks": 660.0}


class Counting:
    """A cluster of somebody's with a notebook at it, whose tasks leave traces."""

    def __init__(self, lab: Lab, cluster: str, attached: RemoteCluster, notebook: Notebook, folder: Path) -> None:
        self.lab, self.cluster, self.attached, self.notebook, self.folder = lab, cluster, attached, notebook, folder

    async def cell(self, code: str):
        return await cell(self.notebook, code, 120)

    async def begin(self, *works: str, shuffle: bool = False) -> None:
        """Begin some works, the first of them a shuffle or not, each when the one before is well under way."""
        for name in ("trace", "rolling"):
            (self.folder / name).unlink(missing_ok=True)
        await self.cell("threads.clear()\nvalues.clear()")
        for work in works:
            begun = self.traced().total()
            await self.cell(work)
            await self.lab.until(lambda begun=begun: self.traced().total() > begun + 1, what=self.traced)
            if shuffle and work is works[0]:
                await self.lab.until(self.shuffling, what=lambda: "a shuffle")

    async def shuffling(self) -> bool:
        return await self.cell("shuffles()") > 0

    def traced(self) -> Counter[str]:
        with contextlib.suppress(FileNotFoundError):
            return Counter((self.folder / "trace").read_text().split())
        return Counter()

    async def moved(self, begun, meanwhile=None):
        """Let the work go on when workers are about to move; return how the sync ended."""
        await self.lab.until(
            lambda: self.lab.reached(begun, "rolling", "verifying", "failed", "cancelled", "lost", "done")
        )
        (self.folder / "rolling").touch()
        if meanwhile is not None:
            await meanwhile()
        return await self.lab.ended(begun, 240)

    async def forth(self, meanwhile=None, **fields):
        plan = await self.lab.plan(self.cluster, scope=SCOPE, **fields)
        assert plan.how == "roll", plan
        return plan, await self.moved(await self.lab.service.sync(plan.id), meanwhile)

    async def back(self, sync, meanwhile=None):
        return await self.moved(await self.lab.service.undo(sync.id), meanwhile)

    async def results(self) -> list:
        """Return what the works came to."""
        await self.lab.until(lambda: self.cell("not any(it.is_alive() for it in threads)"), 120, what=self.traced)
        return await self.cell("values")

    def once(self, **expected: int) -> None:
        """See that so many tasks of each kind ran, each of them once."""
        traced = self.traced()
        assert {name: count for name, count in traced.items() if count != 1} == {}
        assert Counter(name.rpartition("-")[0] for name in traced) == expected


def counting(folder: Path, generation: str, body, *, workers: int = 2, **fields) -> None:
    minor, base, data = BASES[generation]
    python = environment(interpreters()[minor], *base, *data)
    # A small one, which is read fast: nothing but tabulate comes from it.
    kernel = environment(interpreters()[minor], *base, "tabulate==0.9.0")
    extra = {"DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "0.03", "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "0.9"}
    arguments = ("--nthreads", "2", "--memory-limit", "1GB")
    (folder / "traces").mkdir()

    async def go(lab: Lab) -> None:
        cluster = await lab.attach(attached)
        with contextlib.closing(await asyncio.to_thread(Notebook, python, attached.address)) as notebook:
            await cell(notebook, PRELUDE % str(folder / "traces") + "None")
            await body(Counting(lab, cluster, attached, notebook, folder / "traces"))

    with RemoteCluster(
        folder / "remote", python, workers=workers, extra=extra, arguments=arguments, **fields
    ) as attached:
        lab(go, {"k": (kernel, ("tabulate",))})


def test_no_task_of_a_shuffle_under_way_or_under_a_lock_runs_twice(tmp_path):
    async def body(on: Counting) -> None:
        await on.begin(SHUFFLES["array-p2p"], COORDINATED, shuffle=True)
        plan, done = await on.forth()
        assert any("2 workers take part in a shuffle" in text for text in plan.waits), plan.waits
        assert done.state == "done", told(done)
        assert any("a shuffle on 2 workers has to end first" in line for line in done.log.lines), told(done)
        assert await on.results() == [SUMS["array-p2p"], [66, 42, list(range(12))]]
        on.once(**{"array-p2p": 12}, lock=12, event=1, leads=3)

    counting(tmp_path, "today", body)


@pytest.mark.parametrize("generation", [pytest.param(name, marks=FULL) for name in BASES if name != "today"])
def test_no_task_runs_twice_whatever_is_under_way(tmp_path, generation):
    async def body(on: Counting) -> None:
        done = None
        for name, work in SHUFFLES.items():
            await on.begin(work, shuffle="p2p" in name)
            done = (await on.forth())[1] if done is None else await on.back(done)
            assert done.state == "done", (name, told(done))
            assert await on.results() == [SUMS[name]], name
            on.once(**{name: 12})
            done = done if done.undo_of is None else None
        await on.begin(COORDINATED)
        _, done = await on.forth()
        assert done.state == "done", told(done)
        assert await on.results() == [[66, 42, list(range(12))]]
        on.once(lock=12, event=1, leads=3)
        await on.begin(SPILLED)
        (on.folder / "rolling").touch()
        assert await on.results() == [float(12 * (6 << 20))]
        spilled = (
            "sum(w.memory.spilled for w in list(__import__('distributed').Scheduler._instances)[0].workers.values())"
        )
        await on.lab.until(lambda: on.cell(f"client.run_on_scheduler(eval, {spilled!r})"), what=lambda: "spilled data")
        back = await on.back(done)
        assert back.state == "done", told(back)
        assert await on.cell("sum(client.gather(client.map(len, large_ones)))") == 12 * (6 << 20)
        on.once(large=12)

    counting(tmp_path, generation, body)


@FULL
@pytest.mark.parametrize("generation", ["today", "2023.5"])
def test_a_shuffle_that_takes_too_long_fails_the_sync_and_runs_on(tmp_path, generation):
    async def body(on: Counting) -> None:
        await on.begin(SHUFFLES["array-p2p"], shuffle=True)
        plan = await on.lab.plan(on.cluster, scope=SCOPE, drain_seconds=1)
        assert "at most 1 s" in plan.waits[0]
        failed = await on.lab.ended(await on.lab.service.sync(plan.id))
        assert failed.state == "failed", told(failed)
        assert "A shuffle on 2 workers ran longer than 1 s" in failed.result.text
        assert all(group.verified for group in failed.result.groups)
        (on.folder / "rolling").touch()
        assert await on.results() == [SUMS["array-p2p"]]
        on.once(**{"array-p2p": 12})

    counting(tmp_path, generation, body)


@FULL
@pytest.mark.parametrize("generation", ["today", "2023.5"])
def test_no_task_runs_twice_though_another_shuffle_begins_at_any_moment(tmp_path, generation):
    async def body(on: Counting) -> None:
        await on.begin(REPEATED)
        for _ in range(2):
            _, done = await on.forth()
            assert done.state == "done", told(done)
            back = await on.back(done)
            assert back.state == "done", told(back)
        (on.folder / "enough").touch()
        (runs,) = await on.results()
        on.once(**{f"run{number}": 6 for number in range(runs)})

    counting(tmp_path, generation, body)


@FULL
@pytest.mark.parametrize("generation", ["today", "2023.5"])
def test_no_task_runs_twice_while_the_owner_of_a_cluster_scales_it_out_and_in(tmp_path, generation):
    async def body(on: Counting) -> None:
        async def scaled() -> None:
            on.attached.add_worker("late")
            # As Dask's own adaptive scaling does: the scheduler chooses one that executes nothing, if there is any.
            for _ in range(2):
                await on.cell("client.retire_workers(n=1, close_workers=True, remove=True)\nNone")
                await asyncio.sleep(1.5)

        await on.begin(STREAM)
        _, done = await on.forth(scaled)
        assert done.state == "done", told(done)
        assert await on.results() == [sum(range(24))]
        on.once(step=24)
        (again,) = {group.verified for group in done.result.groups}
        assert again, told(done)

    counting(tmp_path, generation, body, workers=4)


@FULL
@pytest.mark.parametrize("adaptive", [False, True], ids=["a temporary worker", "adaptive"])
def test_no_task_runs_twice_on_a_cluster_of_our_own(tmp_path, adaptive):
    kernel = environment(interpreters()["3.11"], *TODAY, "tabulate==0.9.0")
    (tmp_path / "traces").mkdir()

    async def body(lab: Lab) -> None:
        made = await lab.service.clusters.create(ClusterCreate(workers=1, requirements=TODAY, python="3.11"))
        await lab.ready(made.id, 1)
        folder = cluster_dir(made.id)
        tls = {f"{name}_file": str(folder / f"{name}.pem") for name in ("ca", "cert", "key")}
        address = lab.service.clusters.get(made.id).scheduler.address
        with contextlib.closing(await asyncio.to_thread(Notebook, kernel, address, tls)) as notebook:
            on = Counting(lab, made.id, None, notebook, tmp_path / "traces")
            await on.cell(PRELUDE % str(on.folder) + "None")
            await on.begin(WIDE)
            if adaptive:
                bounds = AdaptiveRequest(minimum=1, maximum=2)
                await lab.service.clusters.change(made.id, ClusterChange(adaptive=bounds))
                await lab.ready(made.id, 2)
            plan, done = await on.forth()
            assert plan.temporary is not adaptive
            assert done.state == "done", told(done)
            assert await on.results() == [sum(range(40))]
            if adaptive:
                await lab.until(lambda: len(lab.service.clusters.get(made.id).workers) == 1)
            on.once(wide=40)

    lab(body, {"k": (kernel, ("tabulate",))})
