"""Turns what a probe answered, which is hostile until decoded, into environments and groups.

Limits: 4 MiB for one answer, 20,000 packages, 500 characters for one text. Text that would change how other text is
shown (control, bidirectional and zero-width characters) is taken out.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .errors import Invalid, TooLarge
from .wire import Environment, Loaded, Package, Problem, Role, Source

SIZE_LIMIT = 4 * 1024 * 1024
PACKAGE_LIMIT = 20_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)

_Text = Annotated[str, Meta(max_length=2000)]


class ReadPackage(Struct, frozen=True):
    """One distribution as a probe tells it."""

    name: _Text
    version: _Text
    loaded: _Text | None = None
    source: Source | None = None
    installer: _Text | None = None
    in_use: bool = False


class ReadProblem(Struct, frozen=True):
    """One problem as a probe tells it."""

    kind: _Text
    package: _Text | None = None
    where: _Text = ""
    fix: _Text = ""


class Reading(Struct, frozen=True, kw_only=True):
    """Exactly what ``texts.probe.probe`` answers, checked and cleaned."""

    python: _Text
    implementation: _Text
    platform: _Text
    prefix: _Text
    base_prefix: _Text
    executable: _Text
    base_executable: _Text
    host: _Text
    pid: int
    packages: tuple[ReadPackage, ...]
    problems: tuple[ReadProblem, ...] = ()


class _Failed(Struct, frozen=True, forbid_unknown_fields=True):
    error: str


_KINDS = frozenset({"duplicate", "leftover", "unreadable", "no_record", "truncated"})


def decode_reading(data: str | bytes) -> Reading:
    """Decode a probe's answer.

    Raises
    ------
    TooLarge
        The answer or its list of packages is larger than a reading can be.
    Invalid
        The answer isn't a reading; `field` is ``reading``.

    """
    if len(data) > SIZE_LIMIT:
        raise TooLarge("The answer is larger than 4 MiB, so it wasn't read", "Look at what this node has on sys.path")
    try:
        reading = msgspec.json.decode(data, type=Reading)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Invalid("reading", "The answer isn't the reading of an environment") from None
    if len(reading.packages) > PACKAGE_LIMIT:
        raise TooLarge(f"The answer names {len(reading.packages)} packages, more than can be compared")
    return _clean(reading)


def _show(text: str) -> str:
    return _UNSHOWABLE.sub("", text)[:500]


def _clean(reading: Reading) -> Reading:
    packages: dict[str, ReadPackage] = {}
    problems = [
        ReadProblem(
            kind=problem.kind if problem.kind in _KINDS else "unreadable",
            package=problem.package and _show(problem.package),
            where=_show(problem.where),
            fix=_show(problem.fix),
        )
        for problem in reading.problems[:PACKAGE_LIMIT]
    ]
    for package in reading.packages:
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        version = _show(package.version)
        if not _NAME.fullmatch(name) or not version or len(name) > 200:
            where = f"a distribution called {_show(package.name)[:80]!r}"
            problems.append(ReadProblem("unreadable", None, where, "Reinstall this distribution"))
        elif name in packages:
            if packages[name].version != version:
                problems.append(ReadProblem("duplicate", name, "sys.path", f"Reinstall {name}"))
        else:
            source = package.source
            if source is not None:
                commit = source.commit and _show(source.commit)
                source = Source(url=_show(source.url), kind=source.kind, commit=commit)
            packages[name] = ReadPackage(
                name=name,
                version=version,
                loaded=package.loaded and _show(package.loaded),
                source=source,
                installer=package.installer and _show(package.installer),
                in_use=package.in_use,
            )
    texts = ("python", "implementation", "platform", "prefix", "base_prefix", "executable", "base_executable", "host")
    return msgspec.structs.replace(
        reading,
        **{key: _show(getattr(reading, key)) for key in texts},
        packages=tuple(packages[name] for name in sorted(packages)),
        problems=tuple(problems),
    )


def digest(reading: Reading) -> str:
    """Return a hash of what is installed and its origin; not of what is loaded, of times or of order."""
    seen = hashlib.blake2b(digest_size=16)
    parts = [reading.implementation, reading.python, reading.platform]
    for package in reading.packages:
        source = package.source
        parts += [package.name, package.version]
        parts += [source.kind, source.url, source.commit or ""] if source else ["", "", ""]
    for problem in sorted(reading.problems, key=lambda p: (p.kind, p.package or "", p.where)):
        parts += [problem.kind, problem.package or "", problem.where]
    seen.update(msgspec.json.encode(parts))
    return seen.hexdigest()


def group(readings: Mapping[str, Reading], role: Role, *, taken_at: str) -> tuple[Environment, ...]:
    """Put nodes with one host, prefix and digest together: one environment each, largest group first.

    Parameters
    ----------
    readings
        By node id.
    taken_at
        The time at which all of them were last confirmed.

    """
    members: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for node, reading in readings.items():
        members[(reading.host, reading.prefix, digest(reading))].append(node)
    made = [
        _environment({node: readings[node] for node in sorted(nodes)}, role, key[2], taken_at)
        for key, nodes in members.items()
    ]
    return tuple(sorted(made, key=lambda e: (-len(e.nodes), e.id)))


def _environment(readings: Mapping[str, Reading], role: Role, content: str, taken_at: str) -> Environment:
    first = next(iter(readings.values()))
    loaded: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    used: set[str] = set()
    for node, reading in readings.items():
        for package in reading.packages:
            if package.loaded is not None:
                loaded[package.name][package.loaded].append(node)
            if package.in_use:
                used.add(package.name)
    key = hashlib.blake2b(msgspec.json.encode([role, first.host, first.prefix, content]), digest_size=8)
    return Environment(
        id=key.hexdigest(),
        role=role,
        host=first.host,
        prefix=first.prefix,
        python=first.python,
        implementation=first.implementation,
        platform=first.platform,
        packages=tuple(
            Package(
                name=package.name,
                version=package.version,
                loaded=tuple(
                    Loaded(version=version, nodes=tuple(nodes))
                    for version, nodes in sorted(loaded[package.name].items())
                ),
                source=package.source,
                installer=package.installer,
                in_use=package.name in used,
            )
            for package in first.packages
        ),
        problems=tuple(
            Problem(kind=p.kind, package=p.package, where=p.where, fix=p.fix)  # type: ignore[arg-type]
            for p in first.problems
        ),
        level="all",
        digest=content,
        nodes=tuple(readings),
        taken_at=taken_at,
    )


def kernel_environment(reading: Reading, kernel_id: str, taken_at: str) -> Environment:
    """Return a kernel's environment; its only node is the kernel."""
    return _environment({kernel_id: reading}, "kernel", digest(reading), taken_at)
