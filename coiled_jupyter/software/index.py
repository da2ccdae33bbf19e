"""Parses the administrator's index options once, into environment variables for uv and pip.

Rules: every user of a machine can read the arguments of its processes, so no argument may hold a password; unknown
options are refused; no message shows more of an option than its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from ..core.change.survey import IndexQuestion
from ..core.errors import Unavailable

_ALIASES = {
    "-i": "--default-index",
    "--index-url": "--default-index",
    "--extra-index-url": "--index",
    "-f": "--find-links",
    "--trusted-host": "--allow-insecure-host",
}
_CHOICES = {
    "--index-strategy": ("first-index", "unsafe-first-match", "unsafe-best-match"),
    "--keyring-provider": ("disabled", "subprocess"),
}
_KNOWN = ("--default-index", "--index", "--find-links", "--no-index", "--allow-insecure-host", *_CHOICES)
_NAMED = re.compile(r"[A-Za-z0-9._-]+=")
_SECRET = re.compile(r"(//)[^/\s]*@|\?[^\s,#]*")
_HIDDEN_LENGTH = 4
"""A shorter secret is hidden in URLs only, since it would match anywhere else too."""


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Where packages come from.

    Attributes
    ----------
    uv, pip
        Environment variables for each; they may hold credentials.
    options
        Options for which uv has no variable: without a value, or with one that isn't secret.
    secrets
        Whether any of the URLs holds credentials.
    hidden
        The credentials themselves, to be removed from whatever is shown.

    """

    uv: dict[str, str] = {}
    pip: dict[str, str] = {}
    options: tuple[str, ...] = ()
    secrets: bool = False
    hidden: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Index({', '.join(sorted(self.uv)) or 'default'})"

    @property
    def question(self) -> IndexQuestion:
        """What a node is asked about it, without credentials."""
        everything = {**self.uv, **self.pip}
        public = {name: _public(value) for name, value in everything.items()}
        return IndexQuestion(
            environ={name: _SECRET.sub(r"\1", value) for name, value in everything.items()},
            options=self.options,
            private=self.secrets,
            public=None
            if "--no-index" in self.options or not public.get("UV_DEFAULT_INDEX", "default")
            else {name: value for name, value in public.items() if value},
        )

    def with_links(self, folder: Path) -> Index:
        """Return it with a folder of wheels added."""
        links = ",".join(filter(None, (self.uv.get("UV_FIND_LINKS"), _link(str(folder)))))
        pip = " ".join(filter(None, (self.pip.get("PIP_FIND_LINKS"), _pip_link(str(folder)))))
        return msgspec.structs.replace(
            self, uv={**self.uv, "UV_FIND_LINKS": links}, pip={**self.pip, "PIP_FIND_LINKS": pip}
        )


def parse(options: Sequence[str]) -> Index:
    """Return parsed options, such as ``["--index-url", "https://host/simple"]``.

    Raises
    ------
    Unavailable
        An option isn't an index option, has no value, or an invalid one.

    """
    said: dict[str, list[str]] = {}
    for name, value in _pairs(options):
        said.setdefault(name, []).append(value)
    uv: dict[str, str] = {}
    pip: dict[str, str] = {}
    default = said.get("--default-index", [])
    if len(default) > 1:
        raise _wrong("--default-index is given twice", "Name the others with --index")
    others, links, hosts = (said.get(name, []) for name in ("--index", "--find-links", "--allow-insecure-host"))
    if default:
        uv["UV_DEFAULT_INDEX"], pip["PIP_INDEX_URL"] = default[0], _unnamed(default[0])
    if others:
        uv["UV_INDEX"], pip["PIP_EXTRA_INDEX_URL"] = " ".join(others), " ".join(map(_unnamed, others))
    if links:
        uv["UV_FIND_LINKS"], pip["PIP_FIND_LINKS"] = ",".join(map(_link, links)), " ".join(map(_pip_link, links))
    if hosts:
        uv["UV_INSECURE_HOST"] = pip["PIP_TRUSTED_HOST"] = " ".join(hosts)
    if "--index-strategy" in said:
        uv["UV_INDEX_STRATEGY"] = said["--index-strategy"][-1]
    if "--keyring-provider" in said:
        uv["UV_KEYRING_PROVIDER"] = pip["PIP_KEYRING_PROVIDER"] = said["--keyring-provider"][-1]
    flags = ("--no-index",) if "--no-index" in said else ()
    if flags:
        pip["PIP_NO_INDEX"] = "1"
    urls = [_split(_unnamed(value)) for value in (*default, *others, *links)]
    hidden = sorted({word for url in urls for word in _credentials(url)}, key=len, reverse=True)
    return Index(
        uv=uv,
        pip=pip,
        options=flags,
        secrets=bool(hidden),
        hidden=tuple(word for word in hidden if len(word) >= _HIDDEN_LENGTH),
    )


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield names and values, written as two items, as one with ``=``, or as one with a space."""
    rest = list(options)
    while rest:
        name, mark, value = _divide(rest.pop(0))
        name = _ALIASES.get(name, name)
        if name not in _KNOWN:
            shown = re.sub(r"[^A-Za-z0-9-]", "?", name)[:40] if name.startswith("-") else "a value without an option"
            raise _wrong(f"{shown} isn't an index option", f"Known ones: {', '.join(_KNOWN)}")
        if name == "--no-index":
            if mark:
                raise _wrong("--no-index takes no value")
            yield name, ""
            continue
        if not mark:
            value = rest.pop(0) if rest else ""
        if not value or value.startswith("-") or not value.isprintable():
            raise _wrong(f"{name} has no value")
        if value not in _CHOICES.get(name, (value,)):
            raise _wrong(f"{name} is one of {', '.join(_CHOICES[name])}")
        if name in ("--default-index", "--index", "--allow-insecure-host") and any(map(str.isspace, value)):
            raise _wrong(f"{name} has a space in its value", "Give each index its own option")
        yield name, value


def _divide(item: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"(-[^\s=]*)(\s+|=)(.*)", item, re.DOTALL)
    return (match[1], match[2], match[3]) if match else (item, "", "")


def _unnamed(value: str) -> str:
    """Return the URL of ``name=URL``, uv's way of naming an index."""
    match = _NAMED.match(value)
    return value[match.end() :] if match else value


def _link(value: str) -> str:
    # uv splits at commas, pip at spaces.
    if "://" in value:
        return value.replace(",", "%2C")
    return Path(value).absolute().as_uri() if "," in value else value


def _pip_link(value: str) -> str:
    return Path(value).absolute().as_uri() if any(map(str.isspace, value)) and "://" not in value else value


def _split(value: str) -> SplitResult:
    try:
        return urlsplit(value)
    except ValueError:
        raise _wrong("The URL of an index can't be read") from None


def _credentials(url: SplitResult) -> Iterator[str]:
    if "@" in url.netloc:
        user, _, password = url.netloc.rpartition("@")[0].partition(":")
        secret = password or user
        yield from (secret, unquote(secret))
    if url.query:
        yield url.query


def _public(value: str) -> str:
    """Return a list of URLs without those that hold credentials."""
    mark = "," if "," in value else " "
    return mark.join(part for part in value.split(mark) if not _SECRET.search(part))


def _wrong(message: str, hint: str = "Correct CoiledJupyter.index_options") -> Unavailable:
    return Unavailable(f"Jupyter's configuration index_options can't be used: {message}", hint)
