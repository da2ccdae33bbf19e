"""Builds wheels, on this machine, of what no index has: projects, commits, local files, code beside a notebook.

Rules: nothing is written where the code is; what is copied is bounded, and links out of it aren't followed; a wheel has
the version that the kernel has, or isn't made; the same content is built once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import keyword
import logging
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ..core.errors import CoiledError, Impossible
from ..core.wire import Package, Source
from ..paths import data_dir
from . import uv
from .index import Index

MODULE_PREFIX = "coiled-jupyter-module-"
"""Prefix of the names of distributions that contain code beside a notebook."""
FILE_LIMIT = 20_000
SIZE_LIMIT = 200 << 20
MODULE_FILE_LIMIT = 2_000
MODULE_SIZE_LIMIT = 50 << 20
_KEPT_SECONDS = 30 * 86400.0
_REASON_LENGTH = 700
_COMPILED = (".so", ".pyd", ".dylib", ".dll")
_SKIPPED = frozenset({
    "__pycache__", "node_modules", ".git", ".hg", ".svn", ".bzr", ".venv", ".tox", ".nox", ".eggs", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints", ".idea", ".vscode", ".yarn",
})  # fmt: skip
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SCHEMES = ("https", "http", "ssh", "git", "file")


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel on this machine; `name` is PEP 503, and of code beside a notebook begins with `MODULE_PREFIX`."""

    name: str
    version: str
    path: str
    sha256: str


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """``{package: wheel}`` of what could be built, and ``{package: reason}`` of the rest, by the packages' own names."""

    wheels: dict[str, Wheel]
    refused: dict[str, str]


async def collect(packages: Sequence[Package], *, python: str, index: Index, deadline: float = 300) -> Collected:
    """Return the wheels of those packages that have a `source`, in the order given, within `deadline` seconds.

    Parameters
    ----------
    packages
        Of a kernel on this machine; building runs the projects' own code.
    python
        The path of that kernel's Python, on which they are built.

    """
    end = time.monotonic() + deadline
    wheels: dict[str, Wheel] = {}
    refused: dict[str, str] = {}
    for package in packages:
        if package.source is None:
            continue
        try:
            left = end - time.monotonic()
            if left <= 0:
                raise Impossible("There was no time left to build it")
            maker = _Maker(package, python, index, left)
            wheels[package.name] = await maker.make()
        except CoiledError as error:
            refused[package.name] = error.message
        except (OSError, UnicodeError, ValueError, zipfile.BadZipFile) as error:
            # A tree can change, or forbid reading, at any moment.
            refused[package.name] = f"It can't be read: {getattr(error, 'strerror', None) or type(error).__name__}"
    await asyncio.to_thread(_prune)
    return Collected(wheels=wheels, refused=refused)


async def make(source: Source, name: str, *, python: str, index: Index, deadline: float) -> Wheel:
    """Return the wheel of a source, in any version; if `name` is empty, of any package.

    Raises
    ------
    Impossible
        It can't be built, or is another package.

    """
    try:
        return await _Maker(Package(name=name, version="", source=source), python, index, deadline).make()
    except (OSError, UnicodeError, ValueError, zipfile.BadZipFile) as error:
        raise Impossible(f"It can't be read: {getattr(error, 'strerror', None) or type(error).__name__}") from None


def link(wheels: Mapping[str, Wheel], folder: Path) -> None:
    """Put the wheels into a folder, for `resolve` and installers."""
    for wheel in wheels.values():
        target = folder / Path(wheel.path).name
        try:
            target.hardlink_to(wheel.path)
        except OSError:
            # It is on another file system.
            shutil.copyfile(wheel.path, target)


