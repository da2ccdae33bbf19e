"""Software environments: named sets of packages, how they are made, exported and installed."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from .base import Request, Time, Wire

Requirements: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=500)], ...], Meta(max_length=2000)
]
PythonVersion: TypeAlias = Annotated[str, Meta(max_length=20, pattern=r"^[0-9]+(\.[0-9]+){0,2}$")]


class SoftwareFile(Request, frozen=True, kw_only=True):
    """A file of requirements. Its kind is known from its name, such as ``environment.yml``."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    text: Annotated[str, Meta(max_length=1_000_000)]


class SoftwareCreate(Request, frozen=True, kw_only=True):
    """Body of ``POST software``, with a name and exactly one of `kernel`, `requirements` and `file`.

    Attributes
    ----------
    python
        The version of Python to lock for; by default that of the kernel, of the file, or of the server.
    replace
        Whether an existing environment with this name is replaced.

    """

    name: Annotated[str, Meta(max_length=80, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    kernel: Annotated[str, Meta(max_length=200)] | None = None
    requirements: Requirements | None = None
    file: SoftwareFile | None = None
    python: PythonVersion | None = None
    replace: bool = False


class SoftwarePackage(Wire, frozen=True, kw_only=True):
    """A package with the version that is pinned or installed."""

    name: str
    version: str


class LeftOut(Wire, frozen=True, kw_only=True):
    """A package that was requested, or is in the kernel, and could not be included; `why` gives the reason."""

    name: str
    why: str


class Software(Wire, frozen=True, kw_only=True):
    """A software environment: a named set of packages, locked with the hashes of their files.

    Attributes
    ----------
    python, platform
        What the packages were locked for, such as ``3.11.7`` and ``linux-x86_64``.
    source
        What it was made from: ``kernel``, ``requirements``, the name of a file, or the workers of a cluster.
    packages
        The packages; empty in lists, which have only their `count`.
    built
        The folder in which it is built on this machine, or null; its `size` is in bytes.
    used_by
        The names of the clusters that run in it, and of the Jupyter kernels that were installed from it.

    """

    name: str
    python: str
    platform: str
    source: str
    count: int
    packages: tuple[SoftwarePackage, ...]
    left_out: tuple[LeftOut, ...]
    built: str | None
    size: int | None
    used_by: tuple[str, ...]
    created_at: Time


class SoftwareExport(Wire, frozen=True, kw_only=True):
    """A software environment, exported as a file for other tools."""

    filename: str
    text: str


class SoftwareInstalled(Wire, frozen=True, kw_only=True):
    """The Jupyter kernel that was installed from a software environment: its name, and the folder of its Python."""

    kernel: str
    prefix: str


class SoftwareFreed(Wire, frozen=True, kw_only=True):
    """The number of built environments that were removed as unused, and the disk space that this freed, in bytes."""

    builds: int = 0
    size: int = 0
