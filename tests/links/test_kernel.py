"""Readings of real kernels over the control channel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sys
import threading
import time

import psutil
import pytest
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from coiled_jupyter.core.errors import CoiledError, NotFound, Unavailable
from coiled_jupyter.core.times import now
from coiled_jupyter.links.kernel import UNTRACKED, KernelLink
from tests.environments import environment
from tests.nightly import each_night
from tests.patience import deadline


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """A folder of kernel specs: one whose environment has nothing of ours, bash, and a Python kernel that isn't ipykernel."""
    folder = tmp_path_factory.mktemp("specs")
    bare = environment(sys.executable, "ipykernel>=6.29,<7", "matplotlib")
    xeus = environment(sys.executable, "xeus-python==0.19.*")
    for name, argv, language in (
        ("xeus", [str(xeus), "-m", "xpython_launcher", "-f", "{connection_file}"], "python"),
        (
            "xeus-raw",
            [str(xeus), "-m", "xpython_launcher", "-f", "{connection_file}", "--raw"],
            "python",
        ),
        ("bare", [str(bare), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "python"),
        ("shell", [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"], "bash"),
    ):
        spec = folder / "kernels" / name
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": language}))
    return folder


class Session:
    """One kernel with a user's client beside our link."""

    def __init__(self, manager, kernel_id, client) -> None:
        self.manager, self.id, self.client = manager, kernel_id, client

    async def run(self, code: str, **expressions: str) -> dict:
        message = self.client.execute(code, user_expressions=expressions)
        return await self.reply(message)

    async def reply(self, message: str) -> dict:
        while True:
            reply = await self.client.get_shell_msg(timeout=60)
            if reply["parent_header"]["msg_id"] == message:
                return reply["content"]


async def started(manager, name):
    """Return a new kernel and its client; its ports are chosen before it listens, so somebody else may have one then."""
    for seconds in (20, 20, 20, 40, 40):
        kernel_id = await manager.start_kernel(kernel_name=name)
        client = manager.get_kernel(kernel_id).client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=seconds)
        except RuntimeError:
            client.stop_channels()
            await manager.shutdown_kernel(kernel_id, now=True)
            continue
        return kernel_id, client
    raise AssertionError(f"no {name} kernel has started")


def with_kernel(name, body, specs, monkeypatch, **link_options):
    """Run ``await body(session, link)`` with a kernel of the spec `name`."""
    monkeypatch.setenv("JUPYTER_PATH", str(specs))

    async def go():
        manager = AsyncMappingKernelManager()
        link = KernelLink(manager, **link_options)
        link.start()
        kernel_id, client = await started(manager, name)
        try:
            return await body(Session(manager, kernel_id, client), link)
        finally:
            client.stop_channels()
            await link.close()
            await manager.shutdown_kernel(kernel_id, now=True)

    return asyncio.run(go())


async def readable(link, kernel_id, seconds=40):
    end = deadline(seconds)
    while True:
        try:
            return await link.read(kernel_id)
        except Unavailable:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["bare", "python3"])
def test_reads_while_a_cell_runs_and_leaves_no_trace(name, specs, monkeypatch, tmp_path):
    read = tmp_path / "read"
    cell = f"import time\nwhile not __import__('os').path.exists({str(read)!r}): time.sleep(0.05)\n7"

    async def body(session, link):
        before = (await session.run("x = 1", names="sorted(set(dir()))", count="get_ipython().execution_count"))[
            "user_expressions"
        ]
        idle = (await readable(link, session.id)).reading
        message = session.client.execute(cell)
        await asyncio.sleep(0.8)
        busy = (await link.read(session.id)).reading
        # The cell can't end before this.
        read.touch()
        content = await session.reply(message)
        after = await session.run("x = 1", names="sorted(set(dir()) - {'time'})", out="Out", hist="In[1:]")
        return before, idle, busy, content, after

    before, idle, busy, content, after = with_kernel(name, body, specs, monkeypatch)
    assert content["status"] == "ok"
    assert {p.name for p in idle.packages} == {p.name for p in busy.packages} >= {"ipykernel", "ipython"}
    assert ("coiled-jupyter" in {p.name for p in idle.packages}) == (name == "python3")
    expressions = after["user_expressions"]
    new = set(eval(expressions["names"]["data"]["text/plain"])) - set(eval(before["names"]["data"]["text/plain"]))
    assert {n for n in new if not n.startswith("_")} == set()
    assert expressions["out"]["data"]["text/plain"] == "{2: 7}"
    assert eval(expressions["hist"]["data"]["text/plain"]) == ["x = 1", cell, "x = 1"]


def test_prints_and_figures_stay_with_the_cell(specs, monkeypatch):
    code = (
        "%matplotlib inline\nimport matplotlib.pyplot as plt, time\n"
        "plt.plot([1, 2])\nfor i in range(8):\n    print('tick', i)\n    time.sleep(0.2)\nplt.title('late');"
    )

    async def body(session, link):
        await readable(link, session.id)
        await session.run("%matplotlib inline\nimport matplotlib.pyplot")
        message = session.client.execute(code)
        for _ in range(6):
            await asyncio.sleep(0.25)
            await link.read(session.id)
        await session.reply(message)
        seen = []
        while True:
            try:
                seen.append(await session.client.get_iopub_msg(timeout=1))
            except queue.Empty:
                return [m for m in seen if m["parent_header"].get("msg_id") == message]

    seen = with_kernel("bare", body, specs, monkeypatch)
    printed = "".join(m["content"]["text"] for m in seen if m["msg_type"] == "stream")
    assert printed.count("tick") == 8
    assert sum(m["msg_type"] == "display_data" for m in seen) == 1


def test_again_after_a_restart(specs, monkeypatch):
    async def body(session, link):
        first = (await readable(link, session.id)).reading
        await session.manager.restart_kernel(session.id)
        link.notice(session.id, "restart")
        second = (await readable(link, session.id)).reading
        return first, second

    first, second = with_kernel("python3", body, specs, monkeypatch)
    assert first.pid != second.pid
    assert [p.name for p in first.packages] == [p.name for p in second.packages]


def test_activity_and_state_are_left_alone(specs, monkeypatch):
    async def body(session, link):
        await readable(link, session.id)
        kernel = session.manager.get_kernel(session.id)

        async def seen():
            before = kernel.last_activity, kernel.execution_state
            for _ in range(5):
                await link.read(session.id)
            await asyncio.sleep(0.3)
            return before, (kernel.last_activity, kernel.execution_state)

        await session.run("1")
        await asyncio.sleep(0.3)
        idle = await seen()
        message = session.client.execute("import time; time.sleep(2)")
        await asyncio.sleep(0.8)
        busy = await seen()
        await session.reply(message)
        return idle, busy, list(session.manager.untracked_message_types)

    idle, busy, untracked = with_kernel("python3", body, specs, monkeypatch)
    assert idle[0] == idle[1]
    # While a cell runs any message counts as activity for jupyter_server, so only the state says something.
    assert [state for _, state in busy] == ["busy", "busy"]
    assert set(UNTRACKED) <= set(untracked)


def test_a_kernel_met_while_busy_is_not_touched_until_idle(specs, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(specs))

    async def go():
        manager = AsyncMappingKernelManager()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        client = manager.get_kernel(kernel_id).client()
        client.start_channels()
        link = KernelLink(manager)
        try:
            await client.wait_for_ready(timeout=60)
            message = client.execute("import time; time.sleep(4)")
            await asyncio.sleep(0.8)
            link.start()
            await asyncio.sleep(1.5)
            with pytest.raises(Unavailable, match="cell was running"):
                await link.read(kernel_id)
            await Session(manager, kernel_id, client).reply(message)
            return (await readable(link, kernel_id)).reading
        finally:
            client.stop_channels()
            await link.close()
            await manager.shutdown_kernel(kernel_id, now=True)

    reading = asyncio.run(go())
    assert reading.packages


def test_asking_never_installs_anything(specs, monkeypatch):
    """Only the link's own task does; here it doesn't run until the kernel has been asked."""
    monkeypatch.setenv("JUPYTER_PATH", str(specs))
    present = "'coiled_jupyter_request' in get_ipython().kernel.control_handlers"

    async def go():
        manager = AsyncMappingKernelManager()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        client = manager.get_kernel(kernel_id).client()
        client.start_channels()
        link = KernelLink(manager)
        session = Session(manager, kernel_id, client)
        try:
            await client.wait_for_ready(timeout=60)
            for ask in (link.read, link.clients) * 3:
                with pytest.raises(Unavailable):
                    await ask(kernel_id)
                await asyncio.sleep(0.2)
            asked = await session.run("1", there=present, count="get_ipython().execution_count")
            link.start()
            await readable(link, kernel_id)
            return asked, await session.run("1", there=present, count="get_ipython().execution_count")
        finally:
            client.stop_channels()
            await link.close()
            await manager.shutdown_kernel(kernel_id, now=True)

    asked, followed = (reply["user_expressions"] for reply in asyncio.run(go()))
    assert asked["there"]["data"]["text/plain"] == "False"
    assert followed["there"]["data"]["text/plain"] == "True"
    # And what is installed counts as no cell.
    counts = [int(expressions["count"]["data"]["text/plain"]) for expressions in (asked, followed)]
    assert counts[1] == counts[0] + 1


def test_a_kernel_that_is_not_python_says_so(specs, monkeypatch):
    async def body(session, link):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                await link.read(session.id)
            except Unavailable as error:
                if "runs bash, not Python" in error.message:
                    return True
            await asyncio.sleep(0.1)
        return False

    assert with_kernel("shell", body, specs, monkeypatch)


@pytest.mark.parametrize("name", each_night(["xeus", "xeus-raw"], ["xeus"]))
def test_a_kernel_without_control_handlers_says_so_and_goes_on(name, specs, monkeypatch):
    async def body(session, link):
        known = ""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and "Use an ipykernel" not in known:
            with pytest.raises(Unavailable) as caught:
                await link.read(session.id)
            known = caught.value.hint
            await asyncio.sleep(0.1)
        content = await session.run("x = 20 + 1", twice="x * 2")
        return caught.value.message, known, content

    reason, hint, content = with_kernel(name, body, specs, monkeypatch)
    assert "ipykernel" in reason or "IPython" in reason
    assert "Use an ipykernel" in hint
    assert content["status"] == "ok"


def test_a_kernel_that_seems_busy_for_ever_says_why_it_cannot_be_read(specs, monkeypatch):
    """As when the announcement of an end is lost: the server goes on to believe in a cell."""

    async def body(session, link):
        kernel = session.manager.get_kernel(session.id)
        known = ""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and "Use an ipykernel" not in known:
            try:
                await link.read(session.id)
            except Unavailable as error:
                known = error.hint
                if "doesn't answer yet" in error.message:
                    kernel.execution_state = "busy"
            await asyncio.sleep(0.1)
        return known, kernel.execution_state

    hint, state = with_kernel("xeus", body, specs, monkeypatch)
    assert state == "busy"
    assert "Use an ipykernel" in hint


def test_a_held_interpreter_lock_meets_the_deadline(specs, monkeypatch):
    async def body(session, link):
        await readable(link, session.id)
        first = await link.read(session.id)
        message = session.client.execute("import ctypes; ctypes.PyDLL(None).sleep(4)")
        await asyncio.sleep(1)
        begun_at = now()
        held = await link.read(session.id)
        await session.reply(message)
        return first, held, begun_at

    first, held, begun_at = with_kernel("python3", body, specs, monkeypatch, deadline=1.0)
    assert held.reading == first.reading
    assert held.taken_at < begun_at  # the last reading, with its own time


def test_unknown_kernel(specs, monkeypatch):
    async def body(session, link):
        with pytest.raises(NotFound):
            await link.read("nobody")

    with_kernel("python3", body, specs, monkeypatch)


LIAR = """
import sys
kernel = get_ipython().kernel
def lie(stream, ident, parent):
    kernel.session.send(stream, "coiled_jupyter_reply", {"status": "ok", "text": %s}, parent, ident=ident)
kernel.control_handlers[%r] = lie
"""


def test_an_answer_of_gigabytes_is_not_held(specs, monkeypatch):
    async def body(session, link):
        await readable(link, session.id)
        await session.run(LIAR % ("'x' * 2**29", UNTRACKED[0]))
        largest, over = [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                largest[0] = max(largest[0], psutil.Process().memory_info().rss)

        before = psutil.Process().memory_info().rss
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            with pytest.raises(CoiledError):
                await link.clients(session.id)
        finally:
            over.set()
            watching.join()
        # The channel goes on where the kernel does.
        await session.run(LIAR % ("'[]'", UNTRACKED[0]))
        for _ in range(50):
            with contextlib.suppress(CoiledError):
                return largest[0] - before, await link.clients(session.id)
        return largest[0] - before, None

    grown, clients = with_kernel("python3", body, specs, monkeypatch)
    assert grown < 2**27
    assert clients == ()


@pytest.mark.parametrize("text", ["None", "[1]", "'[' * 100_000", "'[1e400]'", "'{\\ud800'"])
def test_answers_that_are_not_ours_are_refused(text, specs, monkeypatch):
    async def body(session, link):
        await readable(link, session.id)
        await session.run(LIAR % (text, UNTRACKED[0]))
        with pytest.raises(CoiledError):
            await link.clients(session.id)

    with_kernel("python3", body, specs, monkeypatch)
