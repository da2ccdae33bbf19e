"""Wheels of what no index has: built from a copy, with the kernel's version, bounded, and installable elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from coiled_jupyter.core.wire import Package, Source
from coiled_jupyter.software import index, local, uv
from tests.software.test_resolve import run as resolved
from tests.software.test_resolve import wheel as wheel_file

SETUPTOOLS = """[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"
[project]
name = "cj-project"
version = "1.0"
dependencies = ["iniconfig==2.0.0"]
"""


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "a project"
    (root / "src/cj_project").mkdir(parents=True)
    (root / "src/cj_project/__init__.py").write_text("VALUE = 1\n")
    (root / "pyproject.toml").write_text(SETUPTOOLS)
    return root


def package(name: str, version: str, kind, path, commit: str | None = None) -> Package:
    url = str(path) if kind == "module" or not isinstance(path, Path) else path.as_uri()
    return Package(name=name, version=version, source=Source(url=url, kind=kind, commit=commit))


def collect(*packages: Package, **more) -> local.Collected:
    return asyncio.run(local.collect(packages, python=sys.executable, index=index.parse([]), **more))


def one(*packages: Package) -> local.Wheel:
    found = collect(*packages)
    assert found.refused == {}
    (wheel,) = found.wheels.values()
    assert wheel.sha256 == hashlib.sha256(Path(wheel.path).read_bytes()).hexdigest()
    return wheel


def refusal(*packages: Package) -> str:
    found = collect(*packages)
    assert found.wheels == {}
    (reason,) = found.refused.values()
    return reason


def tree(root: Path) -> dict[str, tuple]:
    """Everything below a folder: bytes, modes and times."""
    states = {path: path.lstat() for path in [root, *root.rglob("*")]}
    return {
        str(path): (state.st_mode, state.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, state in states.items()
    }


def inside(wheel: local.Wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel.path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


class Counted:
    """The program itself, counted."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, ...]] = []
        self.execute = uv.execute

    async def __call__(self, *argv, **more):
        self.runs.append(argv)
        return await self.execute(*argv, **more)


# ---- projects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["editable", "directory"])
def test_a_project_is_built_and_left_as_it_is(kind, project, monkeypatch):
    (project / ".git").mkdir()
    (project / ".git/big").write_bytes(b"x" * 1000)
    before = tree(project)
    counted = Counted()
    monkeypatch.setattr(uv, "execute", counted)
    built = one(package("cj-project", "1.0", kind, project))
    assert (built.name, built.version) == ("cj-project", "1.0")
    assert inside(built) == {"cj_project/__init__.py": b"VALUE = 1\n"}
    assert tree(project) == before
    assert one(package("cj-project", "1.0", kind, project)) == built
    assert len(counted.runs) == 1
    (project / "src/cj_project/__init__.py").write_text("VALUE = 2\n")
    changed = one(package("cj-project", "1.0", kind, project))
    assert changed.sha256 != built.sha256
    assert inside(changed) == {"cj_project/__init__.py": b"VALUE = 2\n"}


def test_a_version_that_comes_from_a_repository_is_the_installed_one(project):
    text = SETUPTOOLS.replace("setuptools>=70", 'setuptools>=70", "setuptools_scm>=8')
    (project / "pyproject.toml").write_text(
        text.replace('version = "1.0"', 'dynamic = ["version"]') + "[tool.setuptools_scm]\n"
    )
    assert one(package("cj-project", "1.3.dev4+gabc", "editable", project)).version == "1.3.dev4+gabc"


def test_another_version_than_the_kernels_is_no_wheel_of_it(project):
    reason = refusal(package("cj-project", "0.9", "editable", project))
    assert "0.9" in reason
    assert "1.0" in reason
    assert "install it again" in reason


def test_why_it_can_not_be_built(project, tmp_path):
    (project / "setup.py").write_text("raise RuntimeError('there is no compiler')\n")
    reason = refusal(package("cj-project", "1.0", "editable", project))
    assert "there is no compiler" in reason
    assert "coiled-jupyter-" not in reason
    assert "no longer exists" in refusal(package("cj-project", "1.0", "editable", tmp_path / "gone"))
    assert "isn't on this machine" in refusal(package("x", "1", "archive", "https://host/x-1.tar.gz"))
    assert "isn't on this machine" in refusal(package("x", "1", "editable", "file://elsewhere/x"))


def test_what_a_former_build_left_behind_and_what_is_no_code_stays_away(project):
    (project / "build/lib/cj_project").mkdir(parents=True)
    (project / "build/lib/cj_project/removed.py").write_text("")
    (project / "env").mkdir()
    (project / "env/pyvenv.cfg").write_text("")
    (project / "env/huge").write_bytes(b"")
    os.truncate(project / "env/huge", local.SIZE_LIMIT + 1)
    os.mkfifo(project / "pipe")
    assert inside(one(package("cj-project", "1.0", "editable", project))) == {"cj_project/__init__.py": b"VALUE = 1\n"}


def test_a_tree_is_bounded(project, monkeypatch):
    os.truncate(project / "pyproject.toml", local.SIZE_LIMIT + 1)
    assert "more than 200 MB" in refusal(package("cj-project", "1.0", "editable", project))
    (project / "pyproject.toml").write_text(SETUPTOOLS)
    monkeypatch.setattr(local, "FILE_LIMIT", 1)
    assert "more than 1 files" in refusal(package("cj-project", "1.0", "editable", project))


def test_links_out_of_the_tree_are_not_followed(project, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hunter22")
    (project / "src/cj_project/data").symlink_to(secret)
    (project / "src/cj_project/key.txt").symlink_to(secret / "key")
    (project / "src/cj_project/loop").symlink_to(project)
    (project / "src/cj_project/same.py").symlink_to("__init__.py")
    found = inside(one(package("cj-project", "1.0", "editable", project)))
    assert set(found) == {"cj_project/__init__.py", "cj_project/same.py"}
    (secret / "code.py").write_text("")
    (project / "src/cj_project/code.py").symlink_to(secret / "code.py")
    assert "link to code outside" in refusal(package("cj-project", "1.0", "editable", project))


def test_one_that_fails_does_not_hold_the_others_up(project, tmp_path):
    (tmp_path / "helpers.py").write_text("")
    found = collect(
        package("cj-gone", "1", "editable", tmp_path / "gone"),
        package("cj-project", "1.0", "editable", project),
        package("helpers.py", "", "module", tmp_path / "helpers.py"),
        Package(name="numpy", version="2.3.1"),
    )
    assert set(found.wheels) == {"cj-project", "helpers.py"}
    assert set(found.refused) == {"cj-gone"}


def test_a_build_that_hangs_ends_at_the_deadline(project):
    (project / "setup.py").write_text("import time\ntime.sleep(600)\n")
    # Without the deadline it would end by the test's own.
    found = collect(package("cj-project", "1.0", "editable", project), deadline=5)
    assert "didn't end" in found.refused["cj-project"]


# ---- archives and commits -----------------------------------------------------------------------------------------


def test_a_wheel_is_taken_as_it_is_and_a_source_archive_is_built(tmp_path, project):
    path = wheel_file(tmp_path, "cj_wheel", "1.0")
    found = one(package("cj-wheel", "1.0", "archive", path))
    assert Path(found.path).read_bytes() == path.read_bytes()
    assert "install it again" in refusal(package("cj-wheel", "2.0", "archive", path))
    path.unlink()
    assert "no longer exists" in refusal(package("cj-wheel", "1.0", "archive", path))
    archive = tmp_path / "cj_project-1.0.tar.gz"
    subprocess.run(["tar", "czf", archive, "-C", tmp_path, "a project"], check=True)
    assert inside(one(package("cj-project", "1.0", "archive", archive))) == {"cj_project/__init__.py": b"VALUE = 1\n"}


def git(folder: Path, *argv: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *argv], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_commit_is_built_as_it_was(project, monkeypatch):
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "one")
    commit = git(project, "rev-parse", "HEAD")
    (project / "src/cj_project/__init__.py").write_text("VALUE = 2\n")
    git(project, "commit", "-qam", "two")
    counted = Counted()
    monkeypatch.setattr(uv, "execute", counted)
    built = one(package("cj-project", "1.0", "vcs", project, commit))
    assert inside(built) == {"cj_project/__init__.py": b"VALUE = 1\n"}
    runs = len(counted.runs)
    assert one(package("cj-project", "1.0", "vcs", project, commit)) == built
    assert len(counted.runs) == runs
    assert "git can't fetch" in refusal(package("cj-project", "1.0", "vcs", project, "0" * 40))


@pytest.mark.parametrize(
    ("url", "commit"),
    [
        ("ext::sh -c touch% /tmp/x", "0" * 40),
        ("--upload-pack=touch x", "0" * 40),
        ("https://host/x", "--upload-pack=x"),
        ("https://host/x", None),
        ("svn://host/x", "0" * 40),
    ],
)
def test_hostile_repositories_start_nothing(url, commit, monkeypatch):
    monkeypatch.setattr(uv, "execute", None)
    assert "commit" in refusal(package("x", "1", "vcs", url, commit))


# ---- code beside a notebook ---------------------------------------------------------------------------------------


def test_code_beside_a_notebook_is_installed_and_imported(tmp_path):
    (tmp_path / "helpers.py").write_text("def double(x):\n    return 2 * x\n")
    folder = tmp_path / "My_tools"
    (folder / "inner/__pycache__").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .inner import VALUE\n")
    (folder / "inner/__init__.py").write_text("VALUE = 42\n")
    (folder / "inner/__pycache__/x.pyc").write_bytes(b"")
    (folder / "a,b.json").write_text("{}")
    (folder / ".env").write_text("hunter22")
    found = collect(
        package("helpers.py", "", "module", tmp_path / "helpers.py"), package("My_tools/", "", "module", folder)
    )
    assert found.refused == {}
    helpers, tools = found.wheels["helpers.py"], found.wheels["My_tools/"]
    assert helpers.name == "coiled-jupyter-module-helpers"
    assert helpers.version.startswith("0+")
    assert set(inside(tools)) == {"My_tools/__init__.py", "My_tools/inner/__init__.py", "My_tools/a,b.json"}
    links = tmp_path / "links"
    links.mkdir()
    local.link(found.wheels, links)
    pins = [f"{wheel.name}=={wheel.version}" for wheel in found.wheels.values()]
    lock = resolved([], [*pins, "iniconfig==2.0.0"], find_links=links)
    assert lock.refused == {}
    (tmp_path / "lock.txt").write_text(lock.lock)

    async def install():
        await uv.run("venv", "--no-config", "--", str(tmp_path / "env"), cwd=tmp_path, deadline=60)
        python = str(tmp_path / "env/bin/python")
        sync = ("pip", "sync", "--no-config", "--require-hashes", "--python", python, "--", str(tmp_path / "lock.txt"))
        await uv.run(*sync, cwd=tmp_path, deadline=60, index=index.parse([]).with_links(links))

    asyncio.run(install())
    code = "import helpers, My_tools; print(helpers.double(My_tools.VALUE))"
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [tmp_path / "env/bin/python", "-I", "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout == "84\n"


def test_a_module_changes_its_version_with_its_content_only(tmp_path):
    path = tmp_path / "helpers.py"
    path.write_text("A = 1\n")
    first = one(package("helpers.py", "", "module", path))
    os.utime(path, (1, 1))
    assert one(package("helpers.py", "", "module", path)) == first
    path.write_text("A = 2\n")
    assert one(package("helpers.py", "", "module", path)).version != first.version
    # Names that differ for Python are different distributions.
    names = {
        local._distribution(name) for name in ("helpers", "_helpers", "Helpers", "help_ers", "help__ers", "_", "__")
    }
    assert len(names) == 7


@pytest.mark.parametrize("label", ["a-b.py", "import.py", "../x.py", "h\u00e9.py", ".py", "a b/", "x\n.py"])
def test_names_that_are_no_modules(label, tmp_path):
    (tmp_path / "x.py").write_text("")
    assert "isn't a module name" in refusal(package(label, "", "module", tmp_path / "x.py"))


def test_modules_are_bounded_and_plain(tmp_path, monkeypatch):
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "fast.so").write_bytes(b"")
    assert "compiled" in refusal(package("tools/", "", "module", folder))
    (folder / "fast.so").rename(folder / "big")
    os.truncate(folder / "big", local.MODULE_SIZE_LIMIT + 1)
    assert "more than 50 MB" in refusal(package("tools/", "", "module", folder))
    assert "isn't Python code" in refusal(package("passwd.py", "", "module", "/etc/passwd"))
    assert "no longer exists" in refusal(package("gone.py", "", "module", tmp_path / "gone.py"))


def test_wheels_that_were_not_used_for_long_go(tmp_path, data):
    path = tmp_path / "helpers.py"
    path.write_text("A = 1\n")
    first = one(package("helpers.py", "", "module", path))
    os.utime(Path(first.path).parent, (1, 1))
    path.write_text("A = 2\n")
    second = one(package("helpers.py", "", "module", path))
    assert not Path(first.path).exists()
    assert Path(second.path).exists()
    assert (data / "wheels").stat().st_mode & 0o077 == 0
