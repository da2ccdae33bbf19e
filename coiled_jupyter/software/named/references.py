"""What an imported file names beside an index (archives by URL, commits, paths), where an administrator allows that.

Each becomes a wheel of this machine that a lock names by its hash, so that all that follows is as for other packages.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from ...activity import doing
from ...core.errors import Impossible, Invalid
from ...core.wire import Source
from .. import local
from ..index import Index

Kind: TypeAlias = Literal["options", "paths", "urls", "vcs"]
SECONDS = 300.0
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SOURCES = (".tar.gz", ".zip", ".tgz")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """One of them.

    Attributes
    ----------
    url
        Without what follows ``#``, and of a repository without ``git+`` and the commit; a path as a ``file:`` URL.
    hashes
        The SHA-256 digests of which its file must have one; empty: any.
    name, extras, marker
        As the line says; a line may be a URL or path only.

    """

    kind: Kind
    url: str
    commit: str = ""
    hashes: frozenset[str] = frozenset()
    name: str = ""
    extras: str = ""
    marker: str = ""

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return re.sub(r"//[^/\s]*@", "//", self.url)[:100]


def find(text: str) -> Reference | None:
    """Return what a line names beside an index, or None where it names nothing of that kind."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        bare = text.strip()
        if "://" in bare or bare.startswith(("/", ".", "~")):
            return _reference(bare)
        return None
    if requirement.url is None:
        return None
    return msgspec.structs.replace(
        _reference(requirement.url),
        name=requirement.name,
        extras=f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else "",
        marker=f"; {requirement.marker}" if requirement.marker else "",
    )


def _reference(url: str) -> Reference:
    address, _, fragment = url.partition("#")
    digest = re.search(r"(?:^|&)sha256=([0-9a-f]{64})(?:&|$)", fragment)
    scheme, mark, _ = address.partition("://")
    if mark and "+" in scheme:
        place, _, commit = address.rpartition("@")
        # A sign before the host is of a user.
        if not place or "/" in commit:
            place, commit = address, ""
        return Reference(kind="vcs", url=place, commit=commit)
    kind: Kind = "urls" if scheme in ("http", "https") and mark else "paths"
    if not mark and address.startswith("/"):
        address = Path(address).as_uri()
    return Reference(kind=kind, url=address, hashes=frozenset(digest.groups() if digest else ()))


def check(reference: Reference) -> Reference:
    """Return it where it is complete; Invalid says what is missing."""
    if reference.kind == "vcs":
        if not reference.url.startswith("git+") or not _COMMIT.fullmatch(reference.commit):
            raise _wrong(f"{reference.shown} names no commit of git's", "Such as git+https://host/repository@<commit>")
        return msgspec.structs.replace(reference, url=reference.url.removeprefix("git+"))
    if reference.kind == "paths" and not reference.url.startswith("file:///"):
        raise _wrong(f"{reference.shown} isn't absolute", "A file's own folder isn't known here: write the whole path")
    if reference.kind == "urls" and not reference.url.partition("?")[0].endswith((".whl", *_SOURCES)):
        raise _wrong(f"{reference.shown} is no archive of a package", "Name a wheel, or an archive of sources")
    return reference


async def wheels(
    references: Sequence[Reference], *, python: str, index: Index, allow_source_builds: bool
) -> list[tuple[Reference, local.Wheel]]:
    """Return a wheel for each.

    Raises
    ------
    Invalid
        One has to be built, and that isn't allowed.
    Impossible
        One can't be fetched or built, or is another package, or another file, than the line says.

    """
    found = []
    end = time.monotonic() + SECONDS
    for reference in references:
        if not allow_source_builds and _has_to_be_built(reference):
            raise Invalid(
                "file.text",
                f"{reference.shown} has to be built, which runs its code",
                "An administrator can allow that: c.CoiledJupyter.allow_source_builds = True",
            )
        try:
            wheel = await _wheel(reference, python, index, max(end - time.monotonic(), 1))
        except Impossible as error:
            raise Impossible(f"{reference.shown}: {error.message}", error.hint) from None
        found.append((reference, wheel))
    return found


async def _wheel(reference: Reference, python: str, index: Index, seconds: float) -> local.Wheel:
    if reference.kind == "vcs":
        source = Source(url=reference.url, kind="vcs", commit=reference.commit)
        return await local.make(source, reference.name, python=python, index=index, deadline=seconds)
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
        path = Path(unquote(urlsplit(reference.url).path))
        if reference.kind == "urls":
            path = Path(folder, path.name)
            with doing(f"Fetching {reference.shown}"):
                await asyncio.to_thread(_fetch, reference.url, path, time.monotonic() + seconds)
        if reference.hashes and (
            not path.is_file() or await asyncio.to_thread(local.sha256, path) not in reference.hashes
        ):
            raise Impossible("It isn't the file whose hash is named")
        source = Source(url=path.as_uri(), kind="directory" if path.is_dir() else "archive")
        return await local.make(source, reference.name, python=python, index=index, deadline=seconds)


def _has_to_be_built(reference: Reference) -> bool:
    return reference.kind == "vcs" or not reference.url.partition("?")[0].endswith(".whl")


def _fetch(url: str, path: Path, end: float) -> None:
    size = 0
    try:
        # A redirection leads to http and https only, as this URL does.
        with urllib.request.urlopen(url, timeout=30) as answer, path.open("wb") as file:  # noqa: S310
            while block := answer.read(1 << 16):
                size += len(block)
                if size > local.SIZE_LIMIT or time.monotonic() > end:
                    raise Impossible(f"It is larger than {local.SIZE_LIMIT >> 20} MB, or didn't come in time")
                file.write(block)
    except (OSError, ValueError) as error:
        reason = f"its server says {error.code}" if isinstance(error, urllib.error.HTTPError) else "it doesn't answer"
        raise Impossible(f"It can't be fetched: {reason}") from None


def _wrong(message: str, hint: str) -> Invalid:
    return Invalid("file.text", message, hint)
