"""Decodes what a process answers about its packages, which is hostile until its size, shape and text are checked.

Limits: 4 MiB for one answer, 20,000 packages, 500 characters for one text. Text that would change how other text is
shown (control, bidirectional and zero-width characters) is taken out.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from . import conda
from .errors import Invalid, TooLarge
from .names import normal
from .rules import equal_versions
from .wire import Source, Use

SIZE_LIMIT = 4 * 1024 * 1024
PACKAGE_LIMIT = 20_000
CONDITION_LIMIT = 200
MODULE_LIMIT = 50
"""Modules of one distribution that have other names."""
FILE_LIMIT = 100
"""Files of one folder of code that are compared by name."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_NOT_USED: Use = ""
_KINDS = frozenset(
    {"duplicate", "leftover", "unreadable", "no_record", "missing_files", "edited", "conda_conflict", "truncated"}
)
_Text = Annotated[str, Meta(max_length=2000)]


class ReadPackage(Struct, frozen=True):
    """One distribution as a probe tells it."""

    name: _Text
    version: _Text
    loaded: _Text | None = None
    source: Source | None = None
    installer: _Text | None = None
    use: Use = ""
    requested: bool = False
    content: _Text | None = None
    build: _Text | None = None
    channel: _Text | None = None
    modules: tuple[_Text, ...] = ()
    files: dict[str, str] = {}
    """Of code that no distribution brought: a digest of each file, by name, where these are few."""


class ReadConda(Struct, frozen=True):
    """One conda package as the name of its record tells it."""

    name: _Text
    version: _Text
    build: _Text = ""
    channel: _Text = ""
    noarch: bool = False


class ReadFiles(Struct, frozen=True):
    """What was found in the files of one distribution; lists begin with the number of which they name some."""

    content: _Text | None = None
    missing: tuple[int | _Text, ...] = ()
    edited: tuple[int | _Text, ...] = ()
    modules: tuple[_Text, ...] = ()
    """Names by which it is imported, but its own."""
    error: _Text | None = None


class ReadModule(Struct, frozen=True):
    """Code that no distribution brought: ``helpers.py``, or ``helpers/`` for a package."""

    name: _Text
    path: _Text
    content: _Text | None = None
    error: _Text | None = None
    used: bool = False
    files: dict[_Text, _Text] = {}


class ReadContent(Struct, frozen=True, kw_only=True):
    """Exactly what ``texts.content.result`` answers."""

    packages: dict[str, ReadFiles] = {}
    modules: tuple[ReadModule, ...] = ()
    conditional: dict[str, tuple[_Text, ...]] = {}
    requires: dict[str, tuple[tuple[_Text, ...], tuple[_Text, ...]]] = {}
    library: _Text | None = None
    shadows: tuple[_Text, ...] = ()
    unknown: tuple[tuple[_Text, _Text], ...] = ()
    """What could not be compared, and why."""
    error: _Text | None = None


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
    conditions: dict[_Text, _Text] = {}
    """What of the process, besides code, its results depend on, by the variable that sets it."""
    packages: tuple[ReadPackage, ...]
    problems: tuple[ReadProblem, ...] = ()
    conda: tuple[ReadConda, ...] = ()
    loaded: dict[str, tuple[_Text | None, Use]] = {}
    """What the process runs, as the probe tells it: ``{name: (version or None, use)}``; in `packages` afterwards."""
    sealed: tuple[_Text, ...] = ()
    """The ids of the schedulers to which clients of this process send sealed graphs."""
    named: tuple[_Text, ...] = ()
    """The modules that the user's code names in imports, also below a top-level one."""
    requires: dict[str, tuple[tuple[_Text, ...], tuple[_Text, ...]]] = {}
    """By distribution: what it requires, and what its extras require."""
    conditional: dict[str, tuple[str, ...]] = {}
    library: _Text | None = None
    """A digest of the standard library, once the files were looked at."""
    looked: bool = False
    """Whether the files were looked at."""


class Answer(Struct, frozen=True, kw_only=True):
    """What ``texts.node.answer`` returns; `reading` is None where the requester has it already, by its key."""

    keys: _Text
    content_age: float | None = None
    reading: Reading | None = None
    content: ReadContent | None = None
    """What was found in files; in `reading` afterwards."""


