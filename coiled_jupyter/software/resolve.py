"""Resolves the packages of another place, for its Python and platform, before anything there is changed.

Rules: no interpreter that a node names is executed; what is required holds or there is no answer; of the preferred pins, most
important first, each is admitted that fits what was admitted before it; only wheels unless allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ..core.change.reasons import reason
from ..core.change.survey import SurveyPlace
from ..core.errors import Impossible, Invalid, Unavailable
from ..paths import data_dir
from . import requirements as requirement_lines
from . import uv
from .index import Index

FRESH_SECONDS = 600.0
_REMEMBERED = 32
_REASON_LENGTH = 700
# The manylinux platforms of uv 0.11.15, the oldest supported, and of all since: glibc's minors.
_GLIBC_MINORS = (17, 28, *range(31, 41))
_LINUX = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_MACOS = {"x86_64": "x86_64-apple-darwin", "arm64": "aarch64-apple-darwin", "aarch64": "aarch64-apple-darwin"}
_WINDOWS = {
    "amd64": "x86_64-pc-windows-msvc",
    "x86_64": "x86_64-pc-windows-msvc",
    "arm64": "aarch64-pc-windows-msvc",
    "aarch64": "aarch64-pc-windows-msvc",
}
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:==(\S+)| @ (\S+))")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]|[A-Za-z0-9]")
_PREAMBLE = re.compile(r"^.*?No solution found when resolving dependencies:?\s*(?:cause:\s*)?")


_Wheels = dict[tuple[str, Version], tuple[tuple[Path, str], ...]]
"""``{(name, version): ((path, SHA-256), ...)}``."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the packages are to run, in the terms of `core.change.survey.SurveyPlace`."""

    python: str
    implementation: str
    platform: str
    machine: str
    libc: str


