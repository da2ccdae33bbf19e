"""Decides whether clients can send sealed graphs to a scheduler, and what of the scheduler matters to them all the same."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from packaging.version import InvalidVersion, Version

from .wire import Environment

ALL = "*"
"""What stands for every scheduler, in the process of a worker: its tasks have clients of their own."""
_OWN = frozenset(
    [
        "blosc",
        "bokeh",
        "click",
        "cloudpickle",
        "cramjam",
        "dask",
        "distributed",
        "fsspec",
        "importlib-metadata",
        "jinja2",
        "locket",
        "lz4",
        "msgpack",
        "packaging",
        "partd",
        "psutil",
        "python",
        "python-snappy",
        "pyyaml",
        "sortedcontainers",
        "tblib",
        "toolz",
        "tornado",
        "urllib3",
        "zict",
        "zstandard",
    ]
)
"""What the scheduler itself runs: Python, Dask with what it requires, and what it compresses its messages with."""
_FORMATS = ("2023.4", "2024.12", "2025.4")
"""The first versions of Dask in which graphs are sent in another form than before; before the first nothing is unpickled."""


def covers(name: str) -> bool:
    """Whether a scheduler no longer needs a package when its clients send sealed graphs."""
    return name not in _OWN


def is_sealed(kernel: Environment, workers: Sequence[Environment], scheduler: str | None) -> bool:
    """Whether a kernel's clients and those of the workers' tasks are seen to send sealed graphs to a scheduler (its id)."""
    return (
        scheduler is not None
        and scheduler in kernel.sealed
        and bool(workers)
        and all(ALL in worker.sealed for worker in workers)
    )


def as_sealed(
    kernel: Environment, groups: Sequence[Environment], scheduler: str
) -> tuple[Environment, list[Environment]]:
    """Return a kernel and the groups of a cluster as they will be when all that send to the scheduler (its id) seal."""
    workers = [replace(group, sealed=(ALL,)) if group.role == "worker" else group for group in groups]
    return replace(kernel, sealed=(scheduler,)), workers


def obstacle(kernel: Environment, scheduler: Environment) -> str | None:
    """Return why a notebook can't send sealed graphs to a scheduler, or None."""
    here, there = (_dask(environment) for environment in (kernel, scheduler))
    if not here:
        return "The notebook's environment has no distributed."
    forms = [_format(version) for version in (here, there)]
    if not forms[1]:
        return f"The scheduler's distributed {there or 'is unknown'} doesn't take sealed graphs."
    if forms[0] != forms[1]:
        return f"distributed {here} in the notebook and {there} in the scheduler send graphs in different forms."
    return None


def _dask(environment: Environment) -> str:
    return next((package.version for package in environment.packages if package.name == "distributed"), "")


def _format(version: str) -> int:
    """Return the number of the form in which a version of distributed sends graphs, or 0."""
    try:
        return sum(Version(version) >= Version(first) for first in _FORMATS)
    except InvalidVersion:
        return 0
