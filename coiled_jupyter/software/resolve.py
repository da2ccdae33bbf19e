"""Resolves what another place is to hold, for its Python and platform, before anything there is touched.

Rules: no interpreter that a node names is run; what must hold holds or nothing is answered; of the wishes, most
important first, each that can be had beside what was admitted before it is admitted; only wheels unless allowed.
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

from ..core.errors import Impossible, Invalid, Unavailable
from ..paths import data_dir
from . import requirements as requirement_lines
from . import uv
from .index import Index

FRESH_SECONDS = 600.0
_REMEMBERED = 32
_REASON_LENGTH = 700
# The manylinux platforms of uv 0.11.15, the oldest that we take, and of all since: glibc's minors.
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
    """Where the packages are to run, in the words of `core.survey.SurveyPlace`."""

    python: str
    implementation: str
    platform: str
    machine: str
    libc: str


class Wish(msgspec.Struct, frozen=True):
    """A pin that is had if it can be, such as ``numpy==2.4.6``."""

    requirement: str


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What a place can hold.

    Attributes
    ----------
    lock
        Requirement lines with hashes; a wheel of ours has its own hash only, whatever an index has under its name.
    versions
        ``{name: version}`` of the lock, names by PEP 503.
    refused
        ``{name: reason}`` of the wishes that can't be had, in uv's words.
    relaxed
        The refused ones that are in the lock all the same, at another version, since something else requires them.

    """

    lock: str
    versions: dict[str, str]
    refused: dict[str, str]
    relaxed: tuple[str, ...]


class Compiled(msgspec.Struct, frozen=True):
    """What came of trying some pins: the lock, or None and why not; and which of the preferred pins it holds."""

    lock: str | None
    words: str = ""
    kept: frozenset[str] = frozenset()


class Compiler(Protocol):
    """Tries pins together."""

    async def __call__(self, lines: tuple[str, ...], preferred: tuple[str, ...] = (), /) -> Compiled:
        """Return a lock in which all of `lines` hold, or why there is none; raise where neither can be known.

        The packages of `preferred` are in it too, at the versions named where nothing stands against it.
        """


class Admitted(msgspec.Struct, frozen=True):
    """Which lines were admitted, in their order, the lock of all, and ``{line: words}`` of the refused ones."""

    lock: str
    accepted: tuple[str, ...]
    refused: dict[str, str]


async def resolve(
    target: Target,
    hard: Sequence[str],
    wishes: Sequence[Wish],
    *,
    index: Index,
    allow_source_builds: bool = False,
    find_links: Path | None = None,
    deadline: float = 120,
) -> Resolution:
    """Return what `target` can hold: all of `hard`, and of `wishes`, most important first, what goes with it.

    Parameters
    ----------
    find_links
        A folder of wheels of ours; a pin of exactly such a wheel is that file and no other.
    deadline
        Seconds for everything.

    Raises
    ------
    Invalid
        A line isn't a plain requirement, or a wish no pin.
    Impossible
        `hard` can't be had, with uv's words, or nothing can be resolved for this target.
    Unavailable
        The index didn't answer, or not in time.

    """
    python, platform = _python(target), _platform(target)
    lines = requirement_lines.check(hard, field="hard")
    pins = requirement_lines.check((wish.requirement for wish in wishes), field="wishes")
    names = {pin: _pinned(pin, position) for position, pin in enumerate(pins)}
    wheels = await asyncio.to_thread(_wheels, find_links) if find_links else {}
    key = _key(target, lines, pins, index, allow_source_builds, wheels)
    known = await asyncio.to_thread(_recall, key)
    if known is not None:
        return known
    if find_links is not None:
        index = index.with_links(find_links)
    options = (
        *("--python-version", python, "--python-platform", platform, "--python", sys.executable),
        *(() if allow_source_builds else ("--only-binary", ":all:")),
        *index.options,
    )
    compiler = _Uv(options, index, wheels, pins, time.monotonic() + deadline)
    admitted = await admit(compiler, lines, pins)
    lock, versions = _exact(admitted.lock, wheels)
    refused = {names[line]: _reason(words) for line, words in admitted.refused.items()}
    relaxed = tuple(name for name in refused if name in versions)
    resolution = Resolution(lock=lock, versions=versions, refused=refused, relaxed=relaxed)
    await asyncio.to_thread(_remember, key, resolution)
    return resolution


