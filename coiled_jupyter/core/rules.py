"""How bad a difference is, why, and what to do: decided here, once, for panel, command line and magic alike.

The rules themselves are data: ``rules.toml`` beside this module, before it a user's file of the same form, and before
that an administrator's. The first rule that holds decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from importlib import resources
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct
from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from . import conda
from .errors import Invalid
from .names import normal
from .wire import Environment, Package, Role, RowStatus, Rule, Rules, Severity

ORDER: tuple[Severity, ...] = ("breaks", "risky", "minor", "same")
Distance: TypeAlias = Literal["epoch", "major", "minor", "micro", "pre", "post", "local", "text"]
Direction: TypeAlias = Literal["kernel_newer", "cluster_newer"]
Kind: TypeAlias = Literal["package", "module", "conda", "condition"]
Damage: TypeAlias = Literal["duplicate", "leftover", "no_record", "missing_files", "conda_conflict"]
Problem: TypeAlias = Literal[Damage, "clash"]
Evidence: TypeAlias = Literal["content", "source", "build", "edited"]
Origin: TypeAlias = Literal["admin", "user", "shipped"]

PROTECTED = frozenset({"python", "dask", "distributed"})
"""What can't be ignored: without it no task runs, so nothing else that the diff says would mean anything."""
SIZE_LIMIT = 1024 * 1024
"""Bytes of one file of rules."""
_WHO = {"admin": "the administrator's rules", "user": "your rules"}
_REMEMBERED = 50_000
"""Names come from nodes, so what is kept of them is bounded."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

_Text = Annotated[str, Meta(max_length=500)]
_Names = Annotated[tuple[_Text, ...], Meta(max_length=2000)]


class RuleSpec(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One rule as a file has it; the conditions are described at the top of ``rules.toml``."""

    names: _Names = ()
    kind: Kind | None = None
    status: tuple[RowStatus, ...] = ()
    distance: tuple[Distance, ...] = ()
    direction: Direction | None = None
    older: _Text | None = None
    newer: _Text | None = None
    dask: _Text | None = None
    imported: bool | None = None
    in_use: bool | None = None
    requested: bool | None = None
    role: Role | None = None
    platform: Literal["same", "other"] | None = None
    python: Literal["same", "other"] | None = None
    problem: tuple[Problem, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    severity: Severity
    why: _Text
    fix: _Text = ""


class Only(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Packages that can exist only where a marker (PEP 508) holds."""

    names: _Names
    marker: _Text


class Pickled(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What became of objects of two releases of a package in a trial: ``docs/pickles.md``.

    `loads` is ``both``; ``older`` where only those of the older release load in the newer one; ``newer``; or ``none``.
    """

    name: _Text
    older: _Text
    newer: _Text
    loads: Literal["both", "older", "newer", "none"]


class Clash(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Versions of a package that can't be imported where `beside` is installed in one of the versions `found`."""

    name: _Text
    versions: _Text
    beside: _Text
    found: _Text


class RuleFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A file of rules."""

    ignore: _Names = ()
    overrides: dict[_Text, Severity] = {}
    names: dict[_Text, _Names] = {}
    only: tuple[Only, ...] = ()
    rule: tuple[RuleSpec, ...] = ()
    pickles: tuple[Pickled, ...] = ()
    clashes: tuple[Clash, ...] = ()
    conda: dict[_Text, _Text] = {}
    """conda's name of a package → its name on PyPI; empty text for what is no distribution."""


class Case(Struct, frozen=True):
    """What a rule can look at: one package of the kernel against that of one group of nodes."""

    name: str
    status: RowStatus
    kernel: str = ""
    cluster: str = ""
    imported: bool = False
    in_use: bool = False
    requested: bool = False
    kind: Kind = "package"
    role: Role = "worker"
    same_platform: bool = True
    same_python: bool = True
    problem: Problem | None = None
    evidence: Evidence | None = None
    dask: str = ""
    """The version of distributed on the notebook's side."""


class _Compiled(Struct, frozen=True):
    spec: RuleSpec
    origin: Origin
    exact: frozenset[str]
    pattern: re.Pattern[str] | None
    older: SpecifierSet | None
    newer: SpecifierSet | None
    dask: SpecifierSet | None

    def concerns(self, name: str) -> bool:
        return not self.spec.names or name in self.exact or bool(self.pattern and self.pattern.fullmatch(name))

    def fits(self, case: Case) -> bool:
        """Whether all conditions hold but those on versions."""
        spec = self.spec
        return (
            (not spec.status or case.status in spec.status)
            and self.concerns(case.name)
            and (self.dask is None or (bool(case.dask) and _older_in(self.dask, case.dask, case.dask)))
            and spec.imported in (None, case.imported)
            and spec.in_use in (None, case.in_use)
            and spec.requested in (None, case.requested)
            and spec.kind in (None, case.kind)
            and spec.role in (None, case.role)
            and spec.platform in (None, "same" if case.same_platform else "other")
            and spec.python in (None, "same" if case.same_python else "other")
            and (not spec.problem or case.problem in spec.problem)
            and (not spec.evidence or case.evidence in spec.evidence)
        )

    def holds(self, kernel: str, cluster: str) -> bool:
        """Whether the conditions on versions hold."""
        spec = self.spec
        return (
            (not spec.distance or distance(kernel, cluster) in spec.distance)
            and (spec.direction is None or direction(kernel, cluster) == spec.direction)
            and (self.older is None or _older_in(self.older, kernel, cluster))
            and (self.newer is None or _newer_in(self.newer, kernel, cluster))
        )


_NOTHING = RuleSpec(severity="same", why="")


@dataclass(frozen=True)
class RuleSet:
    """All rules in their order, with what is ignored and overridden; made by `combine`."""

    files: tuple[tuple[Origin, RuleFile], ...]
    ignored: Mapping[str, Origin]
    overrides: Mapping[str, tuple[Severity, Origin]]
    _rules: tuple[_Compiled, ...]
    _only: tuple[tuple[_Compiled, str], ...]
    _clashes: tuple[tuple[str, SpecifierSet, str, SpecifierSet], ...]
    _chosen: dict[tuple[object, ...], tuple[_Compiled, ...]] = field(default_factory=dict, compare=False, repr=False)
    _limits: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def conda(self) -> dict[str, str | None]:
        """Conda's names → PyPI's: the shipped table with that of the files; see `core.conda`."""
        names = dict(conda.NAMES)
        for _, file in reversed(self.files):
            names |= {name.lower(): normal(pypi.strip()) if pypi else None for name, pypi in file.conda.items()}
        return names

    def clashes(self, packages: Mapping[str, Package]) -> list[tuple[str, str]]:
        """Return the packages that can't be imported in an environment, each with the one that it can't be beside."""
        return [
            (name, beside)
            for name, own, beside, found in self._clashes
            if name in packages
            and beside in packages
            and _in(own, packages[name].version)
            and _in(found, packages[beside].version)
        ]

    def tools(self) -> frozenset[str]:
        """Return what a notebook itself runs on, and installers; tasks don't use them."""
        groups = dict(shipped_file().names)
        for _, file in reversed(self.files):
            groups |= file.names
        return frozenset(_members(groups.get("tools", ()), groups, "tools"))

    def rule(self, case: Case) -> RuleSpec:
        """Return the first rule that holds."""
        key = (
            case.name, case.status, case.dask, case.imported, case.in_use, case.requested, case.kind, case.role, case.same_platform,
            case.same_python, case.problem, case.evidence,
        )  # fmt: skip
        candidates = self._chosen.get(key)
        if candidates is None:
            if len(self._chosen) > _REMEMBERED:
                self._chosen.clear()
            candidates = self._chosen[key] = tuple(rule for rule in self._rules if rule.fits(case))
        for rule in candidates:
            if rule.holds(case.kernel, case.cluster):
                return rule.spec
        return _NOTHING

    def only_where(self, name: str, environment: Environment) -> str | None:
        """Return the marker because of which `environment` can't have `name`, or None."""
        markers = self._limits.get(name)
        if markers is None:
            if len(self._limits) > _REMEMBERED:
                self._limits.clear()
            markers = self._limits[name] = tuple(marker for rule, marker in self._only if rule.concerns(name))
        return next((marker for marker in markers if not needed([marker], environment)), None)

    def decided(
        self, name: str, status: RowStatus, severity: Severity, why: str, fix: str
    ) -> tuple[Severity, str, str]:
        """Apply what is ignored and overridden to a row that isn't equal."""
        if not self.ignored and not self.overrides:
            return severity, why, fix
        # Files beside a notebook aren't spelled as packages are.
        key = normal(name)
        if key in self.ignored:
            return "same", f"Ignored by {_WHO[self.ignored[key]]}. {why}".strip(), fix
        if status != "same" and key in self.overrides:
            wished, origin = self.overrides[key]
            if wished != severity:
                return wished, f"Rated {wished} by {_WHO[origin]}, otherwise {severity}. {why}".strip(), fix
        return severity, why, fix

    def to_wire(self, faults: Sequence[str] = ()) -> Rules:
        """Return the answer of ``GET rules``."""
        rules: list[Rule] = []
        for origin, file in self.files:
            if origin == "admin":
                rules += [
                    Rule(names=(name,), severity="same", why="Ignored by the administrator's rules.", origin=origin)
                    for name in sorted(name for name, by in self.ignored.items() if by == origin)
                ]
                rules += [
                    Rule(names=(name,), severity=severity, why="Rated so by the administrator's rules.", origin=origin)
                    for name, (severity, by) in sorted(self.overrides.items())
                    if by == origin
                ]
            rules += [_wire_rule(spec, origin) for spec in file.rule]
        user = next((file for origin, file in self.files if origin == "user"), RuleFile())
        return Rules(
            ignores=tuple(sorted({normal(name.strip()) for name in user.ignore} - PROTECTED)),
            overrides={normal(name.strip()): user.overrides[name] for name in sorted(user.overrides)},
            rules=tuple(rules),
            faults=tuple(faults),
        )


def _wire_rule(spec: RuleSpec, origin: Origin) -> Rule:
    return Rule(
        names=spec.names,
        kind=spec.kind,
        statuses=spec.status,
        distances=spec.distance,
        direction=spec.direction,
        older=spec.older,
        newer=spec.newer,
        dask=spec.dask,
        imported=spec.imported,
        in_use=spec.in_use,
        requested=spec.requested,
        role=spec.role,
        platform=spec.platform,
        python=spec.python,
        problems=spec.problem,
        evidence=spec.evidence,
        severity=spec.severity,
        why=spec.why,
        fix=spec.fix,
        origin=origin,
    )


_PLACE = re.compile(r"\{(\w+)\}")


def words(text: str, values: Mapping[str, str]) -> str:
    """Fill the placeholders of a rule's sentence; what isn't known stays as it is written."""
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), text) if "{" in text else text


# ---- files ------------------------------------------------------------------------------------------------------------


def parse(text: str) -> RuleFile:
    """Read a file of rules.

    Raises
    ------
    Invalid
        It isn't TOML, or not of this form; the message says where.

    """
    if len(text) > SIZE_LIMIT:
        raise Invalid("rules", "The file is larger than 1 MiB")
    try:
        file = msgspec.toml.decode(text, type=RuleFile)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        raise Invalid("rules", f"{path.rstrip('`').lstrip('.') or 'The file'}: {said}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid("rules", f"It isn't TOML: {str(error)[:200]}") from None
    _compile("user", file)
    return file


@lru_cache(maxsize=1)
def shipped_file() -> RuleFile:
    """Return the rules that come with the package."""
    text = resources.files(__package__).joinpath("rules.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=RuleFile)


def combine(*, admin: RuleFile | None = None, user: RuleFile | None = None) -> RuleSet:
    """Return the rules of an administrator, of a user and the shipped ones, in this order."""
    files: list[tuple[Origin, RuleFile]] = []
    if admin is not None:
        files.append(("admin", admin))
    if user is not None:
        files.append(("user", user))
    files.append(("shipped", shipped_file()))
    ignored: dict[str, Origin] = {}
    overrides: dict[str, tuple[Severity, Origin]] = {}
    for origin, file in files:
        for name in [normal(listed.strip()) for listed in file.ignore]:
            if name not in PROTECTED:
                ignored.setdefault(name, origin)
        for name, severity in file.overrides.items():
            overrides.setdefault(normal(name.strip()), (severity, origin))
    rules: list[_Compiled] = []
    only: list[tuple[_Compiled, str]] = []
    for origin, file in files:
        made, excused = _compile(origin, file)
        rules += made
        only += excused
    clashes = [clash for _, file in files for clash in _clashing(file)]
    return RuleSet(tuple(files), ignored, overrides, tuple(rules), tuple(only), tuple(clashes))


@lru_cache(maxsize=1)
def shipped() -> RuleSet:
    """Return the rules as they come with the package."""
    return combine()


def _compile(origin: Origin, file: RuleFile) -> tuple[list[_Compiled], list[tuple[_Compiled, str]]]:
    """Return the rules and the `only` table of a file, or raise Invalid."""
    groups = {**shipped_file().names, **file.names}
    tried = [_tried(entry) for entry in file.pickles if entry.loads != "both" or entry.name in groups["data"]]
    rules = [
        _compiled(origin, spec, groups, f"pickles, {spec.names[0]}") for spec in sorted(tried, key=lambda s: s.severity)
    ]
    rules += [_compiled(origin, spec, groups, f"rule {number}") for number, spec in enumerate(file.rule, 1)]
    only: list[tuple[_Compiled, str]] = []
    for number, entry in enumerate(file.only, 1):
        if _marker(entry.marker) is None:
            raise Invalid("rules", f"only {number}: {entry.marker!r} is no marker of PEP 508")
        spec = RuleSpec(names=entry.names, severity="same", why="")
        only.append((_compiled(origin, spec, groups, f"only {number}"), entry.marker))
    _clashing(file)
    return rules, only


def _clashing(file: RuleFile) -> list[tuple[str, SpecifierSet, str, SpecifierSet]]:
    return [
        (normal(entry.name), _specifiers(entry.versions, where), normal(entry.beside), _specifiers(entry.found, where))
        for number, entry in enumerate(file.clashes, 1)
        for where in [f"clashes {number}"]
    ]


def _compiled(origin: Origin, spec: RuleSpec, groups: Mapping[str, Sequence[str]], where: str) -> _Compiled:
    names = list(_members(spec.names, groups, where))
    patterns = [translate(name) for name in names if "*" in name or "?" in name or "[" in name]
    older, newer, dask = (_versions(text, where) for text in (spec.older, spec.newer, spec.dask))
    return _Compiled(
        spec=spec,
        origin=origin,
        exact=frozenset(names),
        pattern=re.compile("|".join(patterns)) if patterns else None,
        older=older,
        newer=newer,
        dask=dask,
    )


_FAILED = {
    "older": "objects that the newer one has made don't load in the older one",
    "newer": "objects that the older one has made don't load in the newer one",
    "none": "neither loads what the other has made",
}


def _tried(entry: Pickled) -> RuleSpec:
    """Return the rule that follows from a trial: for versions around two that fail, or between two that don't."""
    tried = f"Tried with {entry.older} and {entry.newer}"
    here = "{name} is {kernel} here and {cluster} on {where}"
    fix = "Install the same {name} on both sides."
    if entry.loads == "both":
        why = f"{here}: results may differ. {tried}: each loads what the other has made."
        older, newer = f">={entry.older}", f"<={entry.newer}"
        return RuleSpec(
            names=(entry.name,), status=("differs",), role="worker", older=older, newer=newer, severity="risky",
            why=why, fix=fix, distance=("epoch", "major", "minor", "text"),
        )  # fmt: skip
    return RuleSpec(
        names=(entry.name,), status=("differs",), role="worker", imported=True, older=f"<={entry.older}",
        newer=f">={entry.newer}", severity="breaks", why=f"{here}. {tried}: {_FAILED[entry.loads]}.", fix=fix,
    )  # fmt: skip


def _versions(text: str | None, where: str) -> SpecifierSet | None:
    return None if text is None else _specifiers(text, where)


def _specifiers(text: str, where: str) -> SpecifierSet:
    try:
        return SpecifierSet(text, prereleases=True)
    except InvalidSpecifier:
        raise Invalid("rules", f"{where}: {text!r} is no set of versions such as '<2'") from None


def _members(names: Iterable[str], groups: Mapping[str, Sequence[str]], where: str, depth: int = 0) -> Iterable[str]:
    for name in names:
        if not name.startswith("@"):
            yield name if name.endswith(".py") else normal(name.strip())
        elif name[1:] not in groups or depth > 8:
            raise Invalid("rules", f"{where}: there is no group {name} in [names]")
        else:
            yield from _members(groups[name[1:]], groups, where, depth + 1)


# ---- versions and markers -----------------------------------------------------------------------------------------


def check_name(name: str, field: str) -> str:
    """Return the name as PEP 503 spells it, or raise Invalid for this field of a request."""
    spelled = normal(name.strip())
    if not _NAME.fullmatch(spelled):
        raise Invalid(field, f"{name[:80]!r} is no name of a package")
    return spelled


@lru_cache(maxsize=50_000)
def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def equal_versions(a: str, b: str) -> bool:
    """Whether two versions are one by PEP 440; text that is no version is compared as text."""
    if a == b:
        return True
    left, right = _version(a), _version(b)
    return left is not None and left == right


def is_version(text: str) -> bool:
    """Whether a text is a version by PEP 440."""
    return _version(text) is not None


@lru_cache(maxsize=50_000)
def distance(a: str, b: str) -> Distance | None:
    """Return the first part in which two versions differ, None if they are equal."""
    if equal_versions(a, b):
        return None
    left, right = _version(a), _version(b)
    if left is None or right is None:
        # Other Pythons than CPython are told with their implementation before the version.
        kind, _, rest = a.partition(" ")
        other, _, others = b.partition(" ")
        return (distance(rest, others) or "text") if rest and others and kind == other else "text"
    if left.epoch != right.epoch:
        return "epoch"
    if left.major != right.major:
        return "major"
    if left.minor != right.minor:
        # Below 1.0 the second number is the one that breaks.
        return "minor" if left.major else "major"
    if _numbers(left) != _numbers(right):
        return "micro"
    if left.pre != right.pre:
        return "pre"
    return "post" if (left.post, left.dev) != (right.post, right.dev) else "local"


def _numbers(version: Version) -> tuple[int, ...]:
    numbers = list(version.release)
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def direction(kernel: str, cluster: str) -> Direction | None:
    """Return which side has the newer version, None if that can't be told."""
    left, right = _version(kernel), _version(cluster)
    if left is None or right is None or left == right:
        return None
    return "kernel_newer" if left > right else "cluster_newer"


def _older_in(specifiers: SpecifierSet, a: str, b: str) -> bool:
    left, right = _version(a), _version(b)
    return left is not None and right is not None and specifiers.contains(min(left, right))


def _in(specifiers: SpecifierSet, text: str) -> bool:
    version = _version(text)
    return version is not None and specifiers.contains(version)


def _newer_in(specifiers: SpecifierSet, a: str, b: str) -> bool:
    left, right = _version(a), _version(b)
    return left is not None and right is not None and specifiers.contains(max(left, right))


@lru_cache(maxsize=10_000)
def _marker(text: str) -> Marker | None:
    if len(text) > 1000:
        return None
    try:
        return Marker(text)
    except (InvalidMarker, RecursionError):
        return None


def needed(markers: Iterable[str], environment: Environment) -> bool:
    """Whether any of these markers (PEP 508) holds where `environment` is; one that can't be read does."""
    facts = _facts(environment.python, environment.implementation, environment.platform)
    return any(_holds(text, facts) for text in markers)


@lru_cache(maxsize=50_000)
def _holds(text: str, facts: tuple[tuple[str, str], ...]) -> bool:
    marker = _marker(text)
    # The release of an operating system isn't read, so a marker that asks for it stays in doubt.
    if marker is None or "platform_release" in text or "platform_version" in text:
        return True
    if _version(dict(facts)["python_full_version"]) is None:
        return True
    try:
        return marker.evaluate(dict(facts))
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion, RecursionError):
        return True


_SYSTEMS = {
    "linux": ("linux", "Linux", "posix"),
    "macosx": ("darwin", "Darwin", "posix"),
    "win": ("win32", "Windows", "nt"),
}
_MACHINES = {("win", "amd64"): "AMD64", ("win", "arm64"): "ARM64"}


@lru_cache(maxsize=1000)
def _facts(python: str, implementation: str, platform: str) -> tuple[tuple[str, str], ...]:
    """Return the variables of markers for a Python and a platform tag such as ``macosx-14.0-arm64``."""
    system, _, rest = platform.partition("-")
    machine = rest.rpartition("-")[2] if system == "macosx" else rest
    if system == "win32":
        system, machine = "win", "x86"
    sys_platform, platform_system, os_name = _SYSTEMS.get(system, (system, system.capitalize(), "posix"))
    return (
        ("python_version", minor(python)),
        ("python_full_version", python),
        ("implementation_name", implementation),
        ("implementation_version", python),
        ("platform_python_implementation", {"cpython": "CPython", "pypy": "PyPy"}.get(implementation, implementation)),
        ("sys_platform", sys_platform),
        ("platform_system", platform_system),
        ("os_name", os_name),
        ("platform_machine", _MACHINES.get((system, machine), machine)),
        ("platform_release", ""),
        ("platform_version", ""),
        ("extra", ""),
    )


def minor(python: str) -> str:
    """Return the first two numbers of Python's version."""
    return ".".join(python.split(".")[:2])
