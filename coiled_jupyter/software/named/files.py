"""Reads the packages that a project declares: requirements, pyproject, pylock, uv.lock and conda's environment.yml.

Only names, extras, versions, markers and hashes are taken; nothing is fetched or executed. What would have to be fetched from
elsewhere or run (URLs, commits, paths, options) is refused by name unless the administrator allows its kind; packages
that aren't on PyPI are left out by name.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec
from packaging.markers import InvalidMarker, Marker, default_environment
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name
from packaging.version import Version

from ...core import conda
from ...core.errors import Invalid, Unavailable
from ...core.wire import LeftOut
from .. import index as indexes
from .. import requirements as requirement_lines
from . import conda_file, references
from .references import Kind, Reference

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.pylock import Package as LockedPackage

LIMIT = 4000
"""The most packages that one file may name."""
_HASH = re.compile(r"\s+--hash[= ](\S+)")
_OPTION_HINT = "Write names and versions only; the index comes from the server's configuration"


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a file requires.

    Attributes
    ----------
    lines
        Requirements in normal form.
    python
        A version that the file names, such as ``3.11``; None where it names none, or a range.
    pythons
        A range of versions (PEP 440) that it allows; empty: any.
    hashes
        ``{name: {"sha256:…", …}}`` of the files that it allows for a package, if it says so.
    doubtful
        Those of `lines` that come from conda, and may not be on PyPI.
    left_out
        Packages that PyPI doesn't have.
    references
        What it names other than packages of an index.
    options
        Its index options.

    """

    lines: tuple[str, ...]
    python: str | None = None
    pythons: str = ""
    hashes: Mapping[str, frozenset[str]] = {}
    doubtful: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    references: tuple[Reference, ...] = ()
    options: tuple[str, ...] = ()


def parse(
    name: str,
    text: str,
    python: str,
    conda_names: Mapping[str, str | None] = conda.NAMES,
    *,
    allowed: Collection[Kind] = (),
) -> Parsed:
    """Return what a file requires; its name determines its kind.

    Parameters
    ----------
    name
        The file's name; folders before it are ignored.
    python
        The full version of the Python for which markers are evaluated if a format leaves that to its reader.
    allowed
        What the administrator lets a file name besides requirements.

    Raises
    ------
    Invalid
        It can't be read, or names something that isn't accepted; the message says what.

    """
    base = PurePath(name).name.lower()
    taker = _Taker(allowed)
    text = text.removeprefix("\ufeff")
    if 3 * text.count("\0") > len(text):
        raise _wrong("The file isn't text in UTF-8", "Save it as UTF-8; what PowerShell's > writes is UTF-16")
    if base == "pyproject.toml":
        found = _pyproject(_toml(base, text), taker)
    elif re.fullmatch(r"pylock(\.[^.]+)?\.toml", base):
        found = _pylock(_toml(base, text), python, taker)
    elif base == "uv.lock":
        found = _uv_lock(_toml(base, text), python, taker)
    elif base.endswith((".yml", ".yaml")):
        found = _conda_file(text, conda_names, taker)
    elif base.endswith((".txt", ".in")):
        exported = conda_file.exported(text)
        found = _from_conda(list(exported), conda_names, []) if exported else _requirements(text, taker)
    else:
        raise Invalid(
            "file.name",
            f"{base[:80]!r} isn't a known kind of requirements file",
            _EXPORTS.get(base, "Give requirements.txt, pyproject.toml, pylock.toml, uv.lock or environment.yml"),
        )
    if len(found.lines) + len(taker.references) > LIMIT:
        raise Invalid("file.text", f"The file names more than {LIMIT} packages")
    return msgspec.structs.replace(found, references=tuple(taker.references), options=tuple(taker.options))


_EXPORTS = {
    "poetry.lock": "Give what `poetry export -f requirements.txt` writes",
    "pipfile.lock": "Give what `pipenv requirements` writes",
    "pipfile": "Give what `pipenv requirements` writes",
}


def _wrong(message: str, hint: str = "") -> Invalid:
    return Invalid("file.text", message, hint)