async def admit(compiler: Compiler, hard: Sequence[str], wishes: Sequence[str]) -> Admitted:
    """Return which of `wishes` go together with `hard`, each before those that come after it.

    The answer is that of trying them one after the other, with few tries: all at once; without the one that a failure
    names; all as preferences, which shows most of those that can't be had whatever the others are; then parts, divided
    at what a failure names.

    Raises
    ------
    Impossible
        `hard` can't be had.

    """
    trial = _Trial(compiler, tuple(hard))
    rest = list(dict.fromkeys(wishes))
    words = await trial.attempt(rest)
    if words is not None:
        first = await _hopeless(trial, rest, words)
        rest = [line for line in rest if line != first]
        if first is None or await trial.attempt(rest) is not None:
            await _part(trial, await _without_hopeless(trial, rest))
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

    def __init__(self, compiler: Compiler, hard: tuple[str, ...]) -> None:
        self._compiler = compiler
        self._hard = hard
        self._possible = False
        self._accepted: list[str] = []
        self._refused: dict[str, str] = {}
        self._failed: dict[frozenset[str], str] = {}
        self._lock: str | None = None

    async def attempt(self, lines: Sequence[str]) -> str | None:
        """Admit the lines, or return why they don't go together with what is admitted."""
        together = (*self._hard, *self._accepted, *lines)
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
        return await self._compile(self._hard, tuple(lines))

    async def alone(self, line: str) -> str | None:
        """Return why a line can't be had whatever else is admitted, or None where it isn't so."""
        compiled = await self._compile((*self._hard, line))
        return compiled.words if compiled.lock is None else None

    def refuse(self, line: str, words: str) -> None:
        """Note why the line isn't admitted."""
        self._refused[line] = words

    async def prove(self) -> None:
        """Raise Impossible where nothing can be had at all."""
        if not self._possible and (cause := await self.attempt(())) is not None:
            raise Impossible(f"What the cluster can't do without can't be had: {_reason(cause)}")

    async def admitted(self) -> Admitted:
        """Return the outcome; raise Impossible where there is none."""
        await self.prove()
        if self._lock is None:
            await self.attempt(())
        return Admitted(self._lock or "", tuple(self._accepted), self._refused)

    async def _compile(self, lines: tuple[str, ...], preferred: tuple[str, ...] = ()) -> Compiled:
        compiled = await self._compiler(lines, preferred)
        self._possible |= compiled.lock is not None
        return compiled


async def _hopeless(trial: _Trial, lines: list[str], words: str) -> str | None:
    """Refuse the line that a failure names, where it can't be had even alone, and return it."""
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
            # One after the other: uv uses every core itself.
            words = None if line in compiled.kept else await trial.alone(line)
            if words is None:
                rest.append(line)
            else:
                trial.refuse(line, words)
        return rest


def _suspect(part: list[str], words: str) -> int | None:
    """Return the position of the last line that is named: those before it are likely to go together."""
    named = {canonicalize_name(token) for token in _TOKEN.findall(words)}
    hits = [position for position, line in enumerate(part) if canonicalize_name(_TOKEN.findall(line)[0]) in named]
    return hits[-1] if hits else None


