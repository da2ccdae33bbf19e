"""Environments that are damaged in every way we know: none is ever rated equal, and each is told as what it is."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import msgspec
import pytest
from uv import find_uv_bin

from coiled_jupyter.core.wire import ClusterAttach
from coiled_jupyter.links.kernel import KernelReading
from coiled_jupyter.links.scheduler import SchedulerLink
from coiled_jupyter.service.facade import Service
from tests.environments import copied, environment
from tests.fakes import Program
from tests.nightly import each_night
from tests.patience import deadline
from tests.remote import RemoteCluster

REQUIREMENTS = ("distributed==2026.8.0", "six==1.16.0", "iniconfig==2.0.0", "pluggy==1.5.0")
USED = ("six", "iniconfig", "pluggy", "distributed")


class Process:
    """A reader of kernels as the service wants it, of one kernel.

    Parameters
    ----------
    local
        A module beside it that it imports.
    restarted
        Whether each reading is that of a new process.

    """

    def __init__(self, python: Path, folder: Path | None = None, local: str = "", *, restarted: bool = False) -> None:
        used = (local, *USED) if local else USED
        self._program = Program(python, used, folder=folder, local=True, restarted=restarted)
        self.close = self._program.close

    def kernel_ids(self):
        return []

    async def read(self, kernel_id: str) -> KernelReading:
        return await self._program.read()


GUARD_SECONDS = 120.0
"""Against waiting for ever; on a busy machine the files of an environment are compared after a minute."""


class Place:
    """A virtualenv that a test may damage."""

    def __init__(self, folder: Path) -> None:
        self.python = copied(environment(sys.executable, *REQUIREMENTS), folder)
        self.site = next((folder / "lib").glob("python3*/site-packages"))

    def install(self, *requirements: str) -> None:
        command = [find_uv_bin(), "pip", "install", "-q", "--link-mode", "copy", "--python", str(self.python)]
        subprocess.run([*command, *requirements], check=True)


async def verdicts(service, cluster_id, expected):
    """Return every diff that was seen until one is as `expected`."""
    seen = []
    end = deadline(GUARD_SECONDS)
    while True:
        seen.append(await service.comparing.diff(cluster_id, kernel="k"))
        if expected(seen[-1]):
            return seen
        rows = [row for row in seen[-1].rows if row.status != "same"]
        assert time.monotonic() < end, (seen[-1].verdict, seen[-1].unread, seen[-1].checked, rows[:8])
        await asyncio.sleep(0.2)


@contextlib.contextmanager
def remote_of(place, folder, **options):
    with RemoteCluster(folder, place.python, **{"workers": 2, "nannies": False, **options}) as remote:
        yield remote


def attached(kernel, remote, body, process=None):
    async def go():
        kernels = process or Process(kernel.python)
        service = Service(kernels=kernels)
        await service.start()
        try:
            cluster = await service.clusters.attach(ClusterAttach(address=remote.address))
            try:
                while len(service.clusters.get(cluster.id).workers) < 2:
                    await asyncio.sleep(0.1)
                return await body(service, cluster.id)
            finally:
                await service.clusters.delete(cluster.id)
        finally:
            await service.close()
            kernels.close()

    return asyncio.run(go())


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("kernel") / "venv")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "venv")


def duplicate(place):
    shutil.copytree(place.site / "six-1.16.0.dist-info", place.site / "six-1.15.0.dist-info")
    metadata = place.site / "six-1.15.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.16.0", "1.15.0"))


def leftover(place):
    (place.site / "six-1.16.0.dist-info").rename(place.site / "~ix-1.16.0.dist-info")


def leftover_beside(place):
    shutil.copytree(place.site / "pluggy", place.site / "~luggy")


def no_record(place):
    (place.site / "six-1.16.0.dist-info" / "RECORD").unlink()


def missing_file(place):
    (place.site / "pluggy" / "_result.py").unlink()


def edited_same_size(place):
    path = place.site / "six.py"
    text = path.read_text()
    path.write_text(text.replace("Benjamin", "Benjamim", 1))


def edited_with_old_times(place):
    path = place.site / "six.py"
    status = path.stat()
    path.write_text(path.read_text().replace("Benjamin", "Benjamim", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def emptied(place):
    """As an uninstall leaves it that was killed after it had begun with what describes the package."""
    for path in (place.site / "six-1.16.0.dist-info").iterdir():
        path.unlink()


def no_metadata(place):
    (place.site / "pluggy-1.5.0.dist-info" / "METADATA").unlink()


def wheel(folder, name, text):
    """Make a wheel of version 1.0 with one module."""
    folder.mkdir()
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}\n")
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        for path, content in {**files, f"{info}/RECORD": "".join([*lines, f"{info}/RECORD,,\n"])}.items():
            file.writestr(path, content)
    return folder / f"{name}-1.0-py3-none-any.whl"


def other_wheel(place):
    """Another build of the same version, as a local wheel is."""
    record = place.site / "iniconfig-2.0.0.dist-info" / "RECORD"
    path = place.site / "iniconfig" / "exceptions.py"
    path.write_text(path.read_text() + "\n# built elsewhere\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    lines = [
        f"iniconfig/exceptions.py,sha256={digest},{path.stat().st_size}"
        if line.startswith("iniconfig/exceptions.py,")
        else line
        for line in record.read_text().splitlines()
    ]
    record.write_text("\n".join(lines) + "\n")


def killed_half_way(place):
    """As uv leaves it: some files, and no RECORD."""
    (place.site / "pluggy-1.5.0.dist-info" / "RECORD").unlink()
    (place.site / "pluggy" / "_manager.py").unlink()


def other_version(place):
    place.install("six==1.17.0")


def gone(place):
    subprocess.run([find_uv_bin(), "pip", "uninstall", "-q", "--python", str(place.python), "six"], check=True)


def editable(place):
    project = place.site.parents[2] / "project"
    project.mkdir()
    (project / "six.py").write_text((place.site / "six.py").read_text() + "\nNEW = 1\n")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=64"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "six"\nversion = "1.16.0"\n[tool.setuptools]\npy-modules = ["six"]\n'
    )
    command = [find_uv_bin(), "pip", "install", "-q", "--python", str(place.python), "-e", str(project)]
    subprocess.run(command, check=True)


DAMAGES = [
    (duplicate, "six", "broken"),
    (leftover, "six", "broken"),
    (leftover_beside, "pluggy", "broken"),
    (no_record, "six", "broken"),
    (emptied, "six", "broken"),
    (no_metadata, "pluggy", "broken"),
    (missing_file, "pluggy", "broken"),
    (edited_same_size, "six", "content_differs"),
    (edited_with_old_times, "six", "content_differs"),
    (other_wheel, "iniconfig", "content_differs"),
    (killed_half_way, "pluggy", "broken"),
    (other_version, "six", "differs"),
    (gone, "six", "only_kernel"),
    (editable, "six", "content_differs"),
]


@pytest.mark.parametrize(
    ("damage", "name", "status"),
    each_night(DAMAGES, [case for case in DAMAGES if case[0] in (no_metadata, editable)]),
    ids=[d[0].__name__ for d in DAMAGES],
)
def test_damage_is_never_equal(damage, name, status, kernel, place, tmp_path):
    damage(place)

    async def body(service, cluster_id):
        return await verdicts(
            service, cluster_id, lambda d: {row.name: row.status for row in d.rows}.get(name) == status
        )

    with remote_of(place, tmp_path / "r") as remote:
        seen = attached(kernel, remote, body)
    assert "equal" not in {diff.verdict for diff in seen}
    (row,) = [row for row in seen[-1].rows if row.name == name]
    assert row.severity in (("minor",) if damage is other_version else ("breaks", "risky"))
    assert row.why
    assert row.fix


def test_equal_is_reached_and_left(kernel, place, tmp_path):
    """The same places, healthy, are equal; every damage to a running cluster ends that."""

    async def body(service, cluster_id):
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        # What Dask's own check can't see: a module of another version that is loaded already.
        place.install("pluggy==1.6.0")
        await asyncio.sleep(0.6)
        after = await service.comparing.diff(cluster_id, kernel="k")
        assert after.verdict != "equal"
        place.install("pluggy==1.5.0")
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        edited_same_size(place)
        await verdicts(service, cluster_id, lambda d: d.verdict == "risky")
        shutil.copy(kernel.site / "six.py", place.site / "six.py")
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        no_record(place)
        await verdicts(service, cluster_id, lambda d: {row.name: row.status for row in d.rows}.get("six") == "broken")
        record = "six-1.16.0.dist-info/RECORD"
        shutil.copy(kernel.site / record, place.site / record)
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        remote.processes[1].send_signal(signal.SIGSTOP)
        silent = await verdicts(service, cluster_id, lambda d: d.verdict != "equal")
        remote.processes[1].send_signal(signal.SIGCONT)
        return silent[-1]

    with remote_of(place, tmp_path / "r") as remote:
        silent = attached(kernel, remote, body)
    assert silent.unread


def test_an_upgrade_under_a_process_that_runs_the_old_one(kernel, place, tmp_path):
    """Installed is equal everywhere; what one worker runs isn't."""
    place.install("six==1.15.0")

    async def body(service, cluster_id):
        workers = [worker.id for worker in service.clusters.get(cluster_id).workers]
        link = SchedulerLink(remote.address)
        await link.evaluate_on_workers(workers[:1], "str(__import__('six'))", {})
        await service.comparing.diff(cluster_id, kernel="k")
        place.install("six==1.16.0")
        return workers, await verdicts(
            service, cluster_id, lambda d: {row.name: row.status for row in d.rows}["six"] == "restart_needed"
        )

    with remote_of(place, tmp_path / "r") as remote:
        workers, seen = attached(kernel, remote, body)
    assert "equal" not in {diff.verdict for diff in seen}
    (row,) = [row for row in seen[-1].rows if row.name == "six"]
    loaded = [x for group in row.groups for x in group.loaded if x.version == "1.15.0"]
    assert [x.nodes for x in loaded] == [(workers[0],)]


