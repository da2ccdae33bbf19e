"""What people have reported, with real kernels and clusters of such environments: the verdict, the rows, and explain."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field

import pytest
from jupyter_client import BlockingKernelClient

from tests.environments import environment, interpreters
from tests.kernelspecs import kernel_spec
from tests.nightly import each_night
from tests.processes import JupyterServer, short_folder, wait_for
from tests.remote import RemoteCluster

TODAY = ("distributed==2026.8.0", "dask==2026.8.0", "cloudpickle==3.1.2", "numpy==2.4.6")
MAY = ("distributed==2024.5.0", "dask==2024.5.0", "cloudpickle==3.1.2")
NUMPY_1 = (*TODAY[:3], "numpy==1.26.4", "pandas==2.0.3")
LEARN = (*TODAY[:3], "numpy==1.26.4", "scikit-learn==1.3.2", "scipy==1.12.0")
KERNEL = "ipykernel==7.1.0"
OPEN = "from distributed import Client\nclient = Client({address!r}, timeout=30)"


def task(line: str, *, before: str = "", value: str = "1") -> str:
    return f"{before}\ndef f(x):\n    {line}\n    return x\nclient.submit(f, {value}, pure=False).result(timeout=40)"


@dataclass(frozen=True)
class Case:
    """The environments of both sides, what the notebook runs, and what is right.

    Attributes
    ----------
    rows
        By package: severity, and how the notebook uses it.
    explained
        By a part of the text of a failed cell, the basis of its explanation and the rows that it points at.

    """

    kernel: tuple[str, ...]
    cluster: tuple[str, ...]
    cells: tuple[str, ...]
    verdict: str
    rows: dict[str, tuple[str, str]]
    explained: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    python: str = "3.11"
    extra: dict[str, str] = field(default_factory=dict)


GOOGLE = "from google.protobuf import struct_pb2"
BLOB = "from azure.storage.blob import BlobClient"
CASES = {
    "only Dask's client has imported it": Case(
        (*MAY, "numpy==1.26.4", "pandas==2.2.2"), MAY, (task("pass"),), "compatible",
        {"numpy": ("minor", ""), "pandas": ("minor", "")}, python="3.10",
    ),
    "a namespace": Case(
        (*TODAY, "protobuf==5.29.5"), TODAY, (task(GOOGLE, before=GOOGLE),), "breaks", {"protobuf": ("breaks", "imported")},
        {"No module named 'google'": ("named", ["protobuf"])},
    ),
    "a namespace in a namespace": Case(
        (*TODAY, "azure-storage-blob==12.25.1", "azure-storage-queue==12.12.0", "azure-core==1.34.0"), TODAY,
        (task(BLOB, before=BLOB),), "breaks",
        {"azure-storage-blob": ("breaks", "imported"), "azure-core": ("breaks", "needed"), "azure-storage-queue": ("minor", "")},
        {"No module named 'azure'": ("named", ["azure-core", "azure-storage-blob", "azure-storage-queue"])},
    ),
    "other names": Case(
        (*TODAY, "grpcio==1.73.0", "tzdata==2025.2"), TODAY,
        (task("import grpc", before="import grpc"), task("__import__('zoneinfo').ZoneInfo('US/Pacific')")), "breaks",
        {"grpcio": ("breaks", "imported")},
        {"No module named 'grpc'": ("named", ["grpcio"]), "No time zone found": ("named", ["tzdata"])},
        extra={"PYTHONTZPATH": ""},
    ),
    "compiled for another numpy": Case(
        NUMPY_1, (*TODAY[:3], "numpy==2.2.6", "pandas==2.0.3"),
        (task("import pandas", before="import pandas"), task("pass", value="pandas.DataFrame({'a': [1]})")), "breaks",
        {"numpy": ("breaks", "needed"), "pandas": ("same", "imported")},
        {"numpy.dtype size changed": ("named", ["numpy"])},
    ),
    "a model of another major version": Case(
        (*LEARN, "lightgbm==4.5.0"), (*LEARN, "lightgbm==3.3.5"), ("import lightgbm",), "breaks",
        {"lightgbm": ("breaks", "imported"), "scikit-learn": ("same", "loaded")},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = JupyterServer(
        tmp_path_factory.mktemp("server"),
        env={"COILED_JUPYTER_RUNTIME_DIR": short_folder(), "COILED_JUPYTER_PACE": "1"},
    )
    yield server
    server.close()


@contextlib.contextmanager
def notebook(server: JupyterServer, python: str, name: str):
    """Run a kernel of this Python; yields its id and a function that runs a cell and returns the text of its failure."""
    kernel_spec(server.root / "home" / "data", name, python)
    body = {"path": f"{name}.ipynb", "name": name, "type": "notebook", "kernel": {"name": name}}
    status, session = server.ask("POST", "/api/sessions", body, timeout=120)
    assert status == 201, session
    client = BlockingKernelClient(
        connection_file=str(server.root / "home" / "run" / f"kernel-{session['kernel']['id']}.json")
    )
    client.load_connection_file()
    client.start_channels(hb=False)
    try:
        client.wait_for_ready(timeout=120)

        def run(code: str) -> str:
            found: list[str] = []
            client.execute_interactive(
                code,
                timeout=180,
                output_hook=lambda m: found.extend(m["content"]["traceback"]) if m["msg_type"] == "error" else None,
            )
            return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(found))

        yield session["kernel"]["id"], run
    finally:
        client.stop_channels()
        server.ask("DELETE", f"/api/sessions/{session['id']}", timeout=60)


def attached(server: JupyterServer, remote: RemoteCluster) -> str:
    status, cluster = server.api("POST", "clusters", remote.body(), timeout=60)
    assert status == 202, cluster
    return cluster["id"]


def known(server: JupyterServer, cluster: str, kernel: str) -> dict:
    """Return the diff once all was read."""

    def whole() -> dict | None:
        status, diff = server.api("GET", f"diff?cluster={cluster}&kernel={kernel}", timeout=60)
        assert status == 200, diff
        return diff if diff["checked"]["content"] and not diff["unread"] else None

    return wait_for(whole, seconds=120, what="a whole reading")


def python_of(version: str, *requirements: str) -> str:
    if version not in interpreters():
        pytest.skip(f"no Python {version} on this machine")
    return str(environment(interpreters()[version], *requirements))


@pytest.mark.parametrize("name", each_night(CASES, ("a namespace",)))
def test_what_was_reported_is_told_right(name, server, tmp_path):
    case = CASES[name]
    kernel_python = python_of(case.python, KERNEL, *case.kernel)
    with (
        RemoteCluster(tmp_path / "remote", python_of(case.python, *case.cluster), extra=case.extra) as remote,
        notebook(server, kernel_python, re.sub("[^a-z]", "", name)) as (kernel, run),
    ):
        cluster = attached(server, remote)
        assert run(OPEN.format(address=remote.address)) == ""
        failures = [text for text in map(run, case.cells) if text]
        diff = known(server, cluster, kernel)
        rows = {row["name"]: row for row in diff["rows"]}
        found = {each: (rows[each]["severity"], rows[each]["use"]) for each in case.rows}
        assert (diff["verdict"], found) == (case.verdict, case.rows), [rows[each]["why"] for each in case.rows]
        for part, expected in case.explained.items():
            text = next(text for text in failures if part in text)
            status, told = server.api(
                "POST", "explain", {"kernel": kernel, "cluster": cluster, "text": text}, timeout=60
            )
            assert status == 200, told
            assert (told["basis"], sorted(cause["row"]["name"] for cause in told["causes"])) == expected, told["text"]
        server.api("DELETE", f"clusters/{cluster}")


@pytest.mark.nightly
def test_a_sync_that_a_plugin_undoes_says_which(server, tmp_path):
    """`PipInstall` puts its version into each worker that starts, so what the sync gave is there no more."""
    cluster_python = python_of("3.11", *TODAY, "pip==25.1.1", "humanize==4.0.0")
    kernel_python = python_of("3.11", KERNEL, *TODAY, "humanize==4.12.3")
    plugin = "from distributed import PipInstall\nclient.register_plugin(PipInstall(packages=['humanize==4.0.0']))"
    names = "[client.unregister_worker_plugin(n) for n in client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins)) if 'PipInstall' in n]"
    with (
        RemoteCluster(tmp_path / "remote", cluster_python) as remote,
        notebook(server, kernel_python, "plugin") as (kernel, run),
    ):
        cluster = attached(server, remote)
        assert run(OPEN.format(address=remote.address)) == ""
        assert run(plugin) == ""
        known(server, cluster, kernel)

        def synced() -> tuple[dict, dict]:
            body = {"kernel": kernel, "cluster": cluster, "scope": ["humanize"]}
            status, plan = server.api("POST", "plans", body, timeout=120)
            assert status == 201, plan
            status, sync = server.api("POST", "syncs", {"plan": plan["id"]}, timeout=60)
            assert status in (201, 202), sync
            ends = ("done", "failed", "cancelled", "lost")
            ended = lambda: (s := server.api("GET", f"syncs/{sync['id']}")[1])["state"] in ends and s  # noqa: E731
            return plan, wait_for(ended, seconds=240, what="the end of a sync")

        plan, failed = synced()
        assert any("The plugin PipInstall-" in line for line in plan["restarts"]), plan["restarts"]
        assert failed["state"] == "failed"
        said = failed["result"]["text"]
        begin = r"A worker on \S+ isn't as planned: humanize is 4\.0\.0 instead of 4\.12\.3\. The plugin PipInstall-"
        assert re.match(begin, said), said
        assert "client.unregister_worker_plugin('PipInstall-" in said
        assert run(names) == ""
        plan, done = synced()
        assert not any("plugin" in line for line in plan["restarts"])
        assert done["state"] == "done", done["result"]
        server.api("DELETE", f"clusters/{cluster}")
