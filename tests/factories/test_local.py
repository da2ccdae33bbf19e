"""What a local cluster may use of the machine, by the control groups around this process."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from coiled_jupyter.core.launch import LaunchSpec
from coiled_jupyter.core.wire import Adaptive
from coiled_jupyter.factories import local

GIB = 2**30


def machine(tmp_path: Path, own: str, limits: dict[str, str]) -> int:
    (tmp_path / "own").write_text(own)
    for place, text in limits.items():
        path = tmp_path / "groups" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return local.machine_memory(tmp_path / "groups", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("0::/user.slice/job\n", {"user.slice/job/memory.max": f"{GIB}\n", "user.slice/memory.max": "max\n"}, GIB),
        ("0::/user.slice/job\n", {"user.slice/job/memory.max": "max\n", "user.slice/memory.max": f"{GIB}\n"}, GIB),
        # In a container the path is the host's and isn't there.
        ("0::/docker/abc\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("5:memory:/a/b\n4:cpu:/c\n0::/\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("5:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("5:memory:/a\n", {"memory/b/memory.limit_in_bytes": "1\n", "memory/a/memory.limit_in_bytes": "9" * 19}, None),
        ("", {}, None),
        ("nonsense\n::\n\x00\n", {"memory.max": "many\n"}, None),
        ("0::/../../..\n", {}, None),
    ],
)
def test_the_lowest_limit_around_this_process_holds(tmp_path, own, limits, expected):
    assert machine(tmp_path, own, limits) == (expected or psutil.virtual_memory().total)


def test_this_process_is_within_the_machine():
    assert 0 < local.machine_memory() <= psutil.virtual_memory().total
    assert local.machine_memory(own=Path(os.devnull)) <= psutil.virtual_memory().total


def test_a_worker_gets_its_share_and_never_more_than_there_is():
    most = local.machine_memory()
    assert local.worker_memory(LaunchSpec(id="a", name="a", workers=4)) == most // 4
    wide = LaunchSpec(id="a", name="a", workers=1, adaptive=Adaptive(minimum=1, maximum=8))
    assert local.worker_memory(wide) == most // 8
    assert local.worker_memory(LaunchSpec(id="a", name="a", workers=1, memory_limit=most * 9)) == most
    assert local.worker_memory(LaunchSpec(id="a", name="a", workers=1, memory_limit=GIB)) == min(GIB, most)
