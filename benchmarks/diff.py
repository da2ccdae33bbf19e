"""What the comparison of two environments of 1000 packages takes."""

from __future__ import annotations

import time

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.wire import Environment, Loaded, Package, Role

from .table import Figure, median

_AT = "2026-01-01T00:00:00.000Z"
_PACKAGES = 1000


def environment(role: Role, patch: int, each: int) -> Environment:
    """Return an environment of 1000 packages in which every package whose number `each` divides has this patch release."""
    versions = [f"1.{number}.{0 if number % each else patch}" for number in range(_PACKAGES)]
    return Environment(
        id=role, role=role, host="h", prefix="/p", python="3.11.7", implementation="cpython", platform="linux-x86_64",
        packages=tuple(
            Package(
                name=f"package-{number}", version=version, content=f"pure:{version}", use="imported" if number < 200 else "",
                loaded=(Loaded(version=version, nodes=("n",)),) if number < 200 else (),
            )
            for number, version in enumerate(versions)
        ),
        problems=(), level="all", digest=role, nodes=("n",), taken_at=_AT, content_at=_AT,
    )  # fmt: skip


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of one comparison where one package in ten differs, and where all do."""
    figures = []
    for what, each, limit in (("one in ten differs", 10, 0.01), ("all differ", 1, None)):
        kernel, group = environment("kernel", 0, each), environment("worker", 1, each)
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            compare(kernel, [group], cluster_id="c", cluster_name="c", kernel_id="k", kernel_label="k", at=_AT)
            times.append(time.perf_counter() - start)
        # The first one reads the rules.
        figures.append(Figure(f"Diff of {_PACKAGES} packages, {what}", median(times[1:]), limit=limit))
    return figures