class _Maker:
    """Builds the wheel of one package."""

    def __init__(self, package: Package, python: str, index: Index, seconds: float) -> None:
        self._package = package
        self._python = python
        self._index = index
        self._end = time.monotonic() + seconds

    async def make(self) -> Wheel:
        source = self._package.source
        if source is None:
            raise Impossible("It came from an index")
        if source.kind == "module":
            return await asyncio.to_thread(_module, self._package.name, Path(source.url))
        if source.kind == "vcs":
            return await self._commit(source.url, source.commit or "")
        parts = urlsplit(source.url)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise Impossible(
                f"It was installed from {source.url[:200]}, which isn't on this machine; configure an index that has it"
            )
        path = Path(unquote(parts.path))
        if source.kind == "archive":
            return await self._archive(path)
        with _scratch() as scratch:
            digest = await asyncio.to_thread(_copy, path, scratch / "tree")
            return await self._built(scratch / "tree", f"tree:{digest}", scratch, str(path))

    async def _archive(self, path: Path) -> Wheel:
        if not path.is_file():
            raise Impossible(f"It was installed from {path}, which no longer exists")
        if path.stat().st_size > SIZE_LIMIT:
            raise Impossible(f"{path} is larger than {SIZE_LIMIT >> 20} MB")
        digest = await asyncio.to_thread(sha256, path)
        if path.suffix != ".whl":
            with _scratch() as scratch:
                return await self._built(path, f"archive:{digest}", scratch, str(path))
        key = _key("wheel", digest)
        cached = _cached(key)
        return self._checked(await asyncio.to_thread(_store, key, path) if cached is None else cached)

    async def _commit(self, url: str, commit: str) -> Wheel:
        parts = urlsplit(url)
        if not _COMMIT.fullmatch(commit) or parts.scheme not in _SCHEMES:
            raise Impossible(f"Its commit in {url[:200]} isn't known, or isn't one of git's")
        key = self._key(f"commit:{url}:{commit}")
        if (cached := _cached(key)) is not None:
            return self._checked(cached)
        git = shutil.which("git")
        if git is None:
            raise Impossible("It comes from a git repository, and there is no git on this machine")
        with _scratch() as scratch:
            tree = scratch / "tree"
            tree.mkdir()
            await self._git(git, tree, "init", "--quiet")
            try:
                await self._git(git, tree, "fetch", "--quiet", "--depth=1", "--", url, commit)
            except Impossible:
                # Not every server serves a commit by its hash.
                await self._git(git, tree, "fetch", "--quiet", "--tags", "--", url, "+refs/*:refs/remotes/origin/*")
            await self._git(git, tree, "checkout", "--quiet", "--detach", commit)
            await self._git(git, tree, "submodule", "--quiet", "update", "--init", "--recursive", schemes=_SCHEMES[:-1])
            return await self._built(tree, f"commit:{url}:{commit}", scratch, url)

    async def _git(self, git: str, cwd: Path, *argv: str, schemes: tuple[str, ...] = _SCHEMES) -> None:
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_DIR")},
            # No remote helper that a URL names, and no prompt that nobody could answer.
            "GIT_ALLOW_PROTOCOL": ":".join(schemes),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
        }
        safe = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
        ended = await uv.execute(
            git, *safe, *argv, cwd=cwd, deadline=self._left(), environ=environ, level=logging.DEBUG
        )
        if ended.status:
            raise Impossible(f"git can't fetch its commit: {ended.words[-_REASON_LENGTH:]}")

    async def _built(self, source: Path, content: str, scratch: Path, shown: str) -> Wheel:
        """Build a tree or a source archive, which may be written to and is named `shown` in messages."""
        key = self._key(content)
        if (cached := _cached(key)) is not None:
            return self._checked(cached)
        # A version that is derived from a repository, which isn't copied, is set to the installed one.
        names = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PBR_VERSION") if self._package.version else ()
        version = dict.fromkeys(names, self._package.version)
        ended = await uv.attempt(
            *("build", "--no-config", "--wheel", "--no-create-gitignore", "--python", self._python),
            *self._index.options,
            *("--out-dir", str(scratch / "out"), "--", str(source)),
            cwd=scratch,
            deadline=self._left(),
            index=self._index,
            level=logging.DEBUG,
            **version,
        )
        found = sorted((scratch / "out").glob("*.whl"))
        if ended.status or len(found) != 1:
            raise Impossible(f"It can't be built: {ended.words.replace(str(source), shown)[-_REASON_LENGTH:]}")
        # A wheel of another version is kept too, so that it isn't built again in vain.
        return self._checked(await asyncio.to_thread(_store, key, found[0]))

    def _checked(self, path: Path) -> Wheel:
        """Return the wheel if it is the package that the kernel has."""
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
            wished, known = canonicalize_name(self._package.name), self._package.version
            same = name == (wished or name) and (not known or version == Version(known))
        except (InvalidWheelFilename, InvalidVersion):
            raise Impossible(f"Its wheel is called {path.name[:100]!r}, which isn't a valid name of a wheel") from None
        if not same and not known:
            raise Impossible(f"It is {name}, not {wished}")
        if not same:
            raise Impossible(
                f"The kernel has it installed as {self._package.version}, but its source is {name} {version} now: "
                "install it again in the kernel"
            )
        return Wheel(name=name, version=str(version), path=str(path), sha256=sha256(path))

    def _key(self, content: str) -> str:
        return _key("built", content, self._python, self._package.version, uv.version())

    def _left(self) -> float:
        return max(self._end - time.monotonic(), 1)


# ---- trees --------------------------------------------------------------------------------------------------------


def _files(root: Path, count: int, size: int) -> Iterator[tuple[str, Path]]:
    """Yield the regular files of a tree as (path with ``/``, path), in order; `count` and `size` bound them."""
    real = root.resolve()
    folders = [root]
    found = taken = 0
    while folders:
        folder = folders.pop()
        below: list[Path] = []
        for path in sorted(folder.iterdir()):
            if path.name in _SKIPPED or path.suffix == ".pyc":
                continue
            if path.is_symlink() and not _within(path, real):
                if path.suffix == ".py" or (path / "__init__.py").exists():
                    raise Impossible(f"{path.relative_to(root)} is a link to code outside of {root}")
                continue
            if path.is_dir():
                # A virtualenv under any name, a leftover of a build, or a link back up.
                virtualenv, left_behind = (path / "pyvenv.cfg").exists(), folder == root and _is_build(path)
                if not (virtualenv or left_behind or folder.resolve().is_relative_to(path.resolve())):
                    below.append(path)
            elif path.is_file():
                found, taken = found + 1, taken + path.stat().st_size
                if found > count:
                    raise Impossible(f"{root} has more than {count} files")
                if taken > size:
                    raise Impossible(f"{root} has more than {size >> 20} MB")
                yield path.relative_to(root).as_posix(), path
        folders += reversed(below)
        # Links can lead to one folder many times.
        if len(folders) > count:
            raise Impossible(f"{root} has more than {count} folders")


