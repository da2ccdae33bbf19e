"""Named software environments: locked for this machine, kept whole, exported, built once, and freed when nothing uses them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from packaging.pylock import Pylock

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.errors import Conflict, Impossible, Invalid, NotFound, Unavailable
from coiled_jupyter.software import build as builds
from coiled_jupyter.software.named import cleaning, export, files, kernels, locking
from coiled_jupyter.software.named.locking import LockRequest
from coiled_jupyter.software.named.store import NamedEnvironments
from tests.index import Index, make_wheel

OWN = ".".join(map(str, sys.version_info[:3]))
SMALL = LockRequest(
    source="requirements",
    python=OWN,
    interpreter=sys.executable,
    required=("dask==2026.3.0", "distributed==2026.3.0", "iniconfig==2.0.0"),
)
RIGHT = "b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return tmp_path / "data" / "environments"


@pytest.fixture
def environments() -> NamedEnvironments:
    return NamedEnvironments(Configuration())


def create(environments, name="small", wanted=SMALL, **fields):
    return asyncio.run(locking.create(environments, name, wanted, **fields))


def test_it_is_locked_kept_and_exported_the_same(environments, folder):
    made = create(environments)
    assert made.versions["iniconfig"] == "2.0.0"
    assert environments.get("small") == made
    assert (folder / "small.json").stat().st_mode & 0o777 == 0o600
    assert environments.names() == ["small"]
    requirements = export.as_file(made, "requirements")
    assert set(files.parse(requirements.filename, requirements.text, OWN).lines) == set(made.pins)
    pylock = export.as_file(made, "pylock")
    assert set(files.parse(pylock.filename, pylock.text, OWN).lines) == set(made.pins)
    Pylock.from_dict(msgspec.toml.decode(pylock.text)).validate()
    conda = export.as_file(made, "environment")
    assert set(files.parse(conda.filename, conda.text, OWN).lines) == set(made.pins)
    # The same again is the same lock, so the same build.
    again = create(environments, "again", msgspec.structs.replace(SMALL, required=made.pins))
    assert again.lock == made.lock


def test_what_it_exports_installs(environments, tmp_path):
    made = export.as_file(create(environments), "pylock")
    (tmp_path / made.filename).write_text(made.text)
    uv = [os.fsdecode(builds.uv.binary())]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, "v"], cwd=tmp_path, check=True)
    command = [*uv, "pip", "sync", "-q", "--python", "v/bin/python", made.filename]
    subprocess.run(command, cwd=tmp_path, check=True)
    code = "import distributed, iniconfig; print(distributed.__version__)"
    done = subprocess.run([tmp_path / "v/bin/python", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "2026.3.0"


def test_names_are_taken_once(environments):
    create(environments)
    for name in ("small", "Small"):
        with pytest.raises(Conflict):
            create(environments, name)
    six = msgspec.structs.replace(SMALL, required=(*SMALL.required[:2], "six==1.17.0"))
    assert "six" in create(environments, wanted=six, replace=True).versions
    with pytest.raises(NotFound, match="did you mean small"):
        environments.get("smal")
    environments.delete("small")
    for act in (environments.get, environments.delete):
        for name in ("small", "../small", ".", "", "a" * 200, "x\0y"):
            with pytest.raises(NotFound):
                act(name)


def test_two_at_once_make_one(environments):
    async def both():
        return await asyncio.gather(
            *(locking.create(environments, "both", SMALL) for _ in range(2)), return_exceptions=True
        )

    made = asyncio.run(both())
    assert sorted(type(one).__name__ for one in made) == ["Conflict", "Stored"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"name": 7}'])
def test_a_damaged_file_says_so_and_can_be_deleted(environments, folder, damage):
    folder.mkdir(parents=True)
    (folder / "broken.json").write_bytes(damage)
    with pytest.raises(Unavailable, match="can't be read"):
        environments.get("broken")
    assert environments.names() == ["broken"]
    environments.delete("broken")
    assert environments.names() == []


def test_only_files_that_the_hashes_allow(environments):
    right = msgspec.structs.replace(SMALL, hashes={"iniconfig": frozenset({f"sha256:{RIGHT}"})})
    made = create(environments, wanted=right)
    (line,) = [part for part in made.lock.split("\n") if RIGHT in part]
    assert made.lock.count("--hash", made.lock.index("iniconfig"), made.lock.index(line) + len(line)) == 1
    assert asyncio.run(builds.build(environments.build_spec(made), made.lock)).prefix
    wrong = msgspec.structs.replace(SMALL, hashes={"iniconfig": frozenset({"sha256:" + "0" * 64})})
    with pytest.raises(Impossible, match="iniconfig"):
        create(environments, "wrong", wrong)


PROJECT = """[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"
[project]
name = "cj-project"
version = "3.0"
"""


def test_what_a_file_names_beside_an_index_is_locked_by_its_hash_and_stays(tmp_path):
    every = Configuration(allowed_in_files=("paths", "urls", "vcs"), allow_source_builds=True)
    environments = NamedEnvironments(every)
    wheel = make_wheel(tmp_path / "served", "cj_served", requires=["iniconfig==2.0.0"])
    project = tmp_path / "a project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "cj_project.py").write_text("VALUE = 1\n")
    index = Index(tmp_path / "served")
    try:
        url = f"http://127.0.0.1:{index.port}/files/{wheel.name}"
        text = f"dask==2026.3.0\ndistributed==2026.3.0\ncj-served @ {url}\n{project}\n"
        found = files.parse("requirements.txt", text, OWN, allowed=every.allowed_in_files)
        wanted = msgspec.structs.replace(SMALL, required=found.lines, references=found.references)
        made = create(environments, wanted=wanted)
        served, _ = found.references
        for said, wrong in (
            ("It isn't the file whose hash is named", msgspec.structs.replace(served, hashes=frozenset({"0" * 64}))),
            ("It is cj-served, not other", msgspec.structs.replace(served, name="other")),
        ):
            with pytest.raises(Impossible, match=said):
                create(environments, "wrong", msgspec.structs.replace(wanted, references=(wrong,)))
        with pytest.raises(Invalid, match="has to be built, which runs its code"):
            create(NamedEnvironments(Configuration()), "wrong", wanted)
    finally:
        index.stop()
    (project / "pyproject.toml").unlink()
    assert {"cj-served": "1.0", "cj-project": "3.0", "iniconfig": "2.0.0"}.items() <= made.versions.items()
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in made.lock
    assert {one.name for one in made.wheels} == {"cj-served", "cj-project"}
    # Where it came from isn't needed any more, neither for it nor for a kernel of it.
    assert environments.get("small") == made
    _, prefix = asyncio.run(kernels.install(environments, made))
    code = "import cj_project, cj_served, ipykernel; print(cj_project.VALUE, cj_served.__version__)"
    done = subprocess.run([prefix / "bin/python", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1.0"]
    # The files go with their environment.
    kept = [Path(one.path).parent for one in made.wheels]
    for folder in kept:
        os.utime(folder, (0, 0))
    cleaning.clean(environments, {str(prefix)})
    assert all(folder.is_dir() for folder in kept)
    environments.delete("small")
    cleaning.clean(environments, {str(prefix)})
    assert not any(folder.exists() for folder in kept)


def test_options_of_a_file_hold_beside_those_of_the_configuration(tmp_path):
    make_wheel(tmp_path / "served", "cj_served")
    index = Index(tmp_path / "served")
    try:
        environments = NamedEnvironments(Configuration(allowed_in_files=("options",)))
        text = f"--extra-index-url {index.url}\ndask==2026.3.0\ndistributed==2026.3.0\ncj-served\n"
        found = files.parse("requirements.txt", text, OWN, allowed=["options"])
        made = create(environments, wanted=msgspec.structs.replace(SMALL, required=found.lines, options=found.options))
        assert made.versions["cj-served"] == "1.0"
        assert asyncio.run(builds.build(environments.build_spec(made), made.lock)).prefix
        own = NamedEnvironments(Configuration(index_options=("--index-url=https://e/simple",)))
        twice = msgspec.structs.replace(SMALL, options=(f"--index-url {index.url}",))
        with pytest.raises(Invalid, match="conflict"):
            create(own, "other", twice)
    finally:
        index.stop()


def test_what_conda_alone_has_is_left_out_by_name(environments):
    text = "dependencies: [dask=2026.3.0, distributed=2026.3.0, libblas-of-nobody, iniconfig]"
    # The administrator's table says that it is on PyPI, which is asked.
    found = files.parse(
        "environment.yml", text, OWN, {"libblas-of-nobody": "libblas-of-nobody", "iniconfig": "iniconfig"}
    )
    wanted = msgspec.structs.replace(SMALL, required=found.lines, doubtful=found.doubtful)
    made = create(environments, wanted=wanted)
    assert [left.name for left in made.left_out] == ["libblas-of-nobody"]
    assert "iniconfig" in made.versions
    with pytest.raises(Impossible):
        create(environments, "other", msgspec.structs.replace(SMALL, required=("libblas-of-nobody",)))


def test_a_kernels_packages_hold_where_they_can(environments):
    wanted = LockRequest(source="kernel", python=OWN, preferred=("dask==2026.3.0", "iniconfig==2.0.0", "of-nobody==1"))
    made = create(environments, wanted=wanted)
    assert (made.versions["dask"], made.versions["iniconfig"]) == ("2026.3.0", "2.0.0")
    assert [left.name for left in made.left_out] == ["of-nobody"]


def test_a_python_outside_of_the_range_is_refused(environments):
    with pytest.raises(Invalid) as caught:
        create(environments, wanted=msgspec.structs.replace(SMALL, pythons=">=3.99"))
    assert caught.value.field == "python"


def test_builds_are_freed_when_nothing_uses_them(environments):
    made = create(environments)
    built = asyncio.run(builds.build(environments.build_spec(made), made.lock))
    assert environments.built(made) == built
    assert built.size > 1e6
    old = time.time() - 2 * cleaning.YOUNG_SECONDS

    def aged() -> None:
        os.utime(built.prefix, (old, old))

    aged()
    assert cleaning.clean(environments, ()).builds == 0, "a named environment's build stays"
    environments.delete("small")
    assert cleaning.clean(environments, {built.prefix}).builds == 0, "what a cluster runs from stays"
    process = subprocess.Popen([built.interpreter, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        assert cleaning.clean(environments, ()).builds == 0, "what a process runs from stays"
    os.utime(built.prefix)
    assert cleaning.clean(environments, ()).builds == 0, "what was asked for a moment ago stays"
    aged()
    assert cleaning.clean(environments, ()).builds == 1
    assert not Path(built.prefix).exists()
    assert environments.built(made) is None


def test_a_kernel_of_it_runs_its_packages(environments, tmp_path):
    made = create(environments)
    name, prefix = asyncio.run(kernels.install(environments, made))
    assert name == "coiled-small"
    (kernel,) = kernels.kernels()
    assert (kernel.name, kernel.prefix, kernel.software) == (name, str(prefix), "small")
    spec = json.loads((tmp_path / "jupyter" / "kernels" / name / "kernel.json").read_text())
    from jupyter_client.manager import start_new_kernel

    assert spec["argv"][0] == str(prefix / "bin" / "python")
    manager, client = start_new_kernel(kernel_name=name)
    try:
        told = []
        client.execute_interactive(
            "import iniconfig, sys, importlib.metadata as m; print(sys.prefix, m.version('iniconfig'))",
            timeout=60,
            output_hook=told.append,
        )
        text = "".join(m["content"].get("text", "") for m in told)
        assert text.split() == [str(prefix), "2.0.0"], told
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
