"""The steps of moving workers, on real clusters of today's Dask and of one from 2023: layers, pointing, fences, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from distributed import rpc
from distributed.comm import CommClosedError
from msgspec.structs import replace
from uv import find_uv_bin

from coiled_jupyter import tasks
from coiled_jupyter.core.change.state import place_of
from coiled_jupyter.core.change.survey import installs
from coiled_jupyter.core.errors import CoiledError, Impossible
from coiled_jupyter.links.nodes.layers import LayerBuild, LayerRequest
from coiled_jupyter.links.nodes.link import NodeLink
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from tests.environments import copied, environment, interpreters
from tests.nightly import each_night
from tests.notebook import Notebook
from tests.patience import deadline
from tests.remote import RemoteCluster

TODAY = ("distributed==2026.8.0", "dask==2026.8.0", "cloudpickle==3.1.2", "msgpack==1.2.4", "tornado==6.6.1")
OLD = ("distributed==2023.5.0", "dask==2023.5.0", "cloudpickle==2.2.1", "msgpack==1.0.5", "tornado==6.5.10")
FINDER = """
import importlib.abc, importlib.util, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "stray_by_finder":
            return importlib.util.spec_from_loader(name, loader=None, is_package=True)
sys.meta_path.append(Finder())
"""
SEE = """__import__('json').dumps({
    'numpy': __import__('numpy').__version__,
    'prefix': __import__('sys').prefix,
    'names': sorted(d.metadata['Name'].lower() for d in __import__('importlib.metadata').metadata.distributions()),
    'found': [n for n in NAMES if __import__('importlib.util').util.find_spec(n) is not None],
    'child': __import__('json').loads(__import__('subprocess').run(['python', '-c', CHILD], capture_output=True, text=True).stdout),
})"""
CHILD = """
import importlib.metadata as m, importlib.util as u, json, sys
print(json.dumps([sys.prefix, m.version('numpy'), [n for n in NAMES if u.find_spec(n) is not None]]))
"""
STRAYS = ["stray_by_path", "stray_by_finder", "shadow", "tabulate"]
COUNTS = """
import json
_text = (
    "__import__('json').dumps((lambda s: [sum(1 for t in s.transition_log if t[1] == 'processing' and t[2] == 'memory'"
    " and str(t[0]).startswith(P)), max([t.suspicious for t in s.tasks.values()] or [0])])"
    "(list(__import__('distributed').Scheduler._instances)[0]))"
)
counts = lambda prefix: json.loads(client.run_on_scheduler(eval, _text, {"P": prefix}))
"""


def uv(*arguments: str) -> None:
    subprocess.run([find_uv_bin(), *arguments], check=True, capture_output=True)


class Ground:
    """A base environment of one Python with strays in it, a lock for a layer on it, and a cluster that runs from it."""

    def __init__(self, folder: Path, minor: str, base: tuple[str, ...], numpy: tuple[str, str]) -> None:
        self.folder, self.minor, self.base, self.numpy = folder, minor, base, numpy
        self.prefix = folder / "base"
        wanted = (*base, f"numpy=={numpy[0]}", "tabulate==0.9.0")
        self.python = copied(environment(interpreters()[minor], *wanted), self.prefix)
        self.home = folder / "cache" / "coiled-jupyter" / "layers"
        site = self.prefix / "lib" / f"python{minor}" / "site-packages"
        stray = folder / "stray"
        for path, text in (
            (stray / "stray_by_path.py", ""),
            (site / "stray.pth", f"{stray}\n"),
            (site / "stray_finder.py", FINDER),
            (site / "stray_finder.pth", "import stray_finder\n"),
            (folder / "shadowing" / "shadow.py", ""),
            (folder / "shadowing" / "tabulate.py", "__version__ = 'shadow'"),
            (
                folder / "shadowing" / "shadow-1.dist-info" / "METADATA",
                "Metadata-Version: 2.1\nName: shadow\nVersion: 1\n",
            ),
            (folder / "beside" / "beside.py", ""),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.extra = {
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": str(folder / "beside"),
        }
        self.lock = self.locked(*base, f"numpy=={numpy[1]}")

    def locked(self, *requirements: str) -> str:
        wanted, made = self.folder / "wanted.in", self.folder / "locked.txt"
        wanted.write_text("\n".join(requirements) + "\n")
        made.unlink(missing_ok=True)
        more = ("--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:")
        uv("pip", "compile", "-q", "--python", str(self.python), *more, "-o", str(made), str(wanted))
        return made.read_text()

    def request(self, name: str, lock: str | None = None, **fields) -> LayerRequest:
        lock = self.lock if lock is None else lock
        pins = [line.split(" ")[0].split(";")[0] for line in lock.splitlines() if "==" in line and line[0] not in " #"]
        expected = dict(pin.split("==") for pin in pins)
        given = {"uv": find_uv_bin(), "expected": expected, "imports": ("numpy", "distributed"), **fields}
        return LayerRequest(id=name, executable=str(self.python), lock=lock, **given)

    def cluster(self, name: str, **fields) -> RemoteCluster:
        extra = {**self.extra, **fields.pop("extra", {})}
        return RemoteCluster(self.folder / name, self.python, extra=extra, **fields)

    def processes(self) -> list[str]:
        """Return the command lines of processes that work in the folder of layers and aren't workers."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            line = " ".join(process.info["cmdline"] or ())
            if process.info["cwd"] == str(self.home) or (str(self.home) in line and "spawn_main" not in line):
                found.append(line)
        return found