def _within(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _is_build(path: Path) -> bool:
    """Whether this is setuptools' ``build``, from which removed files would get into a wheel again."""
    return path.name == "build" and ((path / "lib").is_dir() or any(path.glob("bdist.*")))


def _copy(root: Path, target: Path) -> str:
    """Copy a project and return a digest of what was copied."""
    if not root.is_dir():
        raise Impossible(f"It was installed from {root}, which no longer exists")
    seen = hashlib.blake2b(digest_size=20)
    for name, path in _files(root, FILE_LIMIT, SIZE_LIMIT):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        copy.chmod(copy.stat().st_mode | 0o600)
        seen.update(f"{name}\0{path.stat().st_mode & 0o111}\0{sha256(copy)}\0".encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


# ---- code beside a notebook ---------------------------------------------------------------------------------------


def _module(label: str, path: Path) -> Wheel:
    """Return a wheel with just a file or folder, under the name by which it is imported."""
    name = label.rstrip("/").removesuffix(".py")
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise Impossible(f"{label[:80]!r} isn't a module name that a wheel can contain")
    if path.is_dir():
        files = {
            f"{name}/{inner}": inner_path for inner, inner_path in _files(path, MODULE_FILE_LIMIT, MODULE_SIZE_LIMIT)
        }
    elif path.suffix == ".py" and path.is_file():
        if path.stat().st_size > MODULE_SIZE_LIMIT:
            raise Impossible(f"{path} is larger than {MODULE_SIZE_LIMIT >> 20} MB")
        files = {f"{name}.py": path}
    else:
        raise Impossible(f"{path} no longer exists, or isn't Python code")
    # Hidden files aren't code, and may be secrets: keys, variables.
    files = {inner: full for inner, full in files.items() if "/." not in inner}
    compiled = next((inner for inner in files if inner.endswith(_COMPILED)), None)
    if compiled:
        raise Impossible(f"{compiled} is compiled, and may not run elsewhere")
    contents = {inner: full.read_bytes() for inner, full in files.items()}
    seen = hashlib.blake2b(digest_size=8)
    for inner, content in sorted(contents.items()):
        seen.update(f"{inner}\0{len(content)}\0".encode() + content)
    version = f"0+{seen.hexdigest()}"
    distribution = _distribution(name)
    file_name = f"{distribution.replace('-', '_')}-{version}-py3-none-any.whl"
    key = _key("module", distribution, version)
    cached = _cached(key)
    if cached is None:
        with _scratch() as scratch:
            (scratch / file_name).write_bytes(_pack(distribution, version, contents))
            cached = _store(key, scratch / file_name)
    return Wheel(name=distribution, version=version, path=str(cached), sha256=sha256(cached))


def _distribution(name: str) -> str:
    short = name.strip("_")
    plain = canonicalize_name(short) if short else ""
    if plain.replace("-", "_") != name:
        # Different module names may normalize to one name of a distribution.
        plain = f"{plain}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}".strip("-")
    return MODULE_PREFIX + plain


def _pack(name: str, version: str, contents: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a wheel, the same for the same contents."""
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Code beside a notebook\n"
    marks = "Wheel-Version: 1.0\nGenerator: coiled-jupyter\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {**contents, f"{folder}/METADATA": metadata.encode(), f"{folder}/WHEEL": marks.encode()}
    rows = []
    for inner, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        quoted = f'"{inner.replace(chr(34), chr(34) * 2)}"' if "," in inner or '"' in inner else inner
        rows.append(f"{quoted},sha256={digest},{len(content)}\n")
    files[f"{folder}/RECORD"] = ("".join(rows) + f"{folder}/RECORD,,\n").encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner, content in sorted(files.items()):
            entry = zipfile.ZipInfo(inner, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return written.getvalue()


# ---- cached wheels ------------------------------------------------------------------------------------------------


def _key(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _home() -> Path:
    return data_dir("wheels")


def _cached(key: str) -> Path | None:
    folder = _home() / key
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        return None
    os.utime(folder)
    return found[0]


def _store(key: str, path: Path) -> Path:
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=_home()))
    shutil.copyfile(path, staging / path.name)
    with contextlib.suppress(OSError):
        # Another process may have been first.
        staging.rename(_home() / key)
    shutil.rmtree(staging, ignore_errors=True)
    return _home() / key / path.name


def _prune() -> None:
    for folder in _home().iterdir():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