def target_of(place: SurveyPlace) -> Target:
    """Return the target for which a place's packages are resolved."""
    return Target(
        python=place.python,
        implementation=place.implementation,
        platform=place.platform,
        machine=place.machine,
        libc=place.libc,
    )


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The packages that a place can have.

    Attributes
    ----------
    lock
        Requirement lines with hashes; a wheel of ours has only its own hash, whatever an index has under its name.
    versions
        ``{name: version}`` of the lock, names by PEP 503.
    refused
        ``{name: reason}`` of the preferred pins that can't be had, with uv's reasons.
    relaxed
        The refused ones that are in the lock at another version, since something else requires them.

    """

    lock: str
    versions: dict[str, str]
    refused: dict[str, str]
    relaxed: tuple[str, ...]


class Compiled(msgspec.Struct, frozen=True):
    """The result of trying some pins: the lock, or None and the reason; and which of the preferred pins it has."""

    lock: str | None
    words: str = ""
    kept: frozenset[str] = frozenset()


class Compiler(Protocol):
    """Tries pins together."""

    async def __call__(self, lines: tuple[str, ...], preferred: tuple[str, ...] = (), /) -> Compiled:
        """Return a lock in which all of `lines` hold, or why there is none; raise if neither can be known.

        The packages of `preferred` are in it too, at the versions named if nothing prevents it.
        """


class Admitted(msgspec.Struct, frozen=True):
    """The lines that were admitted, in their order, the lock of all, and ``{line: reason}`` of the refused ones."""

    lock: str
    accepted: tuple[str, ...]
    refused: dict[str, str]


async def resolve(
    target: Target,
    required: Sequence[str],
    preferred: Sequence[str],
    *,
    index: Index,
    instead: Sequence[str] = (),
    hints: Sequence[str] = (),
    allow_source_builds: bool = False,
    find_links: Path | None = None,
    deadline: float = 120,
) -> Resolution:
    """Return what `target` can have: all of `required`, and of `preferred`, most important first, what fits.

    Parameters
    ----------
    instead
        Pins that take the place of refused ones of the same name, as far as they fit all that was admitted.
    hints
        Pins of what may be required at a version that no line names; none of them is asked for.
    find_links
        A folder of wheels of ours; a pin of exactly such a wheel is that file and no other.
    deadline
        Seconds for all of it.

    Raises
    ------
    Invalid
        A line isn't a plain requirement, or a preferred one is no pin.
    Impossible
        `required` can't be had, with uv's reason, or nothing can be resolved for this target.
    Unavailable
        The index didn't answer, or not in time.

    """
    chosen = target_options(target)
    lines = requirement_lines.check(required, field="required")
    pins = requirement_lines.check(preferred, field="preferred")
    names = {pin: _pinned(pin, position) for position, pin in enumerate(pins)}
    others = requirement_lines.check(instead, field="instead")
    likely = requirement_lines.check(hints, field="hints")
    wheels = await asyncio.to_thread(_wheels, find_links) if find_links else {}
    key = _key(target, lines, (*pins, "", *others, "", *likely), index, allow_source_builds, wheels)
    known = await asyncio.to_thread(_recall, key)
    if known is not None:
        return known
    if find_links is not None:
        index = index.with_links(find_links)
    options = (
        *chosen,
        *(() if allow_source_builds else ("--only-binary", ":all:")),
        *index.options,
    )
    compiler = _Uv(options, index, wheels, pins, (*likely, *others), time.monotonic() + deadline)
    admitted = await admit(compiler, lines, pins, others)
    lock, versions = _exact(admitted.lock, wheels)
    refused = {names[line]: _reason(words) for line, words in admitted.refused.items() if line in names}
    relaxed = tuple(name for name in refused if name in versions)
    resolution = Resolution(lock=lock, versions=versions, refused=refused, relaxed=relaxed)
    await asyncio.to_thread(_remember, key, resolution)
    return resolution


async def admit(
    compiler: Compiler, required: Sequence[str], preferred: Sequence[str], instead: Sequence[str] = ()
) -> Admitted:
    """Return which of `preferred` fit `required`, earlier ones first, and what fits of `instead` for those that don't.

    The answer is that of trying them one after the other, found in few tries: all at once; without the one that a failure
    names; all as preferences, which shows most of those that can't be had in any combination; then parts, divided at
    what a failure names.

    Raises
    ------
    Impossible
        `required` can't be had.

    """
    trial = _Trial(compiler, tuple(required))
    rest = list(dict.fromkeys(preferred))
    words = await trial.attempt(rest)
    if words is not None:
        first = await _hopeless(trial, rest, words)
        rest = [line for line in rest if line != first]
        if first is None or await trial.attempt(rest) is not None:
            await _part(trial, await _without_hopeless(trial, rest))
    missing = {canonicalize_name(_TOKEN.findall(line)[0]) for line in trial.refused}
    await _part(trial, [line for line in instead if canonicalize_name(_TOKEN.findall(line)[0]) in missing])
    return await trial.admitted()


async def _part(trial: _Trial, lines: list[str]) -> None:
    """Admit or refuse each of the lines."""
    parts = [lines]
    while parts:
        part = parts.pop()
        if not part:
            continue
        words = await trial.attempt(part)
        if words is None:
            continue
        suspect = _suspect(part, words)
        if len(part) == 1:
            await trial.prove()
            trial.refuse(part[0], words)
        elif suspect is None:
            parts += (part[len(part) // 2 :], part[: len(part) // 2])
        else:
            parts += (part[suspect + 1 :], part[suspect : suspect + 1], part[:suspect])


class _Trial:
    """What has been tried, admitted and refused so far."""

    def __init__(self, compiler: Compiler, required: tuple[str, ...]) -> None:
        self._compiler = compiler
        self._required = required
        self._possible = False
        self._accepted: list[str] = []
        self._refused: dict[str, str] = {}
        self._failed: dict[frozenset[str], str] = {}
        """By lines that were tried together, why there is no lock."""
        self._lock: str | None = None

    async def attempt(self, lines: Sequence[str]) -> str | None:
        """Admit the lines, or return why they don't fit what is admitted."""
        together = (*self._required, *self._accepted, *lines)
        if (tried := frozenset(together)) not in self._failed:
            compiled = await self._compile(together)
            if compiled.lock is not None:
                self._lock = compiled.lock
                self._accepted += lines
                return None
            self._failed[tried] = compiled.words
        return self._failed[tried]

    async def prefer(self, lines: Sequence[str]) -> Compiled:
        """Try them as preferences, which admits none of them."""
        return await self._compile(self._required, tuple(lines))

    async def alone(self, line: str) -> str | None:
        """Return why a line can't be had in any combination, or None if it can."""
        compiled = await self._compile((*self._required, line))
        return compiled.words if compiled.lock is None else None

    @property
    def refused(self) -> tuple[str, ...]:
        """The lines that aren't admitted."""
        return tuple(self._refused)

    def refuse(self, line: str, words: str) -> None:
        """Record why the line isn't admitted."""
        self._refused[line] = words

    async def prove(self) -> None:
        """Raise Impossible if nothing can be had at all."""
        if not self._possible and (cause := await self.attempt(())) is not None:
            short = reason("", _reason(cause))
            raise Impossible(f"Packages that the cluster needs can't be had: {short.text}", details=short.details)

    async def admitted(self) -> Admitted:
        """Return the outcome; raise Impossible if there is none."""
        await self.prove()
        if self._lock is None:
            await self.attempt(())
        return Admitted(self._lock or "", tuple(self._accepted), self._refused)

    async def _compile(self, lines: tuple[str, ...], preferred: tuple[str, ...] = ()) -> Compiled:
        compiled = await self._compiler(lines, preferred)
        self._possible |= compiled.lock is not None
        return compiled