class On:
    """The steps on one cluster."""

    def __init__(self, cluster: RemoteCluster) -> None:
        files = cluster.tls and TLSFiles(cluster.tls["ca_file"], cluster.tls["cert_file"], cluster.tls["key_file"])
        self.link = SchedulerLink(cluster.address, files or None)
        self.nodes = NodeLink(self.link)

    async def workers(self, count: int) -> dict[str, dict]:
        end = deadline(60)
        while True:
            workers = (await self.link.identity())["workers"]
            if len(workers) == count and all(info["status"] == "running" for info in workers.values()):
                return workers
            assert time.monotonic() < end, workers
            await asyncio.sleep(0.05)

    async def place(self):
        survey = await self.nodes.surveyor.survey()
        (place,) = survey.places
        return place

    async def built(self, request: LayerRequest, seconds: float = 120) -> tuple[LayerBuild, list[LayerBuild]]:
        place = await self.place()
        states = [state async for state in self.nodes.layers.build(place.speaker, request, seconds)]
        return states[-1], states

    async def point(self, request: LayerRequest, done: LayerBuild) -> dict[str, str | None]:
        fields = {"path": done.path, "executable": done.executable, "entries": done.entries}
        return await self.nodes.plugin.register([place_of(await self.place(), layer=request.id, **fields)])

    async def move(self, worker: str, name: str) -> None:
        """Move one worker as a supervisor does."""
        end = deadline(30)
        assert await self.nodes.restarts.retire([worker], 30) == {worker}
        while (await self.nodes.restarts.executing([worker]))[worker]:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        alone = None
        # A worker tells of a result some time after its task has ended.
        while alone != (0, 0, 0):
            assert time.monotonic() < end, alone
            assert await self.nodes.restarts.retire([worker], 30) == {worker}
            (load,) = [load for load in await self.nodes.surveyor.worker_loads() if load.address == worker]
            alone = load.alone, load.futures, load.scattered
        assert await self.nodes.restarts.restart([worker], 60) == {worker}
        assert await self.nodes.restarts.wait_for_workers([name], [worker], 60) == set()

    async def see(self, workers) -> list[dict]:
        child = CHILD.replace("NAMES", repr(STRAYS))
        names = {"NAMES": [*STRAYS, "beside"], "CHILD": child}
        answers = await self.link.evaluate_on_workers(list(workers), SEE, names, 20)
        assert all(isinstance(answer, str) for answer in answers.values()), answers
        return [json.loads(answer) for answer in answers.values()]


def on(cluster: RemoteCluster, body) -> None:
    async def go() -> None:
        steps = On(cluster)
        try:
            await body(steps)
        finally:
            steps.link.close()

    asyncio.run(go())


