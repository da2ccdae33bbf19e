"""Exports a software environment as a file for other tools: pylock.toml (PEP 751), requirements.txt, environment.yml."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from ...core.errors import Impossible
from ...core.wire import SoftwareExport
from .. import local, uv
from .store import NamedEnvironments, Stored

SECONDS = 300.0
HASH = re.compile(r"--hash=(\S+)")
Format: TypeAlias = Literal["pylock", "requirements", "environment"]


class _PylockWheel(msgspec.Struct, frozen=True):
    hashes: dict[str, str]


class _PylockPackage(msgspec.Struct, frozen=True):
    name: str
    wheels: tuple[_PylockWheel, ...] = ()


class _Pylock(msgspec.Struct, frozen=True):
    """What uv writes as PEP 751, as far as it is checked."""

    packages: tuple[_PylockPackage, ...]


def as_file(stored: Stored, form: Format) -> SoftwareExport:
    """Return a software environment as a file for other tools."""
    if form == "requirements":
        return SoftwareExport(filename="requirements.txt", text=stored.lock)
    if form == "environment":
        return SoftwareExport(filename="environment.yml", text=_conda_file(stored))
    # PEP 751 allows no dot within the name.
    return SoftwareExport(filename=f"pylock.{stored.name.replace('.', '-')}.toml", text=stored.pylock)


async def pylock(
    environments: NamedEnvironments, python: str, lock: str, wheels: Sequence[local.Wheel], options: Sequence[str]
) -> str:
    """Return the lock as PEP 751, with the same files."""
    index = environments.index(options)
    for own in wheels:
        index = index.with_links(Path(own.path).parent)
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        source, made = Path(folder, "requirements.in"), Path(folder, "pylock.toml")
        source.write_text(lock, encoding="utf-8")
        await uv.run(
            *("pip", "compile", "--no-config", "--quiet", "--no-header", "--no-annotate", "--no-deps"),
            *("--format", "pylock.toml", "--python", sys.executable, "--python-version", python),
            *(() if environments.configuration.allow_source_builds else ("--only-binary", ":all:")),
            *index.options,
            *("--output-file", str(made), "--", str(source)),
            cwd=Path(folder),
            deadline=SECONDS,
            index=index,
        )
        text = made.read_text(encoding="utf-8")
    allowed = set(HASH.findall(lock))
    for package in msgspec.toml.decode(text, type=_Pylock).packages:
        if not {f"sha256:{wheel.hashes.get('sha256')}" for wheel in package.wheels} <= allowed:
            raise Impossible(f"The index now offers other files of {package.name} than a moment ago", "Try again")
    return text


def _conda_file(stored: Stored) -> str:
    import yaml

    python = ".".join(stored.python.split(".")[:2])
    content = {
        "name": stored.name,
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(stored.pins)}],
    }
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text
