"""Puts nodes that have the same installation together: one environment for each group."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from .reading import Reading, decode_versions
from .times import ago
from .uses import uses
from .wire import Environment, Loaded, Package, Problem, Role, Unread


class Readings(Struct, kw_only=True, frozen=True):
    """The last reading of every node of a cluster: one environment per group, and what could not be read.

    `taken_at` is None until a first reading ended.
    """

    environments: tuple[Environment, ...] = ()
    unread: tuple[Unread, ...] = ()
    taken_at: str | None = None


def digest(reading: Reading) -> str:
    """Return a hash of what is installed, its origin and content; not of what is loaded, of times or of order."""
    seen = hashlib.blake2b(digest_size=16)
    parts = [reading.implementation, reading.python, reading.platform, reading.library or ""]
    parts += [f"{name}={value}" for name, value in sorted(reading.conditions.items())]
    # Of the workers that a sync has restarted, all are sealed; those that aren't are a group of their own.
    parts += [f"sealed {scheduler}" for scheduler in reading.sealed]
    for package in reading.packages:
        source = package.source
        parts += [package.name, package.version, package.content or "", package.build or "", package.channel or ""]
        parts += [source.kind, source.url, source.commit or ""] if source else ["", "", ""]
    for problem in sorted(reading.problems, key=lambda p: (p.kind, p.package or "", p.where)):
        parts += [problem.kind, problem.package or "", problem.where]
    seen.update(msgspec.json.encode(parts))
    return seen.hexdigest()


def group(
    readings: Mapping[str, Reading],
    role: Role,
    *,
    taken_at: str,
    content_ages: Mapping[str, float | None] | None = None,
) -> tuple[Environment, ...]:
    """Put nodes with one host, prefix and digest together: one environment each, largest group first.

    Parameters
    ----------
    readings
        By node id; nodes may share one object.
    taken_at
        The time at which all of them were last confirmed.
    content_ages
        Seconds since the files of a node were looked at, where they were.

    """
    digests = {id(reading): digest(reading) for reading in readings.values()}
    members: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for node, reading in readings.items():
        members[(reading.host, reading.prefix, digests[id(reading)])].append(node)
    made = []
    for key, nodes in members.items():
        known = [(content_ages or {}).get(node) for node in nodes]
        ages = [age for age in known if age is not None]
        made.append(
            _environment(
                {node: readings[node] for node in sorted(nodes)}, role, key[2], taken_at, min(ages) if ages else None
            )
        )
    return tuple(sorted(made, key=lambda e: (-len(e.nodes), e.id)))


def kernel_environment(
    reading: Reading,
    kernel_id: str,
    taken_at: str,
    content_age: float | None = None,
    modules: Collection[str] = (),
) -> Environment:
    """Return a kernel's environment; its only node is the kernel, whose notebook's source names `modules`."""
    made = _environment({kernel_id: reading}, "kernel", digest(reading), taken_at, content_age)
    found = uses(reading.packages, {*reading.named, *modules}, reading.requires)
    packages = []
    for package in made.packages:
        use, needed_by = found.get(package.name, ("", ""))
        packages.append(msgspec.structs.replace(package, use=use, needed_by=needed_by))
    return msgspec.structs.replace(made, packages=tuple(packages))


def versions_environment(answers: Mapping[str, Any], role: Role, *, taken_at: str) -> tuple[Environment, ...]:
    """Group nodes of which only Dask's own versions handler is known: some ten names, level ``versions``.

    Parameters
    ----------
    answers
        By node id, what its handler answered: ``{"host": {...}, "packages": {...}}``; hostile.

    """
    members: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for node, answer in answers.items():
        members[decode_versions(answer)].append(node)
    made = []
    for parts, nodes in members.items():
        python, implementation, platform, *pairs = parts
        packages = tuple(
            Package(name=name, version=version) for name, version in zip(pairs[::2], pairs[1::2], strict=True)
        )
        key = hashlib.blake2b(msgspec.json.encode([role, parts]), digest_size=16).hexdigest()
        made.append(
            Environment(
                id=key[:16],
                role=role,
                host="",
                prefix="",
                python=python,
                implementation=implementation,
                platform=platform,
                packages=packages,
                problems=(),
                level="versions",
                digest=key,
                nodes=tuple(sorted(nodes)),
                taken_at=taken_at,
            )
        )
    return tuple(sorted(made, key=lambda e: (-len(e.nodes), e.id)))


def _environment(
    readings: Mapping[str, Reading], role: Role, content: str, taken_at: str, content_age: float | None
) -> Environment:
    first = next(iter(readings.values()))
    loaded: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    used: set[str] = set()
    sharing: dict[int, list[str]] = defaultdict(list)
    for node, reading in readings.items():
        sharing[id(reading)].append(node)
    for nodes in sharing.values():
        for package in readings[nodes[0]].packages:
            if package.loaded is not None:
                loaded[package.name][package.loaded] += nodes
            if package.use:
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
        library=first.library,
        conditions=dict(first.conditions),
        sealed=first.sealed,
        packages=tuple(
            Package(
                name=package.name,
                version=package.version,
                loaded=tuple(
                    Loaded(version=version, nodes=tuple(sorted(nodes)))
                    for version, nodes in sorted(loaded[package.name].items())
                )
                if package.name in loaded
                else (),
                source=package.source,
                installer=package.installer,
                content=package.content,
                build=package.build,
                channel=package.channel,
                requested=package.requested,
                use="loaded" if package.name in used else "",
                modules=package.modules,
                files=package.files,
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
        content_at=ago(taken_at, content_age) if first.looked and content_age is not None else None,
        conditional=dict(first.conditional),
    )


def modules(environment: Environment) -> tuple[str, ...]:
    """Return the import names of the code beside the notebook, which no distribution brought."""
    return tuple(
        package.name.split("/")[0].removesuffix(".py")
        for package in environment.packages
        if package.source is not None and package.source.kind == "module"
    )
