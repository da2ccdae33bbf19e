"""What a kernel's cells install, edit and import is in the very next reading, and is noticed by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import msgspec
import pytest
from uv import find_uv_bin

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.compare.packages import OLDER
from coiled_jupyter.core.groups import kernel_environment, modules
from coiled_jupyter.core.times import now
from tests.kernelspecs import kernel_spec
from tests.patience import deadline

from .test_kernel import readable, with_kernel


@pytest.fixture
def specs(tmp_path):
    """A kernel in a virtualenv that a test may change; returns the folder of its spec."""
    uv = find_uv_bin()
    folder = tmp_path / "venv"
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--seed", "--python", sys.executable, str(folder)], check=True)
    requirements = ["ipykernel>=7", "six==1.16.0", "iniconfig==2.0.0", "pluggy==1.5.0"]
    # A hard link would let the test's edits through to uv's cache.
    command = [uv, "pip", "install", "-q", "--link-mode", "copy", "--python", str(python)]
    subprocess.run([*command, *requirements], check=True)
    kernel_spec(tmp_path / "specs", "own", python)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "helpers.py").write_text("def f():\n    return 1\n")
    return tmp_path / "specs"


def packages(found):
    return {package.name: package for package in found.reading.packages}


async def checked(link, kernel_id, module):
    """Return a reading whose files were looked at, with those of a module beside the notebook."""
    end = deadline(10)
    while True:
        found = await readable(link, kernel_id)
        if found.content_age is not None and module in packages(found):
            return found
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def test_an_upgrade_in_a_cell_is_in_the_next_reading(specs, monkeypatch):
    noticed = []

    async def body(session, link):
        await readable(link, session.id)
        await session.run("import six, iniconfig")
        before = packages(await link.read(session.id))
        noticed.clear()
        told = await session.run(
            "%pip install -q -U six==1.17.0 iniconfig==2.1.0 pluggy==1.6.0 tabulate==0.9.0\nimport tabulate, pluggy"
        )
        assert told["status"] == "ok"
        after = await link.read(session.id)
        await asyncio.sleep(2)
        return before, after, session.id

    before, after, kernel_id = with_kernel("own", body, specs, monkeypatch, changed=noticed.append)
    assert before["six"].version == before["six"].loaded == "1.16.0"
    assert before["iniconfig"].loaded == "2.0.0"
    found = packages(after)
    assert (found["six"].version, found["six"].loaded) == ("1.17.0", "1.16.0")
    # It has no version of its own; what ran before the upgrade still runs.
    assert (found["iniconfig"].version, found["iniconfig"].loaded) == ("2.1.0", "2.0.0")
    assert (found["tabulate"].version, found["tabulate"].loaded) == ("0.9.0", "0.9.0")
    assert found["six"].use == "imported"
    assert kernel_id in noticed
    environment = kernel_environment(after.reading, kernel_id, after.taken_at, after.content_age)
    diff = compare(
        environment, [], cluster_id="c", cluster_name="c", kernel_id="k", kernel_label="k", at=after.taken_at
    )
    assert diff.verdict != "equal"


def test_the_same_version_installed_again_in_a_cell_is_in_the_next_reading(specs, monkeypatch):
    """Six tells the version that is installed, and iniconfig none: only a restart shows which files they run."""
    told = []

    async def body(session, link):
        await readable(link, session.id)
        await session.run("import six, iniconfig")
        told.append(packages(await link.read(session.id)))
        await session.run("%pip install -q --force-reinstall --no-deps six==1.16.0 iniconfig==2.0.0 pluggy==1.5.0")
        told.append(packages(await link.read(session.id)))
        await session.run("import pluggy")
        told.append(packages(await link.read(session.id)))

    with_kernel("own", body, specs, monkeypatch)
    runs = [{name: found[name].loaded for name in ("six", "iniconfig", "pluggy")} for found in told]
    assert runs == [
        {"six": "1.16.0", "iniconfig": "2.0.0", "pluggy": None},
        {"six": OLDER, "iniconfig": OLDER, "pluggy": None},
        {"six": OLDER, "iniconfig": OLDER, "pluggy": "1.5.0"},
    ]


def test_edited_files_and_modules_beside_the_notebook_are_seen(specs, monkeypatch):
    work = specs.parent / "work"
    site = next((specs.parent / "venv" / "lib").glob("python3*/site-packages"))

    async def body(session, link):
        await session.run(
            f"import os; os.chdir({str(work)!r}); import sys; sys.path.insert(0, ''); import helpers, six"
        )
        first = await checked(link, session.id, "helpers.py")
        # One byte of the same length: only a hash can tell.
        text = (site / "six.py").read_text()
        (site / "six.py").write_text(text.replace("Benjamin", "Benjamim", 1))
        (site / "pluggy" / "_hooks.py").unlink()
        (work / "helpers.py").write_text("def f():\n    return 2\n")
        await session.run("1")
        end = deadline(45)
        while True:
            second = await checked(link, session.id, "helpers.py")
            if packages(second)["six"].content != packages(first)["six"].content:
                return first, second
            assert time.monotonic() < end
            await asyncio.sleep(0.2)

    first, second = with_kernel("own", body, specs, monkeypatch)
    before, after = packages(first), packages(second)
    assert before["six"].content != after["six"].content
    assert before["iniconfig"].content == after["iniconfig"].content is not None
    assert {(p.kind, p.package) for p in first.reading.problems} == set()
    assert {("edited", "six"), ("missing_files", "pluggy")} <= {(p.kind, p.package) for p in second.reading.problems}
    assert before["helpers.py"].source.kind == "module"
    assert before["helpers.py"].content != after["helpers.py"].content
    assert modules(kernel_environment(second.reading, "k", second.taken_at)) == ("helpers",)


def test_code_that_was_edited_after_its_import_still_runs(specs, monkeypatch):
    work = specs.parent / "work"

    async def body(session, link):
        await session.run(f"import os; os.chdir({str(work)!r}); import sys; sys.path.insert(0, ''); import helpers")
        told = [packages(await checked(link, session.id, "helpers.py"))["helpers.py"].loaded]
        (work / "helpers.py").write_text("def f():\n    return 2\n")
        told.append(packages(await checked(link, session.id, "helpers.py"))["helpers.py"].loaded)
        environment = kernel_environment((await link.read(session.id)).reading, session.id, now(), 1.0)
        await session.run("import importlib; importlib.reload(helpers)")
        told.append(packages(await checked(link, session.id, "helpers.py"))["helpers.py"].loaded)
        return told, environment

    told, environment = with_kernel("own", body, specs, monkeypatch)
    assert told == [None, OLDER, None]
    same = msgspec.structs.replace(
        environment,
        role="worker",
        packages=tuple(msgspec.structs.replace(p, loaded=()) for p in environment.packages),
    )
    diff = compare(
        environment, [same], cluster_id="c", cluster_name="c", kernel_id="k", kernel_label="k", at=environment.taken_at
    )
    (row,) = [row for row in diff.rows if row.name == "helpers.py"]
    assert row.status == "restart_needed"
    assert row.why == "The notebook's kernel still runs what was there before its files were changed."
    assert diff.verdict != "equal"