def test_refusing_nodes_are_never_equal(kernel, place, tmp_path):
    async def body(service, cluster_id):
        return await verdicts(service, cluster_id, lambda d: d.level == "versions")

    extra = {
        "DASK_DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS": '["run_function"]',
        "DASK_DISTRIBUTED__WORKER__BLOCKED_HANDLERS": '["run"]',
    }
    with remote_of(place, tmp_path / "r", extra=extra) as remote:
        seen = attached(kernel, remote, body)
    assert {diff.verdict for diff in seen} == {"unknown"}
    assert msgspec.json.encode(seen[-1])


def statuses(diff):
    return {row.name: row.status for row in diff.rows}


@pytest.mark.nightly
def test_code_that_stands_before_a_package(kernel, place, tmp_path):
    """One worker of two finds another six first; what is installed is equal everywhere."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "six.py").write_text((place.site / "six.py").read_text() + "\nNEW = 1\n")

    async def body(service, cluster_id):
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        remote.add_worker("other", extra={"PYTHONPATH": str(shadow)})
        while len(service.clusters.get(cluster_id).workers) < 3:
            await asyncio.sleep(0.05)
        return await verdicts(service, cluster_id, lambda d: statuses(d)["six"] == "content_differs")

    with remote_of(place, tmp_path / "r") as remote:
        seen = attached(kernel, remote, body)
    assert "equal" not in {diff.verdict for diff in seen}
    (row,) = [row for row in seen[-1].rows if row.name == "six"]
    assert "1 of 3 workers" in row.why
    assert "imported instead" in row.why


@pytest.mark.parametrize("kind", each_night(["file", "namespace"], ["namespace"]))
def test_code_beside_the_notebook_that_one_worker_has_otherwise(kind, kernel, place, tmp_path):
    """As after an upload that has not reached a worker; also while it is put right and spoiled again in place."""

    def write(name, text):
        path = tmp_path / name / ("helpers.py" if kind == "file" else "helpers/deep/tools.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    for name, text in (("notebook", "A = 1\n"), ("one", "A = 1\n"), ("two", "A = 2\n")):
        write(name, text)
    name = "helpers.py" if kind == "file" else "helpers/"
    module = "helpers" if kind == "file" else "helpers.deep.tools"
    process = Process(kernel.python, tmp_path / "notebook", module)

    async def body(service, cluster_id):
        def told(status):
            return lambda d: statuses(d).get(name) == status and (status != "same" or d.verdict == "equal")

        first = await verdicts(service, cluster_id, told("content_differs"))
        assert "equal" not in {diff.verdict for diff in first}
        write("two", "A = 1\n")
        await verdicts(service, cluster_id, told("same"))
        write("two", "A = 3\n")
        await verdicts(service, cluster_id, told("content_differs"))

    # The scheduler and one worker have what the notebook has.
    with remote_of(place, tmp_path / "r", workers=1, extra={"PYTHONPATH": str(tmp_path / "one")}) as remote:
        remote.add_worker("other", extra={"PYTHONPATH": str(tmp_path / "two")})
        attached(kernel, remote, body, process)


@pytest.mark.parametrize("kind", each_night(["beside", "editable"], ["beside"]))
def test_code_that_was_edited_after_its_import(kind, kernel, place, tmp_path):
    """The disks are equal, and one worker runs what was there before; a restart of the worker mends it."""
    name = {"beside": "helpers.py", "editable": "helpers"}[kind]
    for each in (kernel, place) if kind == "editable" else ():
        project = tmp_path / f"project-{each is kernel}"
        project.mkdir()
        (project / "helpers.py").write_text("A = 1\n")
        (project / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools>=64"]\nbuild-backend = "setuptools.build_meta"\n'
            '[project]\nname = "helpers"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["helpers"]\n'
        )
        each.install("-e", str(project))
    files = [
        tmp_path / ("project-True" if kind == "editable" else "notebook") / "helpers.py",
        tmp_path / ("project-False" if kind == "editable" else "cluster") / "helpers.py",
    ]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("A = 1\n")
    beside = kind == "beside"
    process = Process(kernel.python, files[0].parent if beside else None, "helpers", restarted=True)
    extra = {"PYTHONPATH": str(files[1].parent)} if beside else {}

    async def body(service, cluster_id):
        workers = sorted(worker.id for worker in service.clusters.get(cluster_id).workers)
        link = SchedulerLink(remote.address)
        # The other worker is the one that is asked for its files.
        await link.evaluate_on_workers(workers[1:], "str(__import__('helpers'))", {})
        await verdicts(service, cluster_id, settled("same"))
        for file in files:
            file.write_text("A = 2\n")
        seen = await verdicts(service, cluster_id, settled("restart_needed"))
        reload = "str(__import__('importlib').reload(__import__('helpers')))"
        await link.evaluate_on_workers(workers[1:], reload, {})
        await verdicts(service, cluster_id, settled("same"))
        return workers, seen

    def settled(status):
        return lambda d: statuses(d).get(name) == status and d.checked.content

    try:
        with remote_of(place, tmp_path / "r", extra=extra) as remote:
            workers, seen = attached(kernel, remote, body, process)
    finally:
        if kind == "editable":
            command = [find_uv_bin(), "pip", "uninstall", "-q", "--python", str(kernel.python), "helpers"]
            subprocess.run(command, check=True)
    (row,) = [row for row in seen[-1].rows if row.name == name]
    assert row.why == f"Worker {workers[1]} still runs what was there before its files were changed."
    assert row.severity == "risky"
    # From the edit on, as soon as its files were looked at.
    edited = [d for d in seen if statuses(d).get(name) != "same"]
    assert "equal" not in {d.verdict for d in edited}


@pytest.mark.parametrize("told", each_night(["told", "untold"], ["untold"]))
@pytest.mark.parametrize("met", each_night(["before", "after"], ["after"]))
def test_the_same_version_installed_again_with_other_files(met, told, kernel, place, tmp_path):
    """The disks are equal, and one worker runs the files that were there before, whether it was met by then or not."""
    first, second = (
        wheel(tmp_path / name, "again", f"__version__ = '1.0'\nA = {name!r}\n" if told == "told" else f"A = {name!r}\n")
        for name in ("first", "second")
    )

    def install(path):
        for each in (kernel, place):
            each.install("--reinstall", str(path))

    install(first)
    process = Process(kernel.python, None, "again", restarted=True)

    async def load(number):
        link = SchedulerLink(remote.address)
        while len(workers := sorted((await link.identity())["workers"])) < 2:
            await asyncio.sleep(0.05)
        await link.evaluate_on_workers(workers[number:], "str(__import__('again'))", {})
        return workers

    async def body(service, cluster_id):
        if met == "before":
            # The other worker is the one that is asked for its files.
            workers = await load(1)
            await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
            await asyncio.to_thread(install, second)
            # Who imports it from now on runs what is there.
            at_once = await service.comparing.diff(cluster_id, kernel="k")
            assert (statuses(at_once)["again"], at_once.verdict) != ("same", "equal")
            await load(0)
        else:
            workers = loaded
        seen = await verdicts(service, cluster_id, settled("restart_needed"))
        remote.add_worker("fresh")
        while len(service.clusters.get(cluster_id).workers) < 3:
            await asyncio.sleep(0.05)
        (fresh,) = {worker.id for worker in service.clusters.get(cluster_id).workers}.difference(workers)
        await SchedulerLink(remote.address).evaluate_on_workers([fresh], "str(__import__('again'))", {})
        seen += await verdicts(service, cluster_id, lambda d: settled("restart_needed")(d) and not d.unread)
        return workers, seen

    def settled(status):
        return lambda d: statuses(d).get("again") == status and d.checked.content

    try:
        with remote_of(place, tmp_path / "r") as remote:
            if met == "after":
                loaded = asyncio.run(load(1))
                time.sleep(1.5)
                install(second)
            workers, seen = attached(kernel, remote, body, process)
    finally:
        command = [find_uv_bin(), "pip", "uninstall", "-q", "--python", str(kernel.python), "again"]
        subprocess.run(command, check=True)
    assert "equal" not in {diff.verdict for diff in seen}
    (row,) = [row for row in seen[-1].rows if row.name == "again"]
    assert row.why == f"Worker {workers[1]} still runs what was there before its files were changed."
    assert row.severity == "risky"


def tree(place, name):
    """Return what is there of a package, file by file."""
    found = {}
    for top in sorted(place.site.glob(f"*{name[1:]}*")):
        # Bytecode, and what an installer writes anew each time.
        for path in (p for p in top.rglob("*") if p.is_file() and p.suffix != ".pyc"):
            if path.name not in ("REQUESTED", "INSTALLER", "direct_url.json", "uv_cache.json"):
                found[str(path.relative_to(place.site))] = path.read_bytes() if path.name != "RECORD" else b""
    return found


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_installers_that_are_killed_or_run_twice_at_once(tmp_path):
    """Whatever an installer leaves under live workers: a row is the same only where each file is what it should be."""
    kernel, place = Place(tmp_path / "kernel"), Place(tmp_path / "venv")
    for each in (kernel, place):
        each.install("networkx==3.3", "pip")
    whole = tree(kernel, "networkx")
    assert len(whole) > 500
    # With its times: what the workers have imported was not installed again.
    shutil.copytree(place.site, tmp_path / "as-it-was")
    uv = [find_uv_bin(), "pip", "install", "-q", "--no-deps", "--link-mode", "copy", "--python", str(place.python)]
    pip = [str(place.python), "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", "--no-compile"]
    pip.append("--disable-pip-version-check")

    def killed(command, requirement, until):
        process = subprocess.Popen([*command, requirement], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not until():
            time.sleep(0.0005)
        process.kill()
        process.wait()

    def count():
        return sum(name.endswith(".py") for _, _, names in os.walk(place.site / "networkx") for name in names)

    def together():
        processes = [
            subprocess.Popen([*pip, f"networkx=={version}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for version in ("3.3", "3.2.1")
        ]
        for process in processes:
            process.wait()

    ways = {
        "uv, removing": lambda: killed([*uv, "--reinstall"], "networkx==3.3", lambda: count() < 400),
        "uv, another version": lambda: killed(uv, "networkx==3.2.1", lambda: count() < 100),
        "pip, removing": lambda: killed(pip, "networkx==3.3", lambda: count() == 0),
        "pip, writing": lambda: killed(pip, "networkx==3.2.1", lambda: 0 < count() < 200),
        "two at once": together,
    }

    async def body(service, cluster_id):
        damaged, told = {}, {}
        for way, act in ways.items():
            await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
            await asyncio.to_thread(act)
            damaged[way] = tree(place, "networkx") != whole
            if damaged[way]:
                # Files are looked at beside the reading: what was seen before the damage is told for a moment.
                begun = time.monotonic()
                await verdicts(service, cluster_id, lambda d: statuses(d)["networkx"] != "same")
                # What nobody has imported may be another version, or be gone: then only its row says so.
                for _ in range(2):
                    assert statuses(await service.comparing.diff(cluster_id, kernel="k"))["networkx"] != "same", way
                told[way] = time.monotonic() - begun
            shutil.rmtree(place.site)
            shutil.copytree(tmp_path / "as-it-was", place.site)
        return damaged, told

    with remote_of(place, tmp_path / "r") as remote:
        damaged, told = attached(kernel, remote, body)
    assert sum(damaged.values()) * 2 > len(ways), damaged
    # Far less than the time after which files are looked at anyway.
    assert max(told.values()) < 18, told


def test_a_scheduler_that_differs_only_in_what_matters_to_it(kernel, place, tmp_path):
    """Workers are equal; tasks are packed by the scheduler's msgpack too, and numpy there is of no use."""
    other = Place(tmp_path / "scheduler")
    other.install("msgpack==1.0.5")

    async def body(service, cluster_id):
        return await verdicts(service, cluster_id, lambda d: d.checked.content and not d.unread)

    with remote_of(place, tmp_path / "r", scheduler_python=other.python) as remote:
        seen = attached(kernel, remote, body)
    assert "equal" not in {diff.verdict for diff in seen}
    rows = {row.name: row for row in seen[-1].rows if row.status != "same"}
    assert set(rows) == {"msgpack"}
    assert "the scheduler" in rows["msgpack"].why


