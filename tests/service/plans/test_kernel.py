"""A kernel that is as a cluster's workers: its Python, its name, what of it can't be had, and how it is checked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from coiled_jupyter.core.errors import Impossible
from coiled_jupyter.core.reading import ReadPackage
from coiled_jupyter.links import this_process as here
from coiled_jupyter.links import trial_kernel as fresh
from coiled_jupyter.service.plans import kernel as kernels
from coiled_jupyter.software import build
from tests.core.change.samples import environment
from tests.environments import interpreters

OWN = ".".join(map(str, sys.version_info[:3]))


def python(*theirs: str, names=None, **fields):
    kernel = environment("kernel", {}, python=OWN)
    groups = [environment("worker", {}, python=one, **fields) for one in theirs]
    found, interpreter, said = asyncio.run(kernels.choose_python(kernel, groups, names))
    return found, interpreter, [(action.kind, action.after, action.why) for action in said]


def test_its_python_is_the_workers_where_that_is_here_and_else_that_is_said():
    same = ".".join([*OWN.split(".")[:2], "99"])
    assert python(same) == (OWN, sys.executable, [])
    found, interpreter, said = python("3.98.1")
    assert (found, interpreter) == (OWN, sys.executable)
    assert said[0][:2] == ("refuse", "3.98.1")
    assert "There is no Python 3.98 on this machine" in said[0][2]
    assert python("3.98.1", "3.97.0")[2][0][2] == "The workers differ among themselves: 3.97.0 and 3.98.1."
    assert "pypy" in python("3.98.1", implementation="pypy")[2][0][2]
    # Only other packages were asked for.
    assert python("3.98.1", names=frozenset({"numpy"})) == (OWN, sys.executable, [])


def test_of_another_python_that_is_here_its_version_is_told():
    other = next((minor for minor in interpreters() if not OWN.startswith(f"{minor}.")), None)
    if other is None:
        pytest.skip("there is only one Python on this machine")
    found, interpreter, said = python(f"{other}.99")
    assert found.startswith(f"{other}.")
    assert found != f"{other}.99"
    assert (interpreter, said[0][0] in ("upgrade", "downgrade"), said[0][1]) == (None, True, found)
    assert asyncio.run(build.python_here(other)) == found


def test_its_name_is_free_or_was_made_from_the_same_workers():
    for cluster, taken, name in (
        ("mine", [], "mine"),
        ("mine", [("mine", "requirements")], "mine-2"),
        ("mine", [("Mine", "workers of mine"), ("mine-2", "kernel")], "Mine"),
        ("my cluster: 1/2", [], "my-cluster-1-2"),
        ("…", [], "cluster"),
        ("x" * 200, [], "x" * 60),
    ):
        assert kernels.free_name(cluster, f"workers of {cluster}", taken) == name


def specification(folder: Path, *argv: str) -> Path:
    """Return the folder of a kernel's specification."""
    folder.mkdir()
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "fresh", "language": "python"}))
    return folder


def left(folder: Path) -> list[psutil.Process]:
    """Return the processes that run where kernels of these specifications begin."""
    found = []
    for child in psutil.Process().children(recursive=True):
        # One that has ended since, or that nobody has waited for yet, is nowhere.
        with contextlib.suppress(psutil.Error):
            if Path(child.cwd()).is_relative_to(folder):
                found.append(child)
    return found


def test_a_kernel_is_started_once_read_and_ended(tmp_path):
    folder = specification(tmp_path / "fresh", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    reading = asyncio.run(fresh.read(folder))
    assert {p.name for p in reading.packages if p.source is None or p.source.kind != "module"} == set(here.installed())
    assert left(tmp_path) == []


def test_one_that_ends_or_stays_silent_is_no_good_and_is_ended(tmp_path):
    with pytest.raises(Impossible, match="it ended at once"):
        asyncio.run(fresh.read(specification(tmp_path / "ends", sys.executable, "-c", "")))
    with pytest.raises(Impossible, match="doesn't answer"):
        asyncio.run(fresh.read(specification(tmp_path / "silent", sys.executable, "-c", "input()"), deadline=1))
    assert left(tmp_path) == []


def planned_kernel(reading) -> kernels.KernelPlan:
    pins = tuple(f"{package.name}=={package.version}" for package in reading.packages if package.source is None)
    plan = None  # Of it nothing is looked at here.
    return kernels.KernelPlan(
        plan=plan,  # type: ignore[arg-type]
        name="x",
        request=kernels.locking.LockRequest(source="", python=reading.python, required=pins),
    )


def test_a_kernel_that_has_something_else_is_told_apart():
    reading, _ = here.read()
    planned = planned_kernel(reading)
    assert kernels.differing(planned, reading) == ""
    # What lies beside it, as by PYTHONPATH, is nobody's business.
    more = replace(reading, packages=(*reading.packages, ReadPackage(name="more", version="1")))
    assert kernels.differing(planned, more) == ""
    less = replace(reading, packages=tuple(p for p in reading.packages if p.name != "msgspec"))
    assert kernels.differing(planned, less).startswith("msgspec none instead of ")
    assert kernels.differing(planned, replace(reading, python="2.7.1")).startswith("Python 2.7.1 instead of ")