class _Taker:
    """Accepts what a file names besides requirements, if that is allowed."""

    def __init__(self, allowed: Collection[Kind]) -> None:
        self._allowed = allowed
        self.references: list[Reference] = []
        self.options: list[str] = []

    def line(self, text: str, where: str, hashes: Iterable[str] = ()) -> list[str]:
        """Return a requirement in normal form, or nothing if it was accepted as a reference."""
        found = references.find(text)
        if found is None:
            return [_line(text, where)]
        if found.kind == "paths" and re.search(r"/(?:feedstock_root|croot)/", found.shown):
            raise _wrong(
                f"{where} names the folder in which conda built it: {found.shown}", "Write its name and version"
            )
        self._permit(found.kind, f"{where} names {_WHAT[found.kind]}, which isn't allowed: {found.shown}")
        self._take(found, hashes)
        return []

    def elsewhere(self, name: str, text: str, place: str, hashes: Iterable[str] = ()) -> None:
        """Accept a package of a lock that doesn't come from an index."""
        found = references.find(f"{name} @ {text}") or Reference(kind="paths", url=text)
        self._permit(found.kind, f"{name} comes from {place}, which isn't allowed")
        self._take(found, hashes)

    def _take(self, found: Reference, hashes: Iterable[str]) -> None:
        digests = found.hashes | {text.partition(":")[2] for text in hashes if text.startswith("sha256:")}
        self.references.append(references.check(msgspec.structs.replace(found, hashes=frozenset(digests))))

    def option(self, text: str, where: str) -> list[str]:
        """Accept an option; an editable project is accepted as its path."""
        editable = re.fullmatch(r"(?:-e|--editable)[\s=]\s*(\S.*)", text)
        if editable:
            return self.line(editable[1].strip("\"'"), where)
        if re.match(r"(?:-r|-c|--requirement|--constraint)\b", text):
            raise _wrong(f"{where} names another file, which isn't read: {text[:60]}", "Put its lines into this one")
        try:
            index = indexes.parse([text])
        except Unavailable:
            raise _wrong(f"{where} isn't an index option: {text[:60]}", _OPTION_HINT) from None
        self._permit("options", f"{where} is an option, which isn't allowed: {text[:60]}")
        if index.secrets:
            raise _wrong(
                f"{where} has credentials, and the file would be stored",
                "An administrator can put them into c.CoiledJupyter.index_options",
            )
        self.options.append(text)
        return []

    def _permit(self, kind: Kind, message: str) -> None:
        if kind not in self._allowed:
            hint = f"an administrator can allow it: c.CoiledJupyter.allowed_in_files = ['{kind}']"
            raise _wrong(message, f"{_OPTION_HINT}; {hint}")


_WHAT: Mapping[Kind, str] = {"options": "an option", "paths": "a path", "urls": "a URL", "vcs": "a repository"}


def _line(text: str, where: str) -> str:
    try:
        (line,) = requirement_lines.check([text], field="file.text")
    except Invalid as error:
        raise _wrong(f"{where}: {error.message}", error.hint) from None
    return line


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.toml.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise _wrong(f"{name} isn't TOML", "Pass the file as it is on disk") from None


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{where} isn't a table")
    return value


def _texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(f"{where} isn't a list of texts")
    return value


# ---- requirements.txt ---------------------------------------------------------------------------------------------


def _requirements(text: str, taker: _Taker) -> Parsed:
    lines: list[str] = []
    hashes: dict[str, set[str]] = {}
    left: list[LeftOut] = []
    for number, raw in _joined(text):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        if line.startswith("-"):
            lines += taker.option(line, f"Line {number}")
            continue
        if re.fullmatch(r"pkg[_-]resources==0\.0\.0", line):
            why = "Debian's pip freeze names it; it is a part of setuptools."
            left.append(LeftOut(name="pkg-resources", why=why))
            continue
        found = _HASH.findall(line)
        made = taker.line(_HASH.sub("", line), f"Line {number}", found)
        lines += made
        for one in made if found else ():
            hashes.setdefault(canonicalize_name(Requirement(one).name), set()).update(found)
    by_name = {name: frozenset(those) for name, those in hashes.items()}
    return Parsed(lines=tuple(lines), hashes=by_name, left_out=tuple(left))