class _Uv:
    """Compiles requirements for another Python and platform with uv."""

    def __init__(
        self, options: tuple[str, ...], index: Index, wheels: _Wheels, pins: tuple[str, ...], end: float
    ) -> None:
        self._options = options
        self._index = index
        self._wheels = wheels
        self._pins = "".join(f"{pin}\n" for pin in pins)
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
            # uv keeps to what stands in its output as far as it can, so it needn't look at every version of what one
            # try leaves open; that is slow where much of it is old.
            locked.write_text(self._pins, encoding="utf-8")
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
        """Return a pin of a wheel of ours as the file: uv takes no other then, and reads no other's metadata."""
        requirement = Requirement(line)
        version = _pin(requirement)
        found = self._wheels.get((canonicalize_name(requirement.name), version), ()) if version else ()
        if len(found) != 1:
            return line
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        return f"{requirement.name}{extras} @ {found[0][0].as_uri()}"


# ---- the target ---------------------------------------------------------------------------------------------------


def _python(target: Target) -> str:
    if target.implementation.lower() != "cpython":
        raise Impossible(f"The nodes run {target.implementation[:40]}; packages can be chosen for CPython only")
    match = re.match(r"3\.\d{1,3}(?:\.\d{1,3})?(?![\d.])", target.python)
    if match is None:
        raise Impossible(f"The nodes run Python {target.python[:40]!r}, for which no packages can be chosen")
    return match[0]


def _platform(target: Target) -> str:
    """Return uv's name of the platform; of several the newest that isn't newer than the node."""
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
        raise Invalid(f"wishes[{position}]", f"{line[:80]!r} is no name with one version", "Such as numpy==1.26.4")
    return canonicalize_name(requirement.name)


def _holds(line: str, versions: Mapping[str, str]) -> bool:
    requirement = Requirement(line)
    version = versions.get(canonicalize_name(requirement.name))
    return version is not None and Version(version) == _pin(requirement)


def _prereleases(pins: Sequence[str]) -> tuple[str, ...]:
    """Return constraints that let pre-releases be chosen wherever a wish is one.

    uv takes them only of what is required by such a version. Without this, what requires the package would be refused
    where the two are tried apart and admitted where they are tried together.
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


# ---- what is known already ----------------------------------------------------------------------------------------


class _Known(msgspec.Struct, frozen=True):
    at: float
    resolution: Resolution


_known: OrderedDict[str, _Known] = OrderedDict()


def _key(
    target: Target, lines: Sequence[str], pins: Sequence[str], index: Index, allow_source_builds: bool, wheels: _Wheels
) -> str:
    ours = sorted(
        (name, str(version), path.name, digest) for (name, version), files in wheels.items() for path, digest in files
    )
    everything = (uv.version(), target, lines, pins, sorted(index.uv.items()), index.options, allow_source_builds, ours)
    return hashlib.blake2b(msgspec.json.encode(everything), digest_size=20).hexdigest()


def _recall(key: str) -> Resolution | None:
    known = _known.get(key)
    if known is None:
        try:
            known = msgspec.json.decode((_folder() / f"{key}.json").read_bytes(), type=_Known)
        except (OSError, msgspec.DecodeError):
            return None
    # A clock that was set back makes it look younger than it is.
    if not 0 <= time.time() - known.at < FRESH_SECONDS:
        return None
    _keep(key, known)
    return known.resolution


def _remember(key: str, resolution: Resolution) -> None:
    known = _Known(time.time(), resolution)
    _keep(key, known)
    # Only time is lost where it can't be written.
    with contextlib.suppress(OSError):
        folder = _folder()
        for path in folder.iterdir():
            if abs(time.time() - path.stat().st_mtime) > FRESH_SECONDS:
                path.unlink(missing_ok=True)
        descriptor, staging = tempfile.mkstemp(prefix=key, suffix=".new", dir=folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(known))
        Path(staging).rename(folder / f"{key}.json")


def _keep(key: str, known: _Known) -> None:
    _known[key] = known
    _known.move_to_end(key)
    while len(_known) > _REMEMBERED:
        _known.popitem(last=False)


def _folder() -> Path:
    folder = data_dir() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
