"""Nodes that can't fetch packages: they are sent them, no more than once, and what isn't what the lock names is not used."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import ssl
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.ledger import Ledger
from tests.environments import copied
from tests.index import Index, make_tls, make_wheel
from tests.remote import RemoteCluster
from tests.supervisor.test_sync import OLD, TODAY, Lab, lab, python_of, told

DEAD = "http://127.0.0.1:9/simple"
"""Nothing listens there."""
CUT_OFF = {"UV_DEFAULT_INDEX": DEAD, "PIP_INDEX_URL": DEAD, "UV_HTTP_RETRIES": "0", "PIP_NO_INDEX": "1"}
KERNEL = (*TODAY, "numpy==2.4.6", "ipykernel")


@contextlib.contextmanager
def cut_off(folder: Path, python: Path, *, extra: dict[str, str] | None = None, **fields):
    """Run somebody's cluster on a host that has no index and nothing in its caches; yield it and its home of layers."""
    cache = folder / "cache"
    own = {"XDG_CACHE_HOME": str(cache), "UV_CACHE_DIR": str(folder / "uv"), **CUT_OFF, **(extra or {})}
    with RemoteCluster(folder / "remote", python, extra=own, **fields) as cluster:
        yield cluster, cache / "coiled-jupyter" / "layers"


def sizes(home: Path) -> dict[str, int]:
    """Return the files that a host was sent, with their bytes."""
    return {path.name: path.stat().st_size for path in (home / ".files").glob("*/*")}


def crossed(sync) -> float:
    """Return the megabytes that a sync says to have sent."""
    return max(
        [0.0, *(float(found) for line in sync.log.lines for found in re.findall(r"([\d.]+) MB were sent", line))]
    )


def test_a_host_without_an_index_is_sent_the_wheels_once_as_the_plan_says(tmp_path):
    kernel, remote = python_of("3.11", *KERNEL), python_of("3.11", *TODAY)

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["numpy"])
        assert plan.how == "roll", plan
        (said,) = [text for text in plan.restarts if "sent" in text]
        count, size = re.match(
            rf"(\d+) wheels \((\d+) MB\) are sent to {os.uname().nodename} by this computer", said
        ).groups()
        assert "it doesn't reach the package index" in said
        assert not home.exists()
        ended = await lab.sync(plan)
        assert ended.state == "done", told(ended)
        # Two workers of one host, and each file once.
        files = sizes(home)
        assert len(files) == int(count)
        assert round(sum(files.values()) / 1e6) == int(size)
        assert crossed(ended) == pytest.approx(sum(files.values()) / 1e6, abs=0.1)
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in (home / ".files").glob("*/*"))
        assert lab.row(await lab.diff(made), "numpy").severity == "same"

    with cut_off(tmp_path, remote, workers=2) as (cluster, home):
        lab(body, {"k": (kernel, ("numpy",))})


def uv_that(folder: Path, answer: str) -> dict[str, str]:
    """Return the variables of a node whose uv says this about the index, whatever that is, and else is itself."""
    program = folder / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$2" = compile ] && {answer}\nexec {find_uv_bin()} "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.nightly
def test_a_host_of_another_python_is_sent_the_wheels_of_its_own(tmp_path):
    kernel, remote = python_of("3.11", *TODAY, "numpy==2.2.6", "ipykernel"), python_of("3.10", *OLD)

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["numpy"])
        assert any("sent to" in text for text in plan.restarts), plan
        ended = await lab.sync(plan)
        assert ended.state == "done", told(ended)
        (numpy,) = [name for name in sizes(home) if name.startswith("numpy-")]
        assert "-cp310-cp310-manylinux" in numpy

    with cut_off(tmp_path, remote, workers=1) as (cluster, home):
        lab(body, {"k": (kernel, ("numpy",))})


@pytest.mark.nightly
def test_where_it_can_not_be_told_a_host_fetches_itself_and_is_sent_the_rest_if_it_fails(tmp_path):
    kernel, remote = python_of("3.11", *KERNEL), python_of("3.11", *TODAY)

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["numpy"])
        (said,) = [text for text in plan.restarts if "sent" in text]
        assert said.startswith("It could not be told whether")
        ended = await lab.sync(plan)
        assert ended.state == "done", told(ended)
        assert any("can't fetch the packages, so this computer sends them" in line for line in ended.log.lines)
        assert sizes(home)

    with cut_off(tmp_path, remote, extra=uv_that(tmp_path, "sleep 30")) as (cluster, home):
        lab(body, {"k": (kernel, ("numpy",))})


@pytest.mark.nightly
def test_a_host_that_only_seemed_to_reach_the_index_is_sent_the_wheels_by_the_next_plan(tmp_path):
    kernel, remote = python_of("3.11", *KERNEL), python_of("3.11", *TODAY)

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["numpy"])
        assert not [text for text in plan.restarts if "sent" in text]
        failed = await lab.sync(plan)
        assert failed.state == "failed", told(failed)
        assert "could not be built on" in failed.result.text
        assert "which could not fetch the packages: The packages could not be installed: " in failed.result.text
        assert (
            "Make a new plan: if this computer reaches the index, it sends them. Nothing was changed"
            in failed.result.text
        )
        again = await lab.plan(made, scope=["numpy"])
        assert any("sent to" in text for text in again.restarts), again
        ended = await lab.sync(again)
        assert ended.state == "done", told(ended)

    with cut_off(tmp_path, remote, extra=uv_that(tmp_path, "exit 0")) as (cluster, _):
        lab(body, {"k": (kernel, ("numpy",))})


