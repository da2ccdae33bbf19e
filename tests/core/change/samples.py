"""Environments, workers and places as tests of plans need them."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.change.survey import SurveyPlace, SurveyProcess, SurveyWorker
from coiled_jupyter.core.wire import Environment, Package

AT = "2026-11-24T12:00:00.000Z"
NAMES = ["numpy", "pandas", "tabulate", "acme", "zzz"]
VERSIONS = ["1.0", "1.1", "2.0"]


def environment(role: str, listed: dict[str, str], /, **fields: object) -> Environment:
    made = Environment(
        id=f"{role}-1",
        role=role,  # type: ignore[arg-type]
        host="h",
        prefix="/p",
        python="3.11.7",
        implementation="cpython",
        platform="linux-x86_64",
        packages=tuple(Package(name=name, version=version) for name, version in sorted(listed.items())),
        problems=(),
        level="all",
        digest="d",
        nodes=("n",),
        taken_at=AT,
        content_at=AT,
    )
    return replace(made, **fields)


def worker(number: int, **fields: object) -> SurveyWorker:
    made = SurveyWorker(
        address=f"tcp://{number}",
        name=str(number),
        nanny=f"tcp://n{number}",
        nanny_process=SurveyProcess(host="h", pid=100 + number),
        place="h\0/p",
        memory_limit=1000,
    )
    return replace(made, **fields)


def place(**fields: object) -> SurveyPlace:
    made = SurveyPlace(
        key="h\0/p",
        host="h",
        prefix="/p",
        speaker="tcp://n1",
        python="3.11.7",
        implementation="cpython",
        platform="linux",
        machine="x86_64",
        libc="glibc 2.36",
        executable="/p/bin/python",
        home="/home/layers",
        uv="/usr/bin/uv",
    )
    return replace(made, **fields)


versions = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VERSIONS))
workers = st.lists(
    st.builds(
        lambda alone, memory, futures, running, actors: {
            "alone": alone, "memory": memory, "futures": futures, "running": running, "actors": actors,
        },
        st.integers(0, 700), st.integers(0, 900), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1),
    ),
    min_size=1,
    max_size=12,
).map(lambda many: [worker(number, **fields) for number, fields in enumerate(many)])  # fmt: skip
