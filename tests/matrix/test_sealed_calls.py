"""Everyday calls of Dask by a client that seals its graphs, to a scheduler that has none of the packages in them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from coiled_jupyter import texts
from tests.environments import environment, interpreters
from tests.remote import RemoteCluster

PROGRAM = Path(__file__).with_name("sealed_calls.py")
# Of each form in which Dask has sent graphs the first and the last, with packages of its time.
OF_THEIR_TIME = {
    "2023.4.1": ("3.10", ("numpy<1.25", "pandas<2.1", "pyarrow<15", "setuptools<80")),
    "2023.5.1": ("3.10", ("numpy<1.25", "pandas<2.1", "pyarrow<15", "setuptools<80")),
    "2024.5.2": ("3.11", ("numpy<2", "pandas<2.3", "pyarrow<17", "setuptools<80")),
    "2024.12.1": ("3.11", ("numpy<2.3", "pandas<2.3", "pyarrow", "dask-expr")),
    "2025.4.1": ("3.11", ("numpy<2.3", "pandas<2.3", "pyarrow")),
    "2026.8.0": ("3.11", ("numpy==2.4.6", "pandas==2.3.3", "pyarrow")),
}
# What can't work whoever sends it: the scheduler has no bokeh.
NEVER = frozenset({"report"})
# A shuffle's description carries its data there, so it's refused before it is sent.
REFUSED = {"2023.4.1": frozenset({"shuffle_by_p2p", "merge_by_p2p", "rechunk_by_p2p"})}
REFUSED["2023.5.1"] = REFUSED["2023.4.1"]


def of_dask(version: str, *, bare: bool) -> Path:
    minor, packages = OF_THEIR_TIME[version]
    if minor not in interpreters():
        pytest.skip(f"no Python {minor} on this machine")
    old = ("setuptools<80",) if minor == "3.10" or version < "2024.12" else ()
    return environment(
        interpreters()[minor], f"distributed=={version}", f"dask=={version}", *(old if bare else packages)
    )


def outcomes(folder: Path, scheduler: Path, client: Path, *, sealed: bool, names: tuple[str, ...] = ()):
    folder.mkdir(exist_ok=True)
    text = folder / "seal.txt"
    text.write_text(texts.source("seal"))
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DASK"))}
    options = ("--resources", "R=1")
    with RemoteCluster(folder / "cluster", client, workers=2, scheduler_python=scheduler, arguments=options) as cluster:
        done = subprocess.run(
            [str(client), str(PROGRAM), cluster.address, str(text) if sealed else "-", *names],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=280,
        )
    lines = dict(
        line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("OUTCOMES ", "SCHEDULER "))
    )
    assert lines, done.stderr[-3000:]
    return json.loads(lines["OUTCOMES"]), json.loads(lines["SCHEDULER"])


@pytest.mark.parametrize(
    "version",
    [pytest.param(v, marks=() if v == "2026.8.0" else pytest.mark.nightly) for v in OF_THEIR_TIME],
)
def test_a_scheduler_without_the_packages_takes_every_call(version, tmp_path):
    client = of_dask(version, bare=False)
    found, loaded = outcomes(tmp_path, of_dask(version, bare=True), client, sealed=True)
    assert loaded == []
    assert len(found) > 50
    refused = REFUSED.get(version, frozenset())
    assert {name: why for name, why in found.items() if why != "ok" and name not in NEVER | refused} == {}
    assert all("can't be sent sealed" in found[name] for name in refused), found


@pytest.mark.nightly
@pytest.mark.parametrize("version", OF_THEIR_TIME)
def test_what_works_plain_works_sealed(version, tmp_path):
    client = of_dask(version, bare=False)
    plain, _ = outcomes(tmp_path / "plain", client, client, sealed=False)
    assert {name: why for name, why in plain.items() if why != "ok" and name not in NEVER} == {}