@pytest.fixture
def big(tmp_path):
    """An index with a large package, behind a password, and a kernel that has it."""
    wheels = tmp_path / "wheels"
    noise = random.Random(3).randbytes(40 << 20)
    path = make_wheel(wheels, "cj_big", {"cj_big.py": "__version__ = '1.0'\n", "cj_big.txt": noise.hex()})
    index = Index(wheels, "me:hunter22secret")
    kernel = copied(python_of("3.11", *TODAY, "ipykernel"), tmp_path / "kernel")
    options = ["--no-deps", "--index", index.url]
    subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", kernel, *options, "cj-big"], check=True)
    yield index, path, {"k": (kernel, ("cj_big",))}
    index.stop()


@pytest.mark.nightly
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "cancelled"])
def test_when_sending_is_broken_off_the_next_sync_sends_only_the_rest(tmp_path, big, killed):
    index, path, kernels = big

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["cj-big"])
        # Credentials stay here, so nobody has to agree that they cross in the open.
        assert plan.needs == ()
        begun = await lab.service.sync(plan.id)

        def arrived() -> int:
            return max([0, *(size for name, size in sizes(home).items() if name == f"{path.name}.part")])

        await lab.until(lambda: arrived() > 8 << 20)
        os.kill(Ledger().get(made).pid, signal.SIGKILL)
        have = arrived()
        assert have < path.stat().st_size
        ended = await lab.ended(begun)
        assert ended.state in ("failed", "lost"), told(ended)
        await lab.until(lambda: lab.service.clusters.get(made).status in ("running", "idle"))
        again = await lab.plan(made, scope=["cj-big"])
        ended = await lab.sync(again)
        assert ended.state == "done", told(ended)
        assert crossed(ended) <= (sum(sizes(home).values()) - have) / 1e6 + 0.1
        everything = [*cluster.folder.glob("log"), *home.glob("**/*.json")]
        assert not [file for file in everything if "hunter22" in file.read_text(errors="replace")]
        assert "hunter22" not in "".join(ended.log.lines)

    with cut_off(tmp_path / "cluster", python_of("3.11", *TODAY)) as (cluster, home):
        lab(body, kernels, Configuration(index_options=("--index", index.url)))


@pytest.mark.nightly
def test_a_file_that_is_not_the_locked_one_is_not_sent(tmp_path, big):
    index, path, kernels = big

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["cj-big"])
        # Somebody puts another file there under the same name.
        make_wheel(path.parent, "cj_big", {"cj_big.py": "__version__ = '1.0'  # not the one\n"})
        failed = await lab.sync(plan)
        assert failed.state == "failed", told(failed)
        assert f"{path.name} on the index isn't the file that the plan's lock names" in failed.result.text
        assert "Nothing was changed" in failed.result.text
        assert not [name for name in sizes(home) if name.startswith("cj_big")]
        index.stop()
        with pytest.raises(Exception, match="can't be"):
            await lab.plan(made, scope=["cj-big"])
        index.start()

    with cut_off(tmp_path / "cluster", python_of("3.11", *TODAY)) as (cluster, home):
        lab(body, kernels, Configuration(index_options=("--index", index.url)))


@pytest.mark.nightly
def test_a_host_that_trusts_other_certificates_is_sent_the_wheels(tmp_path, monkeypatch):
    wheels, tls = tmp_path / "wheels", make_tls(tmp_path / "tls")
    make_wheel(wheels, "cj_some")
    known = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    both = tmp_path / "both.pem"
    both.write_bytes(Path(known).read_bytes() + (tls / "cert.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    index = Index(wheels, tls=tls)
    kernel = copied(python_of("3.11", *TODAY, "ipykernel"), tmp_path / "kernel")
    options = ["--no-deps", "--index", index.url]
    subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", kernel, *options, "cj-some"], check=True)

    async def body(lab: Lab) -> None:
        made = await lab.attach(cluster)
        plan = await lab.plan(made, scope=["cj-some"])
        assert any("it doesn't reach the package index" in text for text in plan.restarts), plan
        ended = await lab.sync(plan)
        assert ended.state == "done", told(ended)
        assert "cj_some-1.0-py3-none-any.whl" in sizes(tmp_path / "cache" / "coiled-jupyter" / "layers")

    own = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "UV_CACHE_DIR": str(tmp_path / "uv"), "SSL_CERT_FILE": known}
    try:
        with RemoteCluster(tmp_path / "remote", python_of("3.11", *TODAY), extra=own) as cluster:
            lab(body, {"k": (kernel, ("cj_some",))}, Configuration(index_options=("--index", index.url)))
    finally:
        index.stop()