@pytest.fixture(scope="module")
def today(tmp_path_factory) -> Ground:
    return Ground(tmp_path_factory.mktemp("today"), "3.11", TODAY, ("2.4.6", "2.3.5"))


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Ground:
    return Ground(tmp_path_factory.mktemp("old"), "3.10", OLD, ("2.2.6", "1.26.4"))


@pytest.fixture(scope="module")
def cluster(today):
    """A cluster of today's for tests that leave it as it was."""
    with today.cluster("shared", workers=2) as running:
        on(running, lambda steps: steps.workers(2))
        yield running


@pytest.mark.nightly
@pytest.mark.parametrize(("which", "tls"), [("today", True), ("old", False)])
def test_workers_move_to_a_layer_and_back_and_lose_nothing(request, tmp_path, which, tls):
    ground = request.getfixturevalue(which)
    shadowing = {"PYTHONPATH": os.pathsep.join([str(ground.folder / "beside"), str(ground.folder / "shadowing")])}
    done_by = tmp_path / "done"

    async def body(steps: On) -> None:
        nodes = steps.nodes
        before = await steps.workers(2)
        survey = await nodes.surveyor.survey()
        place = survey.places[0]
        assert (place.prefix, place.python[:4]) == (str(ground.prefix), ground.minor)
        # A node's uv is beside its Python, or on its PATH.
        assert (place.home, place.uv, place.pip, place.layer) == (str(ground.home), shutil.which("uv"), False, None)
        assert place.libc
        assert survey.encrypted is tls
        assert not survey.reasons
        assert {worker.place for worker in survey.workers} == {place.key}

        wish = ground.request("layer")
        done, states = await steps.built(wish)
        assert done.state == "done", done.reason
        assert {"creating", "installing", "checking"} <= {state.state for state in states}
        assert any("numpy" in line for state in states for line in state.lines)
        again, _ = await steps.built(wish)
        assert (again.state, again.entries) == ("done", done.entries)
        # The base was never written.
        for one in await steps.see(before):
            assert (one["prefix"], one["numpy"]) == (str(ground.prefix), ground.numpy[0])
            assert one["found"] == [*STRAYS, "beside"]

        with Notebook(ground.python, running.address, running.tls) as notebook:
            run = lambda code: asyncio.to_thread(notebook.run, code, 60)  # noqa: E731
            await run(COUNTS + "None")
            await run(
                "done = client.map(lambda i: i * 3, range(60), key=[f'past-{i}' for i in range(60)], pure=False)\nNone"
            )
            await run("from distributed import wait; _ = wait(done)\nNone")
            await run("kept = client.scatter([list(range(1000)), 'text', 7])\nNone")
            slow = f"""
def slow(i):
    import time
    with open({str(done_by)!r}, "a") as stream:
        stream.write("begun %d\\n" % i)
    time.sleep(1.0)
    with open({str(done_by)!r}, "a") as stream:
        stream.write("ended %d\\n" % i)
    return i
running = [client.submit(slow, i, key=f"slow-{{i}}", pure=False) for i in range(8)]
None"""
            await run(slow)
            await asyncio.sleep(0.5)
            counted = (await nodes.surveyor.survey()).workers
            assert sum(worker.scattered for worker in counted) >= 3
            assert sum(worker.futures for worker in counted) >= 55
            assert any((await nodes.restarts.executing(list(before))).values())

            assert set((await steps.point(wish, done)).values()) == {"layer"}
            assert (await steps.place()).layer == "layer"
            with pytest.raises(Impossible, match="in use"):
                await nodes.layers.remove(place.speaker, "layer")
            for address, info in before.items():
                await steps.move(address, str(info["id"]))
            assert await run("client.gather(done) == [i * 3 for i in range(60)]") is True
            assert await run("client.gather(kept)") == [list(range(1000)), "text", 7]
            assert await run("client.gather(running)") == list(range(8))
            assert await run("counts('past')") == [60, 0]
            assert await run("counts('slow')") == [8, 0]
            lines = done_by.read_text().split("\n")
            assert sorted(lines) == sorted(["", *(f"{word} {i}" for word in ("begun", "ended") for i in range(8))])

            seen = await steps.see(await steps.workers(2))
            running.add_worker("late", extra=shadowing)
            seen += await steps.see(await steps.workers(3))
            for one in seen:
                assert one["prefix"] == str(ground.home / "layer")
                assert one["numpy"] == ground.numpy[1]
                assert not {"tabulate", "shadow"} & set(one["names"])
                assert {name.replace("_", "-") for name in one["names"]} == set(wish.expected)
                assert one["found"] == ["beside"]
                assert one["child"] == [str(ground.home / "layer"), ground.numpy[1], []]

            # And back.
            assert set((await nodes.plugin.unregister()).values()) == {None}
            for address, info in (await steps.workers(3)).items():
                await steps.move(address, str(info["id"]))
            assert {one["prefix"] for one in await steps.see(await steps.workers(3))} == {str(ground.prefix)}
            assert await run("client.gather(done) == [i * 3 for i in range(60)]") is True
            assert await run("client.gather(kept)") == [list(range(1000)), "text", 7]
            assert await run("counts('past') + counts('slow')") == [60, 0, 8, 0]
        assert "layer" in (await steps.place()).layers
        assert await nodes.layers.remove(place.speaker, "layer") is True
        assert (await steps.place()).layers == {}

    with ground.cluster("moved", workers=2, tls=tls, extra=shadowing) as running:
        on(running, body)


