"""Clusters of other Dask and Python versions, attached by address and read; writes docs/compatibility.md.

``UPDATE_COMPATIBILITY=1`` writes the table; otherwise it must be what was seen.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import msgspec
import pytest
from packaging.version import Version

from coiled_jupyter import texts
from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.wire import ClusterAttach
from coiled_jupyter.links.scheduler import SchedulerLink, TLSFiles
from coiled_jupyter.service.facade import Service
from tests.environments import environment, interpreters
from tests.patience import deadline
from tests.remote import RemoteCluster

TABLE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
PAIRS = [
    ("2022.2.0", "3.8"),
    ("2023.5.0", "3.8"),
    ("2023.5.0", "3.10"),
    ("2024.5.0", "3.10"),
    ("2024.5.0", "3.12"),
    ("2025.5.0", "3.12"),
    ("2025.5.0", "3.13"),
    ("2026.8.0", "3.12"),
    ("2026.8.0", "3.13"),
]
OFTEN = [("2022.2.0", "3.8"), ("2023.5.0", "3.8"), ("2026.8.0", "3.13")]
# Tools of that time, where today's don't run with it any more.
BESIDE = {"2022.2.0": ("click<8.1", "setuptools<66", "tornado<6.2", "msgpack<1.1")}
FORMS = {
    "plain": {"tls": False, "dashboard": False, "nannies": True},
    "TLS": {"tls": True, "dashboard": False, "nannies": True},
    "plain, dashboard, no nanny": {"tls": False, "dashboard": True, "nannies": False},
}


def cases():
    made = []
    for index, (dask, python) in enumerate(PAIRS):
        for number, form in enumerate(FORMS):
            reduced = number == index % len(FORMS) and (dask, python) in OFTEN
            made.append(pytest.param(dask, python, form, id=f"{dask}-{python}-{form}", marks=() if reduced else FULL))
    return made


FULL = pytest.mark.nightly


def dask_environment(dask: str, python: str) -> Path:
    found = interpreters()
    if python not in found:
        pytest.skip(f"no Python {python} on this machine: Dask {dask} on Python {python} is left out")
    more = ("bokeh>=3.1", "numpy<3") if python != "3.8" else ()
    return environment(found[python], f"distributed=={dask}", *BESIDE.get(dask, ()), *(more if dask > "2026" else ()))


def test_enough_pairs():
    found = [(dask, python) for dask, python in PAIRS if python in interpreters()]
    assert len(found) >= 6, f"only {found}"
    assert len({python for _, python in found}) >= 3, f"only {found}"


@pytest.mark.parametrize(("dask", "python", "form"), cases())
def test_scheduler_workers_and_nannies_are_read(dask, python, form, tmp_path):
    options = FORMS[form]

    attached: list[str] = []

    async def go(remote):
        service = Service(Configuration(tls_roots=(str(tmp_path),)))
        await service.start()
        try:
            cluster = await service.clusters.attach(msgspec.convert(remote.body(), ClusterAttach))
            attached.append(cluster.id)
            end = deadline(60)
            while True:
                diff = await service.comparing.diff(cluster.id)
                environments = await service.comparing.environments(cluster=cluster.id)
                nodes = [node for e in environments for node in e.nodes]
                compared = sum(len(group.nodes) for group in diff.cluster.groups)
                if len(nodes) == compared == 3 and not diff.unread and all(e.content_at for e in environments):
                    break
                now = service.clusters.get(cluster.id)
                assert time.monotonic() < end, (now.status, now.reason, diff.unread, nodes, remote.log())
                await asyncio.sleep(0.2)
            tls = remote.tls and TLSFiles(
                ca=remote.tls["ca_file"], cert=remote.tls["cert_file"], key=remote.tls["key_file"]
            )
            link = SchedulerLink(remote.address, tls)
            workers = [node for node in nodes if node != "scheduler"]
            names = texts.node_names("keys")
            nannies = await link.evaluate_on_workers(workers, texts.LOAD, names, nanny=True)
            await service.clusters.delete(attached.pop())
            await asyncio.sleep(0.5)
            return diff, environments, nannies
        finally:
            for cluster_id in attached:
                await service.clusters.delete(cluster_id)
            await service.close()

    loud = {"DASK_LOGGING__DISTRIBUTED": "info"}
    with RemoteCluster(tmp_path / "remote", dask_environment(dask, python), workers=2, extra=loud, **options) as remote:
        diff, environments, nannies = asyncio.run(go(remote))
        # Nobody's log tells of a reading.
        said = (remote.folder / "log").read_text(errors="replace")
        assert "Registered to" in said
        assert not re.search("out-of-band|[Cc]oiled|Traceback", said), said
        # What we have left is not what we have stopped.
        assert all(process.poll() is None for process in remote.processes), remote.log()
    assert not diff.unread
    assert diff.level == "all"
    assert {e.level for e in environments} == {"all"}
    assert {e.python.rpartition(".")[0] for e in environments} == {python}
    for found in environments:
        packages = {package.name: package for package in found.packages}
        assert packages["distributed"].version == dask
        (loaded,) = packages["distributed"].loaded
        assert Version(loaded.version) == Version(dask)
        assert set(loaded.nodes) == set(found.nodes)
        assert not {p.kind for p in found.problems} - {"edited"}
    assert {e.role for e in environments} == {"worker", "scheduler"}
    if options["nannies"]:
        assert all(isinstance(answer, str) and len(answer) == 17 for answer in nannies.values()), nannies
    row = f"| {dask} | {python} | {form} | scheduler, workers{', nannies' if options['nannies'] else ''} | all |"
    if os.environ.get("UPDATE_COMPATIBILITY"):
        rows = {line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| 2")}
        TABLE.write_text(HEAD + "".join(f"{line}\n" for line in sorted({*rows, row})), encoding="utf-8")
    assert row in TABLE.read_text(encoding="utf-8").splitlines()


def test_the_table_has_each_pair_in_each_form_and_nothing_else():
    rows = [line.split(" | ")[:3] for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| 2")]
    assert rows == sorted(["| " + dask, python, form] for dask, python in PAIRS for form in FORMS)


HEAD = """# Which clusters can be read

Each row was seen: a cluster of this version is started by its own programs, attached by its address, and read from a
server on Python 3.11 with Dask 2026.8.0. `tests/matrix/test_compatibility.py` writes this table (with
`UPDATE_COMPATIBILITY=1`, and `--nightly` for every row); each run checks it.

Reading needs no `distributed.Client`, which can't even connect between some of these versions. Only text, and builtins by
reference, cross to another Python.

| Dask | Python | connection | read | level |
|---|---|---|---|---|
"""
