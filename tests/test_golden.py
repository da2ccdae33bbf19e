"""The JSON that the page's tests read is what the server makes: ``tests/wire``, rewritten by ``UPDATE_GOLDEN=1``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.core import wire
from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.core.groups import digest
from coiled_jupyter.core.reading import ReadPackage
from tests.core.test_compare import TAKEN, diff, package, reading
from tests.readings import decode_reading

FOLDER = Path(__file__).with_name("wire")
HOSTILE = "<img src=x onerror=alert(1)>"


def _side(**versions: str) -> dict[str, ReadPackage]:
    return {name.replace("_", "-"): package(name.replace("_", "-"), version) for name, version in versions.items()}


def _breaks() -> wire.Diff:
    kernel = _side(numpy="2.4.6", dask="2026.8.0", distributed="2026.8.0", toolz="1.1.0", polars="1.32.0")
    kernel["numpy"] = package("numpy", "2.4.6", use="imported", loaded="2.4.6")
    source = wire.Source(url="file:///home/me/mylib", kind="editable")
    kernel["mylib"] = package("mylib", "0.1", source=source, use="imported")
    one = _side(numpy="1.26.4", dask="2026.8.0", distributed="2026.8.0", toolz="1.0.0", mylib="0.1")
    two = {**one, "toolz": package("toolz", "1.1.0")}
    nodes = {"tls://a:1": reading(one), "tls://a:2": reading(one), "tls://b:1": reading(two, host="b")}
    unread = wire.Unread(node="tls://c:1", reason=f"No answer within 4 s {HOSTILE}")
    return diff(reading(kernel), nodes, unread=(unread,), scheduler=reading(one))


def _equal() -> wire.Diff:
    same = _side(numpy="2.4.6", dask="2026.8.0", distributed="2026.8.0")
    return diff(reading(same), {"tls://a:1": reading(same)}, scheduler=reading(same))


def _cluster(**fields: object) -> wire.Cluster:
    worker = wire.Worker(
        id="tls://127.0.0.1:1", name="0", status="running", host="127.0.0.1", threads=1, busy=1, memory=2**28,
        memory_limit=2**32, group="g1", restarts=1, seen_at=TAKEN,
    )  # fmt: skip
    base = wire.Cluster(
        id="c1", name=f"analysis {HOSTILE}", source="managed", opened_by=None, factory="local", status="running",
        since=TAKEN, reason=None,
        steps=(wire.Step(name="Start scheduler", state="done", seconds=0.9, text=""),
               wire.Step(name="Start workers", state="running", seconds=0.25, text="")),
        desired=wire.Desired(workers=2, adaptive=None), workers=(worker,),
        scheduler=wire.SchedulerInfo(address="tls://127.0.0.1:9", id="Scheduler-1", dashboard=None),
        cores=wire.Cores(busy=1, allocated=1, requested=2), memory=wire.Memory(used=2**28, limit=2**32),
        tasks=wire.Tasks(running=1, queued=3, done_per_second=None, in_memory=12),
        environment=wire.ClusterSoftware(software=None, layer=None, python="3.11.7", prefix="/opt/software/abc"),
        lease_until=None, clients=1, created_at=TAKEN, seen_at=TAKEN, revision=7,
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def _usage() -> wire.Usage:
    cluster = _cluster()
    part = wire.ClusterUsage(
        id=cluster.id, name=cluster.name, counted=True, cores=cluster.cores, memory=cluster.memory, seen_at=TAKEN
    )
    return wire.Usage(
        cores=wire.UsageCores(busy=1, allocated=1, requested=2, limit=100), memory=cluster.memory,
        tasks=wire.Tasks(running=1, queued=3, done_per_second=12.5, in_memory=12), clusters=(part,), taken_at=TAKEN,
    )  # fmt: skip


GOLDEN = {
    "diff-breaks": _breaks,
    "diff-equal": _equal,
    "diff-unknown": lambda: diff(None, {}, unread=(wire.Unread(node="kernel", reason="The kernel is starting"),)),
    "cluster-starting": lambda: _cluster(status="starting"),
    "cluster-failed": lambda: _cluster(status="failed", workers=(), reason="no version of numpy==99"),
    "cluster-idle": _cluster,
    "usage": _usage,
    "error": lambda: Invalid("workers", "workers: expected an integer", "Give a whole number").to_wire(),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name):
    made = GOLDEN[name]()
    path = FOLDER / f"{name}.json"
    text = json.dumps(json.loads(msgspec.json.encode(made)), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
    assert msgspec.json.decode(path.read_bytes(), type=type(made)) == made


def test_the_golden_folder_has_nothing_else():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(GOLDEN)


def test_the_golden_verdicts():
    assert [GOLDEN[f"diff-{name}"]().verdict for name in ("breaks", "equal", "unknown")] == [
        "breaks",
        "equal",
        "unknown",
    ]


def test_a_reading_of_the_text_round_trips():
    text = msgspec.json.encode(reading(_side(numpy="2.4.6")))
    assert digest(decode_reading(text)) == digest(reading(_side(numpy="2.4.6")))