def unpack(text: str) -> bytes:
    """Return the JSON that a node has packed (zlib, Base64), or raise Invalid or TooLarge."""
    try:
        raw = base64.b64decode(text, validate=True)
        inflater = zlib.decompressobj()
        data = inflater.decompress(raw, SIZE_LIMIT + 1)
    except (binascii.Error, ValueError, zlib.error):
        raise _unreadable() from None
    _check_size(data)
    return data


def _check_size(data: str | bytes) -> None:
    if len(data) > SIZE_LIMIT:
        raise TooLarge("The answer is larger than 4 MiB, so it wasn't read", "Look at what this node has on sys.path")


def _unreadable() -> Invalid:
    return Invalid("reading", "The answer isn't the reading of an environment")


def _decode(data: str | bytes, kind: Any) -> Any:
    _check_size(data)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _unreadable() from None


def decode_answer(data: str | bytes, names: Mapping[str, str | None] = conda.NAMES) -> Answer:
    """Decode what a node or kernel answers to ``read``: its reading, completed by what is known of its files.

    `names` are conda's names of distributions (`core.conda`).

    Raises
    ------
    TooLarge
        The answer or its list of packages is larger than a reading can be.
    Invalid
        The answer isn't a reading; `field` is ``reading``.

    """
    answer: Answer = _decode(data, Answer)
    age = answer.content_age
    if age is not None and not 0 <= age < 1e9:
        age = None
    reading = answer.reading
    if reading is not None:
        loaded = reading.loaded
        reading = _checked(reading, names)
        if answer.content is not None:
            reading = _with_content(reading, answer.content, loaded)
    return Answer(keys=_show(answer.keys)[:100], content_age=age, reading=reading)


def decode_loaded(data: str | bytes) -> dict[str, tuple[str | None, Use]]:
    """Decode what a probe's ``loaded`` answers: ``{name: (version or None, use)}``."""
    found: dict[str, tuple[str | None, Use]] = _decode(data, dict[str, tuple[_Text | None, Use]])
    if len(found) > PACKAGE_LIMIT:
        raise TooLarge(f"The answer names {len(found)} packages, more than can be compared")
    return {name: (version and _show(version), use) for name, (version, use) in found.items()}


def decode_versions(answer: Any) -> tuple[str, ...]:
    """Return what Dask's own versions handler answered: Python, implementation, platform, and pairs of name and version."""
    answer = answer if isinstance(answer, dict) else {}
    host, packages = answer.get("host"), answer.get("packages")
    # Older releases answer pairs.
    host = dict(host) if isinstance(host, (dict, list, tuple)) else {}
    packages = dict(packages) if isinstance(packages, (dict, list, tuple)) else {}
    python = _show(str(host.get("python", "") or packages.get("python", "")))
    python = re.sub(r"\.final\.\d+$", "", python)
    system = {"linux": "linux", "darwin": "macosx", "windows": "win"}.get(str(host.get("OS", "")).lower(), "")
    machine = _show(str(host.get("machine", "")))
    found = []
    for name, version in sorted(packages.items(), key=lambda item: str(item[0]))[:200]:
        key = normal(str(name))
        if key != "python" and _NAME.fullmatch(key) and isinstance(version, str) and version[:1].isdigit():
            found += [key, _show(version)]
    # Which implementation it is, the handler doesn't tell.
    return (python, "cpython", f"{system}-{machine}" if system else "", *found)


def with_loaded(reading: Reading, loaded: Mapping[str, tuple[str | None, Use]]) -> Reading:
    """Return a reading of the same installation in another process, which runs `loaded`."""
    return replace(
        reading,
        packages=tuple(
            replace(package, loaded=version, use=use)
            for package in reading.packages
            for version, use in [loaded.get(package.name, (None, _NOT_USED))]
        ),
    )


def _checked(reading: Reading, names: Mapping[str, str | None] = conda.NAMES) -> Reading:
    if len(reading.packages) + len(reading.conda) > PACKAGE_LIMIT:
        raise TooLarge(f"The answer names {len(reading.packages)} packages, more than can be compared")
    if reading.loaded:
        reading = replace(with_loaded(reading, reading.loaded), loaded={})
    return _clean(reading, names)