async def _hopeless(trial: _Trial, lines: list[str], words: str) -> str | None:
    """Refuse the line that a failure names if it can't be had even alone, and return it."""
    suspect = _suspect(lines, words)
    if suspect is None or (alone := await trial.alone(lines[suspect])) is None:
        return None
    trial.refuse(lines[suspect], alone)
    return lines[suspect]


async def _without_hopeless(trial: _Trial, lines: list[str]) -> list[str]:
    """Refuse the lines that can't be had even alone, as far as trying all as preferences shows them; return the rest."""
    while True:
        compiled = await trial.prefer(lines)
        if compiled.lock is None:
            await trial.prove()
            hopeless = await _hopeless(trial, lines, compiled.words)
            if hopeless is None:
                return lines
            lines = [line for line in lines if line != hopeless]
            continue
        rest = []
        for line in lines:
            # One after the other: uv itself uses every core.
            words = None if line in compiled.kept else await trial.alone(line)
            if words is None:
                rest.append(line)
            else:
                trial.refuse(line, words)
        return rest


def _suspect(part: list[str], words: str) -> int | None:
    """Return the position of the last line that is named: those before it probably fit together."""
    named = {canonicalize_name(token) for token in _TOKEN.findall(words)}
    hits = [position for position, line in enumerate(part) if canonicalize_name(_TOKEN.findall(line)[0]) in named]
    return hits[-1] if hits else None