@pytest.mark.parametrize("which", each_night(["today", "old"], ["today"]))
def test_a_worker_that_is_being_started_is_not_taken_for_one_that_has_gone(which, request):
    ground = request.getfixturevalue(which)

    async def body(steps: On) -> None:
        (before,) = await steps.workers(1)
        (worker,) = (await steps.nodes.surveyor.survey()).workers
        psutil.Process(worker.nanny_process.pid).children()[-1].kill()
        end = deadline(20)
        while (survey := await steps.nodes.surveyor.survey()).workers:
            assert time.monotonic() < end
            if survey.workers[0].address != before:
                raise AssertionError("the next worker came before its predecessor was missed")
        while not survey.workers:
            assert survey.starting == (worker.nanny,)
            assert time.monotonic() < end
            survey = await steps.nodes.surveyor.survey()
        assert survey.starting == ()

    with ground.cluster("starting", workers=1) as running:
        on(running, body)


def test_nannies_of_one_process_are_pointed_together_and_each_can_end(today):
    async def body(steps: On) -> None:
        workers = await steps.workers(2)
        wish = today.request("shared")
        done, _ = await steps.built(wish)
        assert done.state == "done", done.reason
        survey = await steps.nodes.surveyor.survey()
        assert len({worker.nanny_process.pid for worker in survey.workers}) == 1
        assert list((await steps.point(wish, done)).values()) == ["shared", "shared"]
        first, second = workers
        # One of them ends: the other's workers still start in the layer.
        await steps.link.retire([first], 30)
        (nanny,) = [info["nanny"] for address, info in workers.items() if address == first]
        async with rpc(nanny) as there:
            # It may end before it answers.
            with contextlib.suppress(CommClosedError):
                await there.terminate()
        await steps.workers(1)
        await steps.nodes.restarts.restart([second], 60)
        assert await steps.nodes.restarts.wait_for_workers([str(workers[second]["id"])], [second], 60) == set()
        assert [one["prefix"] for one in await steps.see(await steps.workers(1))] == [done.path]
        assert (await steps.place()).layer == "shared"
        assert set((await steps.nodes.plugin.unregister()).values()) == {None}
        left = await steps.workers(1)
        await steps.nodes.restarts.restart(list(left), 60)
        assert (
            await steps.nodes.restarts.wait_for_workers([str(i["id"]) for i in left.values()], list(left), 60) == set()
        )
        assert [one["prefix"] for one in await steps.see(await steps.workers(1))] == [str(today.prefix)]
        # What isn't there isn't taken back: the scheduler would log an error of its own.
        assert set((await steps.nodes.plugin.unregister()).values()) == {None}
        assert "unregister_nanny_plugin" not in running.log()

    with today.cluster("together", workers=0) as running:
        arguments = [running.address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        running._run(today.python, "dask_worker", *arguments, "--local-directory", str(running.folder / "local"))
        on(running, body)


def wheel(folder: Path, name: str, version: str, body: str) -> bytes:
    """Return a wheel with one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path.read_bytes()


@pytest.mark.nightly
def test_layers_that_are_not_right_are_refused_with_the_reason(cluster, today, tmp_path):
    body = {"broken": "raise ImportError('it was built for another one')", "ends": "import os; os._exit(7)"}
    body["hangs"] = "import time; time.sleep(600)"
    wheels = {name: wheel(tmp_path, name, "1.0", text) for name, text in body.items()}

    def with_wheel(name: str) -> str:
        return f"{today.lock}\n{name}==1.0 --hash=sha256:{hashlib.sha256(wheels[name]).hexdigest()}\n"

    async def go(steps: On) -> None:
        place = await steps.place()
        paths = {
            n: await steps.nodes.layers.send(place.speaker, f"{n}-1.0-py3-none-any.whl", w) for n, w in wheels.items()
        }
        assert all(Path(path).read_bytes() == wheels[name] for name, path in paths.items())
        bare = "\n".join(
            line for line in today.locked(f"numpy=={today.numpy[1]}").splitlines() if not line.startswith("#")
        )
        other = today.locked("distributed==2025.4.1", "dask==2025.4.1")
        wrong = today.lock.replace("sha256:", "sha256:0000")
        cases = {
            "no-distributed": (today.request("x", bare, imports=("numpy",)), "distributed is missing"),
            "other-distributed": (today.request("x", other, imports=()), "the scheduler's is 2026.8.0"),
            "broken": (
                today.request("x", with_wheel("broken"), imports=("broken",), wheels=(paths["broken"],)),
                "broken can't be imported: ImportError: it was built for another one",
            ),
            "ends": (
                today.request("x", with_wheel("ends"), imports=("ends",), wheels=(paths["ends"],)),
                "while it imported ends",
            ),
            "hangs": (
                today.request("x", with_wheel("hangs"), imports=("hangs",), wheels=(paths["hangs"],)),
                "didn't end within",
            ),
            "hash": (today.request("x", wrong), "ash"),
            "version": (today.request("x", expected={**today.request("x").expected, "numpy": "1.0"}), "not 1.0"),
            "more": (today.request("x", expected={"numpy": today.numpy[1]}), "not in the plan"),
            "no-index": (
                today.request(
                    "x",
                    environ={"UV_DEFAULT_INDEX": "http://127.0.0.1:9/", "UV_HTTP_RETRIES": "0"},
                    options=("--no-cache",),
                ),
                "could not be installed",
            ),
            "no-installer": (today.request("x", uv=None), "Neither uv nor pip"),
            "no-uv": (today.request("x", uv="/nowhere/uv"), "can't be run"),
            "no-lock": (today.request("x", ""), "no longer exists"),
            "late": (today.request("x"), "didn't end within"),
        }
        for name, (wish, reason) in cases.items():
            done, _ = await steps.built(wish, {"late": 0.4, "hangs": 8}.get(name, 120))
            assert done.state == "failed", name
            assert reason in done.reason, (name, done.reason)
            assert "x" not in (await steps.place()).layers
            assert not (today.home / "x").exists(), name
        with pytest.raises(CoiledError, match="name"):
            await steps.built(today.request("../x"))
        assert today.processes() == []
        # Whoever is pointed to what isn't there stays where it is, and says so.
        nowhere = place_of(
            place, layer="x", path=str(today.home / "x"), executable=str(today.home / "x/bin/python"), entries=()
        )
        assert set((await steps.nodes.plugin.register([nowhere])).values()) == {None}
        assert set(steps.nodes.plugin.reasons.values()) == {"The environment doesn't exist on this node"}
        assert set((await steps.nodes.plugin.register([replace(nowhere, key="elsewhere\0/usr")])).values()) == {None}
        assert set(steps.nodes.plugin.reasons.values()) == {"No environment was built for this place"}
        await steps.nodes.plugin.unregister()

    on(cluster, go)


def test_a_layer_that_was_damaged_is_made_anew_but_not_under_its_workers(cluster, today):
    async def go(steps: On) -> None:
        wish = today.request("damaged")
        done, _ = await steps.built(wish)
        assert done.state == "done", done.reason
        module = Path(done.entries[0], "numpy", "linalg", "__init__.py")
        module.unlink()
        await steps.point(wish, done)
        damaged, _ = await steps.built(wish)
        assert damaged.state == "failed"
        assert "workers use it" in damaged.reason
        await steps.nodes.plugin.unregister()
        again, states = await steps.built(wish)
        assert again.state == "done", again.reason
        assert any("1 files of numpy are missing" in line for state in states for line in state.lines)
        assert module.exists()

    on(cluster, go)


def test_a_build_that_is_cancelled_or_killed_leaves_nothing_that_counts(cluster, today):
    chance = random.Random(5)
    options = ("--no-cache",)

    async def cancelled(steps: On, wish: LayerRequest, seconds: float | None) -> None:
        """Give a build up after some seconds, or (None) as soon as it installs."""
        place = await steps.place()
        installs = asyncio.Event()

        async def follow() -> None:
            async for state in steps.nodes.layers.build(place.speaker, wish, 120):
                if state.state == "installing":
                    installs.set()

        following = asyncio.create_task(follow())
        await (installs.wait() if seconds is None else asyncio.sleep(seconds))
        # As a sync does: one cancellation may be lost.
        await tasks.end([following])

    async def gone() -> None:
        end = deadline(10)
        while today.processes():
            assert time.monotonic() < end, today.processes()
            await asyncio.sleep(0.05)

    async def go(steps: On) -> None:
        place = await steps.place()
        moments = [0.0, 0.0, 0.01, 0.02, 0.05, None, None, *(chance.uniform(0.0, 1.5) for _ in range(4))]
        for number, moment in enumerate(moments):
            wish = today.request(f"cancelled-{number}", options=options)
            await cancelled(steps, wish, moment)
            await gone()
            if wish.id in (await steps.place()).layers and moment and moment > 0.1:
                # It was done before: then it is whole, and isn't made anew.
                done, states = await steps.built(wish)
                assert done.state == "done", done.reason
                assert "installing" not in [state.state for state in states]
            else:
                assert wish.id not in (await steps.place()).layers
                assert not (today.home / wish.id).exists()
        # The installer, or the job itself, is killed from outside.
        for number, what in enumerate(("uv", "python")):
            wish = today.request(f"killed-{number}", options=options)
            states = []
            async for state in steps.nodes.layers.build(place.speaker, wish, 120):
                states.append(state)
                if state.state == "installing":
                    for process in psutil.process_iter(["cmdline", "cwd", "name"]):
                        if process.info["cwd"] == str(today.home) and process.info["name"].startswith(what):
                            process.kill()
            assert states[-1].state == "failed"
            assert "killed" in states[-1].reason
            await gone()
            assert wish.id not in (await steps.place()).layers
        # Two at once: one builds, the other waits for it, and both have the same.
        other = On(cluster)
        wish = today.request("twice")
        (one, _), (two, _) = await asyncio.gather(steps.built(wish), other.built(wish))
        other.link.close()
        assert (one.state, two.state) == ("done", "done"), (one.reason, two.reason)

    on(cluster, go)


def test_a_build_ends_with_its_nanny(today):
    async def go(steps: On) -> None:
        await steps.workers(1)
        place = await steps.place()
        wish = today.request("orphan", options=("--no-cache",))
        building = steps.nodes.layers.build(place.speaker, wish, 120)
        async for state in building:
            if state.state == "installing":
                break
        assert today.processes()
        os.killpg(running.processes[-1].pid, signal.SIGKILL)
        end = deadline(10)
        while today.processes():
            assert time.monotonic() < end, today.processes()
            await asyncio.sleep(0.05)
        await building.aclose()
        assert not (today.home / "orphan" / "coiled-jupyter.json").exists()

    with today.cluster("orphaned", workers=1) as running:
        on(running, go)


def test_credentials_are_in_no_line_no_reason_no_command_line_and_no_log(today):
    secret = "hunter2-of-the-index"
    environ = {"UV_DEFAULT_INDEX": f"http://someone:{secret}@127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}

    async def go(steps: On) -> None:
        await steps.workers(1)
        place = await steps.place()
        told = []
        async for state in steps.nodes.layers.build(
            place.speaker, today.request("s", environ=environ, options=("--no-cache",)), 60
        ):
            told.append(repr(state))
            told += [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
        assert "failed" in told[-1] or any("failed" in text for text in told)
        assert any("127.0.0.1:9" in text for text in told), "the index isn't hidden, its credentials are"
        assert not [text for text in told if secret in text]

    with today.cluster("secret", workers=1, extra={"DASK_LOGGING__DISTRIBUTED": "debug"}) as running:
        on(running, go)
        log = (running.folder / "log").read_bytes()
        assert b"DEBUG" in log
        assert secret.encode() not in log
    held = [path for path in today.home.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
    assert not [path for path in held if secret.encode() in path.read_bytes()]


def test_a_worker_that_is_given_up_runs_on_as_before(cluster, today, tmp_path):
    async def go(steps: On) -> None:
        workers = await steps.workers(2)
        with Notebook(today.python, cluster.address) as notebook:
            run = lambda code: asyncio.to_thread(notebook.run, code, 60)  # noqa: E731
            await run(COUNTS + "None")
            first = next(iter(workers))
            long = f"import time; one = client.submit(time.sleep, 4, key='long', workers=[{first!r}])\nNone"
            await run(long)
            await asyncio.sleep(0.5)
            assert await steps.nodes.restarts.retire([first], 20) == {first}
            assert (await steps.nodes.restarts.executing([first]))[first] == 1
            await steps.nodes.restarts.cancel_retirement([first])
            await steps.workers(2)
            await run("one.result()")
            assert await run("counts('long')") == [1, 0]
            # What the other one can't unpickle doesn't move; the retirement that waits for it ends too.
            (tmp_path / "only_there.py").write_text("class Thing:\n    pass\n")
            put = f"""
def make():
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import only_there
    return only_there.Thing()
thing = client.submit(make, key="thing", workers=[{first!r}])
from distributed import wait; _ = wait(thing)
None"""
            await run(put)
            needs = await steps.nodes.surveyor.value_needs(list(workers), 5)
            assert "only_there" in needs[first].modules
            assert await steps.nodes.restarts.retire([first], 2) == set()
            await steps.nodes.restarts.cancel_retirement([first])
            await steps.workers(2)
            await asyncio.sleep(2.5)
            assert {info["status"] for info in (await steps.workers(2)).values()} == {"running"}
            assert await run("thing.status") == "finished"
            await run("thing.release()\nNone")

    on(cluster, go)


def test_a_nanny_without_a_worker_is_reached(today):
    """A layer whose distributed is gone makes a nanny start workers again and again."""

    async def go(steps: On) -> None:
        workers = await steps.workers(1)
        wish = today.request("vanishing")
        done, _ = await steps.built(wish)
        assert done.state == "done", done.reason
        await steps.point(wish, done)
        Path(done.entries[0], "distributed", "__init__.py").rename(Path(done.entries[0], "distributed", "gone"))
        (worker,) = workers
        await steps.nodes.restarts.restart([worker], 3)
        assert await steps.nodes.restarts.wait_for_workers([str(workers[worker]["id"])], [worker], 1.5)
        assert set((await steps.nodes.plugin.unregister()).values()) == {None}
        assert await steps.nodes.restarts.wait_for_workers([str(workers[worker]["id"])], [worker], 30) == set()
        assert [one["prefix"] for one in await steps.see(await steps.workers(1))] == [str(today.prefix)]

    with today.cluster("vanishing", workers=1) as running:
        on(running, go)


def test_what_values_need_is_told_without_copying_arrays(cluster, today):
    async def go(steps: On) -> None:
        workers = await steps.workers(2)
        with Notebook(today.python, cluster.address) as notebook:
            run = lambda code: asyncio.to_thread(notebook.run, code, 60)  # noqa: E731
            first, second = workers
            code = f"""
def array():
    import numpy
    return [numpy.zeros(40_000_000), {{"shape": numpy.dtype("f8")}}]
def table():
    import tabulate
    return (tabulate.Line("a", "b", "c", "d"), lambda: tabulate.tabulate([[1]]))
held = [client.submit(array, workers=[{first!r}]), client.submit(table, workers=[{second!r}])]
from distributed import wait; _ = wait(held)
None"""
            await run(code)
            needs = await steps.nodes.surveyor.value_needs(list(workers), 5)
            assert (needs[first].distributions, needs[first].unfinished) == (("numpy",), 0)
            assert set(needs[second].distributions) == {"cloudpickle", "tabulate"}
            # With no time at all, what wasn't looked at is said.
            assert (await steps.nodes.surveyor.value_needs([first], 0))[first].unfinished >= 1
            await run("del held\nNone")

    on(cluster, go)


def test_a_scheduler_can_import_what_it_lacks_and_gives_it_back(cluster, today):
    async def go(steps: On) -> None:
        wish = today.request("extended", today.locked(*today.base, f"numpy=={today.numpy[1]}", "six==1.17.0"))
        done, _ = await steps.built(wish)
        assert done.state == "done", done.reason
        find = "str([__import__('importlib.util').util.find_spec(n) is not None for n in ('six', 'tabulate')])"
        assert await steps.link.evaluate_on_scheduler(find, {}) == "[False, True]"
        assert await steps.nodes.plugin.extend_scheduler(done.entries)
        assert await steps.link.evaluate_on_scheduler(find, {}) == "[True, True]"
        assert await steps.nodes.plugin.extend_scheduler(["/nowhere/lib/python3.11/site-packages"]) is False
        await steps.nodes.plugin.restore_scheduler()
        assert await steps.link.evaluate_on_scheduler(find, {}) == "[False, True]"
        numpy = "__import__('numpy').__version__"
        assert await steps.link.evaluate_on_scheduler(numpy, {}) == today.numpy[0]

    on(cluster, go)


INSTALL = """
from distributed.diagnostics.plugin import InstallPlugin, WorkerPlugin
class Other(WorkerPlugin):
    name = "reinstalls-nothing"
    def setup(self, worker):
        pass
client.register_plugin(Other())
plugins = InstallPlugin(int, restart_workers=False), InstallPlugin(int, restart_workers=True)
for plugin in plugins:
    client.register_plugin(plugin)
[plugin.name for plugin in plugins]
"""


def test_plugins_that_install_packages_are_named_with_what_ends_them(today):
    """A package that `PipInstall` installs would replace what a sync gives to a worker."""

    async def go(steps: On) -> None:
        await steps.workers(1)
        surveyor = steps.nodes.surveyor
        assert (await surveyor.survey()).installers == {}
        with Notebook(today.python, steps.link.address) as notebook:
            worker, nanny = await asyncio.to_thread(notebook.run, INSTALL)
            found = (await surveyor.survey()).installers
            assert found == {worker: False, nanny: True}
            said = installs(found)
            for code in (
                f"client.unregister_worker_plugin({worker!r})",
                f"client.unregister_worker_plugin({nanny!r}, nanny=True)",
            ):
                assert code in said
                await asyncio.to_thread(notebook.run, code + "\nNone")
        assert (await surveyor.survey()).installers == {}
        assert installs({}) == ""

    with today.cluster("installers", workers=1) as running:
        on(running, go)


LOCAL = """
import distributed, sys
if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    sys.stdin.readline()
    cluster.close()
"""


def test_a_scheduler_that_shares_the_nannys_process_is_never_swapped(today, tmp_path):
    script = tmp_path / "local.py"
    script.write_text(LOCAL)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [str(today.python), str(script)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().strip()

        async def go() -> None:
            link = SchedulerLink(address)
            nodes = NodeLink(link)
            survey = await nodes.surveyor.survey()
            (worker,) = survey.workers
            assert worker.nanny_process == survey.scheduler
            assert "scheduler's too" in survey.reasons[worker.nanny]
            layer = place_of(survey.places[0], layer="x", path="/x", executable="/x/bin/python", entries=("/x",))
            assert await nodes.plugin.register([layer]) == {worker.nanny: None}
            assert "scheduler's too" in nodes.plugin.reasons[worker.nanny]
            await nodes.plugin.unregister()
            link.close()

        asyncio.run(go())
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(20)
