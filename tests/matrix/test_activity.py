"""What clusters of several Dask versions are doing, read by two readers at once while tasks run, fail and are forgotten."""

from __future__ import annotations

import asyncio
import subprocess
import textwrap
import time

import pytest

from coiled_jupyter import texts
from coiled_jupyter.core.identity import decode_identity
from coiled_jupyter.links.activity import ActivityReader
from coiled_jupyter.links.scheduler import SchedulerLink
from tests.matrix.test_compatibility import dask_environment
from tests.nightly import each_night
from tests.patience import deadline
from tests.remote import RemoteCluster, until_workers

CASES = [("2022.2.0", "3.8"), ("2023.5.0", "3.8"), ("2024.5.0", "3.10"), ("2025.5.0", "3.12"), ("2026.8.0", "3.13")]
WORK = textwrap.dedent("""
    import sys, time
    from distributed import Client, wait
    client = Client(sys.argv[1])

    def load(x):
        time.sleep(0.01)
        return x

    def add(a, b):
        return a + b

    def fail(x):
        raise ValueError(x)

    loaded = client.map(load, range(300), pure=False)
    added = client.map(add, loaded[:-1], loaded[1:], pure=False)
    failed = client.map(fail, range(5), pure=False)
    wait([*added, *failed])
    print("done", flush=True)
    sys.stdin.readline()
""")


def spans(activity) -> list[tuple[str, str, str, float, float]]:
    """Return (worker, prefix, action, begin, seconds) of each span."""
    stream, at, found = activity.stream, 0, []
    columns = (stream.lane, stream.prefix, stream.action, stream.start, stream.length)
    for lane, prefix, action, start, length in zip(*columns, strict=True):
        at += start
        worker = stream.lanes[lane].worker
        found.append(
            (worker, stream.prefixes[prefix], stream.actions[action], stream.base + at / 10_000, length / 10_000)
        )
    return found


@pytest.mark.parametrize(("dask", "python"), each_night(CASES, [("2022.2.0", "3.8")]))
def test_every_task_is_told_once_to_each_who_looks(dask, python, tmp_path):
    interpreter = dask_environment(dask, python)

    async def go(remote) -> None:
        link = SchedulerLink(remote.address)
        scheduler = decode_identity(await link.identity()).id
        one, other = ActivityReader(), ActivityReader()
        first = await one.read(link, "c", scheduler, None)
        assert (spans(first), first.tasks, len(first.workers)) == ([], 0, 2)
        assert {worker.threads for worker in first.workers} == {1}
        await other.read(link, "c", scheduler, None)

        work = await asyncio.create_subprocess_exec(
            str(interpreter),
            "-c",
            WORK,
            remote.address,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        found, seen, cursor = [], [], first.cursor
        last, end = None, deadline(60)
        while True:
            last = await one.read(link, "c", scheduler, cursor)
            assert last.stream.missed == 0
            found += spans(last)
            cursor = last.cursor
            computed = [span for span in found if span[2] in ("compute", "erred")]
            if len(computed) >= 604:
                break
            assert time.monotonic() < end, (len(found), last)
            await asyncio.sleep(0.3)
        assert (await work.stdout.readline()).strip() == b"done"
        counts = {prefix: sum(1 for span in computed if span[1] == prefix) for prefix in ("load", "add", "fail")}
        assert counts == {"load": 300, "add": 299, "fail": 5}
        assert {span[2] for span in computed if span[1] == "fail"} == {"erred"}
        assert {span[2] for span in computed if span[1] != "fail"} == {"compute"}
        assert {span[0] for span in computed} == {worker.id for worker in last.workers}
        # By the scheduler's clock, which is that of the workers here.
        assert all(first.now - 1 <= begin <= begin + length <= last.now + 1 for _, _, _, begin, length in found)
        assert all(0.009 <= span[4] < 5 for span in computed if span[1] == "load")
        last = await one.read(link, "c", scheduler, cursor)
        assert spans(last) == []
        states = {prefix.name: prefix.states for prefix in last.prefixes}
        assert (states["load"], states["add"], states["fail"]) == ({"memory": 300}, {"memory": 299}, {"erred": 5})
        assert sum(worker.stored for worker in last.workers) >= 599
        assert (last.queued, last.processing, last.tasks) == (0, 0, 604)
        # Another reader, which didn't look meanwhile, is told the same; one that comes later, what is still known.
        seen = spans(await other.read(link, "c", scheduler, None))
        assert sorted(seen) == sorted(found)
        assert sorted(spans(await ActivityReader().read(link, "c", scheduler, None))) == sorted(found)
        work.stdin.close()
        await work.wait()
        # A restart takes the tasks away, and leaves the plugin there.
        assert '"error"' not in await link.evaluate_on_scheduler(
            texts.SHORT, texts.short_names("activity", "read", scheduler, 0)
        )
        link.close()

    with RemoteCluster(tmp_path, interpreter, workers=2) as remote:
        until_workers(remote.address, 2)
        asyncio.run(go(remote))
        # Nothing of it is in anybody's log.
        assert "activity" not in remote.log().lower()
