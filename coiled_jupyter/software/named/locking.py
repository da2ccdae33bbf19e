"""Locks what a software environment is to hold, for this machine: exact versions, with the hashes of their files."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ...core.errors import Impossible, Invalid
from ...core.times import now
from ...core.wire import LeftOut
from .. import build, local, uv
from ..resolve import Resolution, Target, resolve
from . import export, references
from .references import Reference
from .store import NamedEnvironments, Stored, keep_wheel, platform

LOCK_SECONDS = 300.0
_HEAD = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")


class LockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a software environment is to be made from.

    Attributes
    ----------
    required
        Requirements that must hold.
    preferred
        Pins that hold where possible; packages that can't be had are left out by name.
    python, interpreter
        The Python to choose for; see `Stored`.
    pythons
        A range that the Python has to be in (PEP 440); empty: any.
    hashes
        ``{name: {"sha256:…", …}}`` of the only files that are allowed for a package.
    doubtful
        Those of `required` that are left out by name if no index has them.
    references, options
        What else the file names, if the administrator allows it.

    """

    source: str
    python: str
    required: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    interpreter: str | None = None
    pythons: str = ""
    hashes: Mapping[str, frozenset[str]] = {}
    doubtful: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    references: tuple[Reference, ...] = ()
    options: tuple[str, ...] = ()


async def create(environments: NamedEnvironments, name: str, request: LockRequest, *, replace: bool = False) -> Stored:
    """Lock what is requested for this machine, and keep it under a name; raises as `lock`."""
    stored = await lock(environments, name, request, replace=replace)
    environments.keep(stored, replace=replace)
    return stored


async def lock(environments: NamedEnvironments, name: str, request: LockRequest, *, replace: bool = False) -> Stored:
    """Return what is requested, locked for this machine; it isn't kept yet.

    Raises
    ------
    Conflict
        The name is taken, and `replace` isn't set.
    Impossible
        It can't be resolved; the message has the resolver's reason.

    """
    environments.check_free(name, replace=replace)
    if request.pythons and not SpecifierSet(request.pythons).contains(request.python, prereleases=True):
        raise Invalid(
            "python",
            f"{request.source} asks for Python {request.pythons}, and it would get {request.python}",
            "Name another Python with `python`",
        )
    made = await references.wheels(
        request.references,
        python=request.interpreter or build.python_path(request.python),
        index=environments.index(request.options),
        allow_source_builds=environments.configuration.allow_source_builds,
    )
    wheels = tuple([await asyncio.to_thread(keep_wheel, wheel) for _, wheel in made])
    own = tuple(f"{one.name}{ref.extras}=={one.version}{ref.marker}" for ref, one in made)
    request, resolution = await _resolved(
        environments, msgspec.structs.replace(request, required=(*request.required, *own)), wheels
    )
    lock = allowed(resolution.lock, request.hashes)
    refused = tuple(LeftOut(name=key, why=why) for key, why in resolution.refused.items())
    return Stored(
        name=name,
        python=request.python,
        interpreter=request.interpreter,
        platform=platform(),
        source=request.source,
        lock=lock,
        pylock=await export.pylock(environments, request.python, lock, wheels, request.options),
        versions=resolution.versions,
        left_out=(*request.left_out, *refused),
        wheels=wheels,
        options=request.options,
        created_at=now(),
    )


async def _resolved(
    environments: NamedEnvironments, request: LockRequest, wheels: Sequence[local.Wheel]
) -> tuple[LockRequest, Resolution]:
    """Return the resolution, and what was resolved: without the doubtful lines that can't be had."""
    try:
        return request, await _resolve(environments, request, request.required, wheels)
    except Impossible:
        if not request.doubtful:
            raise
        lost: dict[str, str] = {}
        for line in request.doubtful:
            try:
                await _resolve(environments, msgspec.structs.replace(request, preferred=()), (line,), wheels)
            except Impossible as error:
                lost[line] = error.message
        if not lost:
            raise
    left = tuple(LeftOut(name=Requirement(line).name, why=why) for line, why in lost.items())
    request = msgspec.structs.replace(
        request,
        required=tuple(line for line in request.required if line not in lost),
        left_out=(*request.left_out, *left),
    )
    return request, await _resolve(environments, request, request.required, wheels)


async def _resolve(
    environments: NamedEnvironments, request: LockRequest, required: Sequence[str], wheels: Sequence[local.Wheel]
) -> Resolution:
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        local.link({wheel.name: wheel for wheel in wheels}, Path(folder))
        return await resolve(
            target(request.python),
            build.complete(tuple(required)),
            request.preferred,
            index=environments.index(request.options),
            allow_source_builds=environments.configuration.allow_source_builds,
            find_links=Path(folder) if wheels else None,
            deadline=LOCK_SECONDS,
        )


def target(python: str) -> Target:
    """Return this machine as a target of resolution, with CPython."""
    return Target(
        python=python,
        implementation="cpython",
        platform=sys.platform,
        machine=os.uname().machine,
        libc=uv.libc() or ("musl" if sys.platform == "linux" else ""),
    )


def allowed(lock: str, hashes: Mapping[str, frozenset[str]]) -> str:
    """Return the lock with only the files that are allowed for a package; Impossible if the index has none of them."""
    if not hashes:
        return lock
    made: list[str] = []
    for entry in re.split(r"\n(?=\S)", lock.rstrip("\n")):
        head = _HEAD.match(entry)
        allowed = hashes.get(canonicalize_name(head[1])) if head else None
        if head is None or not allowed:
            made.append(entry)
            continue
        left = [found for found in export.HASH.findall(entry) if found in allowed]
        if not left:
            raise Impossible(
                f"The hashes in the file match none of the index's files of {head[1]}",
                "Write the file again, or remove the hashes if you trust the index",
            )
        first = entry.split("\n", 1)[0].rstrip("\\ ").rstrip()
        made.append(" \\\n".join([first, *(f"    --hash={found}" for found in left)]))
    return "\n".join(made) + "\n"