def test_a_library_of_conda_that_differs(tmp_path):
    """No Python package differs; what conda has put beside them does."""
    kernel, place = Place(tmp_path / "kernel"), Place(tmp_path / "venv")
    record = '{"build": "h1_0", "channel": "https://conda.example.org/main", "name": "openssl", "version": "%s"}'

    def put(where, version):
        folder = where.python.parent.parent / "conda-meta"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        (folder / f"openssl-{version}-h1_0.json").write_text(record % version)

    put(kernel, "3.0.15")
    put(place, "3.0.15")

    async def body(service, cluster_id):
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        put(place, "1.1.1")
        await asyncio.sleep(0.6)
        return await service.comparing.diff(cluster_id, kernel="k")

    with remote_of(place, tmp_path / "r") as remote:
        after = attached(kernel, remote, body)
    assert statuses(after)["openssl"] == "differs"
    assert after.verdict != "equal"


def test_newcomers_are_never_vouched_for_by_those_before(kernel, place, tmp_path):
    """While equal is said again and again, workers of another environment join: no diff that names them is equal."""
    other = Place(tmp_path / "other")
    other.install("pluggy==1.6.0")

    async def body(service, cluster_id):
        await verdicts(service, cluster_id, lambda d: d.verdict == "equal")
        for number in range(2):
            remote.add_worker(f"late-{number}", other.python)
        seen = []
        while not seen or sum(len(g.nodes) for g in seen[-1][0].cluster.groups) < 5:
            seen.append(
                (await service.comparing.diff(cluster_id, kernel="k"), len(service.clusters.get(cluster_id).workers))
            )
            await asyncio.sleep(0.02)
        return seen

    with remote_of(place, tmp_path / "r") as remote:
        seen = attached(kernel, remote, body)
    for diff, _ in seen:
        told = {node for group in diff.cluster.groups for node in group.nodes} | {entry.node for entry in diff.unread}
        assert diff.verdict != "equal" or len(told) == 3
    assert statuses(seen[-1][0])["pluggy"] == "split"