def _joined(text: str) -> Iterable[tuple[int, str]]:
    """Yield lines with their numbers; a line that ends in a backslash is joined with the next one."""
    begun: tuple[int, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        start, before = begun or (number, "")
        if line.endswith("\\"):
            begun = start, before + line[:-1] + " "
            continue
        begun = None
        yield start, before + line
    if begun is not None:
        yield begun


# ---- pyproject.toml -----------------------------------------------------------------------------------------------


def _pyproject(content: dict[str, Any], taker: _Taker) -> Parsed:
    if "project" not in content:
        poetry = "poetry" in content.get("tool", {}) if isinstance(content.get("tool"), dict) else False
        hint = _EXPORTS["poetry.lock"] if poetry else "Its dependencies are read from [project] (PEP 621)"
        raise _wrong("pyproject.toml has no [project] table", hint)
    project = _table(content["project"], "[project]")
    if "dependencies" in _texts(project.get("dynamic", []), "project.dynamic"):
        raise _wrong("The dependencies of this project are dynamic: only a build determines them", "Give a lock file")
    lines = [
        made
        for line in _texts(project.get("dependencies", []), "project.dependencies")
        for made in taker.line(line, f"Dependency {line[:60]!r}")
    ]
    return Parsed(lines=tuple(lines), pythons=_range(project.get("requires-python", "")))


def _range(value: object) -> str:
    try:
        return str(SpecifierSet(value if isinstance(value, str) else ""))
    except InvalidSpecifier:
        raise _wrong(f"{str(value)[:60]!r} isn't a range of Python versions") from None


# ---- pylock.toml --------------------------------------------------------------------------------------------------


def _pylock(content: dict[str, Any], python: str, taker: _Taker) -> Parsed:
    try:
        from packaging.pylock import Pylock, PylockSelectError, PylockValidationError
    except ImportError:
        raise Unavailable(
            f"Reading a pylock.toml needs packaging 26.1 or newer, and this is {importlib.metadata.version('packaging')}",
            "Upgrade it with `python -m pip install 'packaging>=26.1'`, or give a requirements.txt",
        ) from None
    try:
        lock = Pylock.from_dict(content)
        chosen = [package for package, _ in lock.select(environment=_environment(python), tags=_tags(python))]
    except (PylockValidationError, PylockSelectError) as error:
        raise _wrong(f"This lock can't be used here: {str(error)[:200]}") from None
    hashes: dict[str, frozenset[str]] = {}
    for package in chosen:
        if package.is_direct or package.version is None:
            taker.elsewhere(package.name, _direct(package), "a path, a commit or an archive")
            continue
        told = [wheel.hashes for wheel in package.wheels or ()]
        told += [package.sdist.hashes] if package.sdist else []
        hashes[package.name] = frozenset(f"sha256:{those['sha256']}" for those in told if "sha256" in those)
    lines = tuple(_line(f"{p.name}=={p.version}", p.name) for p in chosen if not p.is_direct and p.version is not None)
    return Parsed(lines=lines, hashes={name: those for name, those in hashes.items() if those})


def _direct(package: LockedPackage) -> str:
    """Return the origin of a package of a lock that comes from no index, as in a requirement."""
    if package.vcs is not None:
        return f"{package.vcs.type}+{package.vcs.url or package.vcs.path}@{package.vcs.commit_id}"
    if package.archive is not None:
        digest = package.archive.hashes.get("sha256")
        return f"{package.archive.url or package.archive.path}{f'#sha256={digest}' if digest else ''}"
    return package.directory.path if package.directory is not None else "."


def _tags(python: str) -> list[Tag]:
    release = Version(python).release[:2]
    return [*cpython_tags(release), *compatible_tags(release)]


def _environment(python: str) -> Environment:
    """Return the marker environment of another Python on this machine."""
    release = Version(python).release
    made = default_environment()
    made["python_version"] = ".".join(map(str, release[:2]))
    made["python_full_version"] = made["implementation_version"] = python
    return made


# ---- uv.lock ------------------------------------------------------------------------------------------------------


class _Locked(msgspec.Struct, frozen=True):
    name: str
    version: str
    dependencies: list[dict[str, Any]]
    extras: dict[str, list[dict[str, Any]]]
    elsewhere: str | None
    hashes: frozenset[str]
    url: str


def _uv_lock(content: dict[str, Any], python: str, taker: _Taker) -> Parsed:
    """Return what the projects of a lock need on this machine: the walk from them, by markers."""
    packages: dict[str, list[_Locked]] = {}
    roots: list[_Locked] = []
    raw = content.get("package", [])
    if not isinstance(raw, list) or len(raw) > LIMIT:
        raise _wrong("uv.lock has no list of packages")
    for entry in raw:
        made, root = _locked(_table(entry, "A package"))
        packages.setdefault(made.name, []).append(made)
        if root:
            roots.append(made)
    if not roots:
        raise _wrong("uv.lock names no project")
    environment = _environment(python)
    seen: set[tuple[str, str, str]] = set()
    found: dict[str, _Locked] = {}
    elsewhere: set[str] = set()
    waiting = [(root, "") for root in roots]
    while waiting:
        package, extra = waiting.pop()
        if (package.name, package.version, extra) in seen:
            continue
        seen.add((package.name, package.version, extra))
        if package not in roots:
            if package.elsewhere is None:
                found[package.name] = package
            elif package.name not in elsewhere:
                elsewhere.add(package.name)
                taker.elsewhere(package.name, package.url, package.elsewhere, package.hashes)
        for wish in package.extras.get(extra, []) if extra else package.dependencies:
            following = _followed(wish, packages, environment)
            if following is not None:
                waiting += [(following, name) for name in ("", *_texts(wish.get("extra", []), "extra"))]
    left = tuple(LeftOut(name=root.name, why="It is the project itself, which isn't on an index.") for root in roots)
    return Parsed(
        lines=tuple(_line(f"{p.name}=={p.version}", p.name) for p in sorted(found.values(), key=lambda p: p.name)),
        hashes={p.name: p.hashes for p in found.values() if p.hashes},
        pythons=_range(content.get("requires-python", "")),
        left_out=left,
    )


def _locked(entry: dict[str, Any]) -> tuple[_Locked, bool]:
    """Return a package of the lock, and whether it is a project that the lock was made for."""
    name, version = entry.get("name"), entry.get("version", "0")
    if not isinstance(name, str) or not isinstance(version, str):
        raise _wrong("A package of uv.lock has no name")
    source = _table(entry.get("source", {}), f"The source of {name[:60]}")
    kinds = [kind for kind in ("git", "url", "path", "directory", "editable", "virtual") if kind in source]
    files = [*entry.get("wheels", ()), *([entry["sdist"]] if "sdist" in entry else [])]
    hashes = {str(file["hash"]) for file in files if isinstance(file, dict) and "hash" in file}
    return _Locked(
        canonicalize_name(name),
        version,
        _dependencies(entry.get("dependencies", [])),
        {str(k): _dependencies(v) for k, v in _table(entry.get("optional-dependencies", {}), "extras").items()},
        f"{kinds[0]} {str(source[kinds[0]])[:60]!r}" if kinds else None,
        frozenset(hashes),
        _uv_url(kinds[0], str(source[kinds[0]])) if kinds else "",
    ), bool(kinds) and kinds[0] in ("editable", "virtual")


def _uv_url(kind: str, value: str) -> str:
    """Return a source of uv.lock as in a requirement."""
    if kind != "git":
        return value
    address, _, commit = value.partition("#")
    return f"git+{address.partition('?')[0]}@{commit}"


def _dependencies(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in value
    ):
        raise _wrong("The dependencies of a package of uv.lock aren't a list")
    return value


def _followed(wish: dict[str, Any], packages: Mapping[str, list[_Locked]], environment: Environment) -> _Locked | None:
    """Return the package that a dependency refers to here, or None if it is for other machines."""
    name = canonicalize_name(wish["name"])
    try:
        marker = Marker(str(wish["marker"])) if "marker" in wish else None
    except InvalidMarker:
        raise _wrong(f"The marker of {name} can't be read") from None
    if marker is not None and not marker.evaluate({key: str(value) for key, value in environment.items()}):
        return None
    known = packages.get(name, [])
    if "version" in wish:
        known = [package for package in known if package.version == wish["version"]]
    if len(known) != 1:
        raise _wrong(f"uv.lock doesn't say which {name} is meant")
    return known[0]


# ---- environment.yml ----------------------------------------------------------------------------------------------


def _conda_file(text: str, names: Mapping[str, str | None], taker: _Taker) -> Parsed:
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise _wrong("The file isn't YAML") from None
    table = _table(content, "The file")
    entries = table.get("dependencies")
    if not isinstance(entries, list) or len(entries) > LIMIT:
        hint = (
            "It is a file of conda-lock: give the environment.yml that it was made from" if "package" in table else ""
        )
        raise _wrong("The file has no list of dependencies", hint)
    lines: list[str] = []
    for entry in entries:
        if isinstance(entry, dict) and set(entry) == {"pip"}:
            # An empty list is nothing at all in YAML.
            for line in _texts(entry["pip"] or [], "pip"):
                take = taker.option if line.startswith("-") else taker.line
                lines += take(line, f"Of pip's part, {line[:60]!r}")
    return _from_conda(
        [entry for entry in entries if not (isinstance(entry, dict) and set(entry) == {"pip"})], names, lines
    )


def _from_conda(entries: list[Any], names: Mapping[str, str | None], lines: list[str]) -> Parsed:
    found = conda_file.wishes(entries, names)
    doubtful = tuple(_line(line, line) for line in found.lines)
    return Parsed(
        lines=(*doubtful, *lines),
        python=found.python,
        pythons=found.pythons,
        doubtful=doubtful,
        left_out=found.left_out,
    )