class _Uv:
    """Compiles requirements for another Python and platform with uv."""

    def __init__(
        self,
        options: tuple[str, ...],
        index: Index,
        wheels: _Wheels,
        pins: tuple[str, ...],
        hints: tuple[str, ...],
        end: float,
    ) -> None:
        self._options = options
        self._index = index
        self._wheels = wheels
        self._pins = "".join(f"{pin}\n" for pin in pins)
        self._hints = "".join(f"{pin}\n" for pin in hints)
        self._prereleases = "".join(f"{line}\n" for line in _prereleases(pins))
        self._end = end

    async def __call__(self, lines: tuple[str, ...], preferred: tuple[str, ...] = (), /) -> Compiled:
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unavailable("The packages weren't resolved in time", "Look at the network and the index")
        with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
            wanted, constraints, locked = (Path(folder, name) for name in ("in.txt", "constraints.txt", "out.txt"))
            names = [str(Requirement(line).name) for line in preferred]
            wanted.write_text("".join(f"{line}\n" for line in (*map(self._place, lines), *names)), encoding="utf-8")
            constraints.write_text(self._prereleases, encoding="utf-8")
            # uv keeps the versions in its output where it can, so it needn't search all versions of what one try leaves
            # open, which is slow if many of them are old.
            # Where it is to show which pins can be had, it must see no other version of them.
            locked.write_text(self._pins if preferred else self._pins + self._hints, encoding="utf-8")
            ended = await uv.attempt(
                *("pip", "compile", "--no-config", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
                *self._options,
                *("--constraints", str(constraints), "--output-file", str(locked), "--", str(wanted)),
                cwd=Path(folder),
                deadline=left,
                index=self._index,
                level=logging.DEBUG,
            )
            if ended.status == 0:
                lock, versions = _exact(locked.read_text(encoding="utf-8"), self._wheels)
                return Compiled(lock, kept=frozenset(line for line in preferred if _holds(line, versions)))
        if ended.status == 1:
            return Compiled(None, ended.words)
        raise Unavailable(f"The packages can't be resolved: {ended.words[:2000]}", "Look at the network and the index")

    def _place(self, line: str) -> str:
        """Return a pin of a wheel of ours as the file: then uv takes no other, and reads no other's metadata."""
        requirement = Requirement(line)
        version = _pin(requirement)
        found = self._wheels.get((canonicalize_name(requirement.name), version), ()) if version else ()
        if len(found) != 1:
            return line
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        return f"{requirement.name}{extras} @ {found[0][0].as_uri()}"


# ---- the target ---------------------------------------------------------------------------------------------------


def target_options(target: Target) -> tuple[str, ...]:
    """Return uv's options for a target; raises Impossible if packages can't be chosen for it."""
    return (
        *("--python-version", python_version(target), "--python-platform", _platform(target)),
        *("--python", sys.executable),
    )


def python_version(target: Target) -> str:
    """Return the version of the nodes' Python for uv; raises Impossible if packages can't be chosen for it."""
    if target.implementation.lower() != "cpython":
        raise Impossible(f"The nodes run {target.implementation[:40]}; packages can be chosen for CPython only")
    match = re.match(r"3\.\d{1,3}(?:\.\d{1,3})?(?![\d.])", target.python)
    if match is None:
        raise Impossible(f"The nodes run Python {target.python[:40]!r}, for which no packages can be chosen")
    return match[0]


def _platform(target: Target) -> str:
    """Return uv's name of the platform; of several, the newest that isn't newer than the node."""
    system, machine, libc = target.platform.lower(), target.machine.lower(), target.libc.lower()
    if system == "linux" and machine in _LINUX:
        match = re.fullmatch(r"(glibc|musl)(?: (\d{1,4})\.(\d{1,4})\S*)?", libc)
        number = (int(match[2]), int(match[3])) if match and match[2] else None
        if match and match[1] == "musl" and (number is None or number >= (1, 2)):
            return f"{_LINUX[machine]}-unknown-linux-musl"
        minors = [minor for minor in _GLIBC_MINORS if match and match[1] == "glibc" and number and (2, minor) <= number]
        if minors:
            return f"{_LINUX[machine]}-manylinux_2_{minors[-1]}"
    elif system in ("darwin", "macos") and machine in _MACOS:
        return _MACOS[machine]
    elif system in ("windows", "win32") and machine in _WINDOWS:
        return _WINDOWS[machine]
    shown = " ".join(filter(None, (target.platform[:40], target.machine[:40], target.libc[:40])))
    raise Impossible(f"The nodes run {shown!r}, for which no packages can be chosen")


# ---- lines --------------------------------------------------------------------------------------------------------


def _pin(requirement: Requirement) -> Version | None:
    (specifier,) = requirement.specifier if len(requirement.specifier) == 1 else (None,)
    if specifier is None or specifier.operator != "==" or requirement.marker is not None:
        return None
    try:
        return Version(specifier.version)
    except InvalidVersion:
        return None


def _pinned(line: str, position: int) -> str:
    requirement = Requirement(line)
    if _pin(requirement) is None:
        raise Invalid(f"preferred[{position}]", f"{line[:80]!r} isn't a name with one version", "Such as numpy==1.26.4")
    return canonicalize_name(requirement.name)


def _holds(line: str, versions: Mapping[str, str]) -> bool:
    requirement = Requirement(line)
    version = versions.get(canonicalize_name(requirement.name))
    return version is not None and Version(version) == _pin(requirement)


def _prereleases(pins: Sequence[str]) -> tuple[str, ...]:
    """Return constraints that allow a pre-release wherever a preferred pin is one.

    uv takes a pre-release only if a requirement names one. Without this, a package that requires the pin would be refused
    if the two are tried apart, and admitted if they are tried together.
    """
    requirements = [Requirement(pin) for pin in pins]
    return tuple(f"{it.name}>=0.dev0" for it in requirements if (version := _pin(it)) and version.is_prerelease)


def _wheels(folder: Path) -> _Wheels:
    """Return the wheels of a folder, each with its SHA-256."""
    found: _Wheels = {}
    for path in sorted(folder.absolute().glob("*.whl")):
        with contextlib.suppress(InvalidWheelFilename):
            name, version, _, _ = parse_wheel_filename(path.name)
            found[name, version] = (*found.get((name, version), ()), (path, _sha256(path)))
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _exact(lock: str, wheels: _Wheels) -> tuple[str, dict[str, str]]:
    """Return the lock with plain pins only, wheels of ours under their own hash, and its versions."""
    entries: list[list[str]] = []
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            entries.append([line])
        elif line.strip() and entries:
            entries[-1].append(line)
    versions: dict[str, str] = {}
    by_uri = {path.as_uri(): key for key, files in wheels.items() for path, _ in files}
    for entry in entries:
        match = _PIN.match(entry[0])
        if match is None or (match[3] and match[3] not in by_uri):
            raise Unavailable("uv's lock holds a line that isn't a pin", "Report this")
        name = canonicalize_name(match[1])
        version = by_uri[match[3]][1] if match[3] else Version(match[2])
        versions[name] = str(version) if match[3] else match[2]
        ours = wheels.get((name, version), ())
        if ours:
            hashes = " \\\n".join(f"    --hash=sha256:{digest}" for _, digest in ours)
            entry[:] = [f"{name}=={versions[name]} \\", hashes]
    return "".join(f"{line}\n" for entry in entries for line in entry), versions


def _reason(words: str) -> str:
    return _PREAMBLE.sub("", words)[:_REASON_LENGTH]


# ---- cached resolutions -------------------------------------------------------------------------------------------


class _Known(msgspec.Struct, frozen=True):
    at: float
    resolution: Resolution


remembered: OrderedDict[str, _Known] = OrderedDict()


def _key(
    target: Target, lines: Sequence[str], pins: Sequence[str], index: Index, allow_source_builds: bool, wheels: _Wheels
) -> str:
    ours = sorted(
        (name, str(version), path.name, digest) for (name, version), files in wheels.items() for path, digest in files
    )
    everything = (uv.version(), target, lines, pins, sorted(index.uv.items()), index.options, allow_source_builds, ours)
    return hashlib.blake2b(msgspec.json.encode(everything), digest_size=20).hexdigest()


def _recall(key: str) -> Resolution | None:
    known = remembered.get(key)
    if known is None:
        try:
            known = msgspec.json.decode((_folder() / f"{key}.json").read_bytes(), type=_Known)
        except (OSError, Unavailable, msgspec.DecodeError):
            return None
    # A clock that was set back makes an entry look younger than it is.
    if not 0 <= time.time() - known.at < FRESH_SECONDS:
        return None
    _keep(key, known)
    return known.resolution


def _remember(key: str, resolution: Resolution) -> None:
    known = _Known(time.time(), resolution)
    _keep(key, known)
    # If it can't be written, only time is lost.
    with contextlib.suppress(OSError, Unavailable):
        folder = _folder()
        for path in folder.iterdir():
            if abs(time.time() - path.stat().st_mtime) > FRESH_SECONDS:
                path.unlink(missing_ok=True)
        descriptor, staging = tempfile.mkstemp(prefix=key, suffix=".new", dir=folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(known))
        Path(staging).rename(folder / f"{key}.json")


def _keep(key: str, known: _Known) -> None:
    remembered[key] = known
    remembered.move_to_end(key)
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)


def _folder() -> Path:
    return data_dir("locks")