def _with_content(reading: Reading, content: ReadContent, loaded: Mapping[str, tuple[str | None, Use]]) -> Reading:
    if content.error is not None or len(content.modules) > PACKAGE_LIMIT:
        where = f"the files ({_show(content.error or 'too many modules')[:200]})"
        problem = ReadProblem("unreadable", None, where, "Run `coiled-jupyter doctor` there")
        return replace(reading, problems=(*reading.problems, problem))
    packages, problems = [], list(reading.problems)
    for package in reading.packages:
        files = content.packages.get(package.name, ReadFiles())
        packages.append(
            replace(
                package,
                content=files.content and _show(files.content)[:80],
                modules=tuple(_show(module)[:200] for module in files.modules[:MODULE_LIMIT]),
            )
        )
        if files.missing:
            fix = f"Reinstall {package.name}: {files.missing[0]} of its files are gone"
            problems.append(ReadProblem("missing_files", package.name, _examples(files.missing), fix))
        if files.edited:
            fix = f"Reinstall {package.name}, unless the change is wanted"
            problems.append(ReadProblem("edited", package.name, _examples(files.edited), fix))
        if files.error:
            problems.append(ReadProblem("unreadable", package.name, files.error, f"Reinstall {package.name}"))
    for module in content.modules:
        source = Source(url=_show(module.path), kind="module")
        name = _show(module.name)[:200]
        runs, _ = loaded.get(name, (None, _NOT_USED))
        if module.error:
            problems.append(ReadProblem("unreadable", name, module.error, "Look at this file"))
        packages.append(
            ReadPackage(
                name,
                "",
                loaded=runs and _show(runs),
                source=source,
                use="imported" if module.used else "",
                content=module.content and _show(module.content)[:80],
                files={
                    _show(file)[:200]: _show(digest)[:80] for file, digest in list(module.files.items())[:FILE_LIMIT]
                },
            )
        )
    if content.shadows:
        where = ", ".join(f"{_show(path)} is imported instead of a module of Python" for path in content.shadows[:5])
        problems.append(ReadProblem("edited", "python", where, "Give this file another name"))
    problems += [
        ReadProblem("unreadable", None, f"{_show(what)}: {_show(why)}", "Packages that this serves can't be compared")
        for what, why in content.unknown[:PACKAGE_LIMIT]
    ]
    conditional = {
        _show(name)[:200]: tuple(_show(marker) for marker in markers)
        for name, markers in list(content.conditional.items())[:PACKAGE_LIMIT]
    }
    return replace(
        reading,
        packages=tuple(packages),
        problems=tuple(problems),
        conditional=conditional,
        requires={normal(name): (_names(always), _names(extra)) for name, (always, extra) in content.requires.items()},
        library=content.library and _show(content.library)[:80],
        looked=True,
    )


def _names(some: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normal(name)[:200] for name in some[:PACKAGE_LIMIT])


def _examples(some: tuple[int | str, ...]) -> str:
    names = ", ".join(_show(name) for name in some[1:6] if isinstance(name, str))
    more = some[0] - len(some) + 1 if isinstance(some[0], int) else 0
    return names + (f" and {more} more" if more > 0 else "")


def _show(text: str) -> str:
    return _UNSHOWABLE.sub("", text)[:500]


def _clean(reading: Reading, names: Mapping[str, str | None]) -> Reading:
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
        name = normal(package.name)
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
                use=package.use,
                requested=package.requested,
            )
    _add_conda(reading, packages, problems, names)
    texts = ("python", "implementation", "platform", "prefix", "base_prefix", "executable", "base_executable", "host")
    return replace(
        reading,
        **{key: _show(getattr(reading, key)) for key in texts},
        packages=tuple(packages[name] for name in sorted(packages)),
        problems=tuple(problems),
        named=reading.named[:PACKAGE_LIMIT],
        conditions={
            _show(key)[:200]: _show(reading.conditions[key])[:200]
            for key in sorted(reading.conditions)[:CONDITION_LIMIT]
        },
        conda=(),
    )


def _add_conda(
    reading: Reading,
    packages: dict[str, ReadPackage],
    problems: list[ReadProblem],
    names: Mapping[str, str | None],
) -> None:
    for record in reading.conda:
        name, version = _show(record.name).lower(), _show(record.version)
        build, channel = _show(record.build), _show(record.channel)
        known = conda.to_pypi(name, names)
        if name == "python" or not re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,199}", name):
            continue
        if known in packages:
            package = packages[known]
            if not equal_versions(package.version, version):
                where = f"conda has {version}, the files are of {package.version}"
                fix = f"Run `conda install --force-reinstall {name}={version}`, or remove it and keep pip's"
                problems.append(ReadProblem("conda_conflict", known, where, fix))
            packages[known] = replace(package, build=build, channel=channel)
        elif name not in packages:
            packages[name] = ReadPackage(name, version, installer="conda", build=build, channel=channel)
