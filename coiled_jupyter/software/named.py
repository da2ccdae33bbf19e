"""Keeps named software environments of this user: locks them, says what uses them, exports them, and frees what nothing uses.

One file each in the data folder, since they outlive every process and every boot; what is built of them is shared by
content (`software.build`). Nothing is built before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from packaging.pylock import Pylock
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ..configuration import Configuration
from ..core.choice import nearest
from ..core.cluster import BuildSpec, now
from ..core.errors import Conflict, Impossible, Invalid, NotFound, Unavailable
from ..core.wire import Environment, LeftOut, Package, Software, SoftwareExport, SoftwareFreed, SoftwarePackage
from ..paths import data_dir
from . import build as builds
from . import index as indexes
from . import local, references, uv
from .references import Reference
from .resolve import Resolution, Target, Wish, resolve

FILE_LIMIT = 16 * 1024 * 1024
YOUNG_SECONDS = 600.0
"""How old a build must be to be freed: a cluster that starts tells of its build only when it runs."""
LOCK_SECONDS = 300.0
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_HEAD = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")
_HASH = re.compile(r"--hash=(\S+)")
Format = Literal["pylock", "requirements", "environment"]


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A software environment on disk.

    Attributes
    ----------
    python
        The version that the packages were chosen for, such as ``3.11.7`` or ``3.12``.
    interpreter
        The path of such a Python on the machine where it was made; None: any that uv finds.
    platform
        As `sysconfig.get_platform` gives it; on another one it is locked again from its pins.
    lock, pylock
        Requirement lines with hashes, and the same by PEP 751.
    wheels
        Files of this machine that are in the lock, of what came from no index.
    options
        Options about indexes of the file that it was made from, beside those of the configuration.

    """

    name: str
    python: str
    interpreter: str | None
    platform: str
    source: str
    lock: str
    pylock: str
    versions: dict[str, str]
    left_out: tuple[LeftOut, ...] = ()
    wheels: tuple[local.Wheel, ...] = ()
    options: tuple[str, ...] = ()
    created_at: str

    @property
    def pins(self) -> tuple[str, ...]:
        """The packages as requirement lines."""
        return tuple(f"{name}=={version}" for name, version in sorted(self.versions.items()))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a new software environment is made from.

    Attributes
    ----------
    hard
        Requirements that must hold.
    wishes
        Pins that hold where they can; what can't be had is left out by name.
    python, interpreter
        The Python to choose for; see `Stored`.
    pythons
        A range that it has to be in (PEP 440); empty: any.
    hashes
        ``{name: {"sha256:…", …}}`` of the only files that are allowed of a package.
    doubtful
        Those of `hard` that are left out by name where no index has them.
    references, options
        What else the file names, where the administrator allows it.

    """

    source: str
    python: str
    hard: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()
    interpreter: str | None = None
    pythons: str = ""
    hashes: Mapping[str, frozenset[str]] = {}
    doubtful: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    references: tuple[Reference, ...] = ()
    options: tuple[str, ...] = ()


class NamedEnvironments:
    """The software environments of this user."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    # ---- what is there ----------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return all names, in order."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.stem for path in _home().glob("*.json") if _NAME.fullmatch(path.stem))
        return []

    def get(self, name: str) -> Stored:
        """Return one, or raise NotFound with the nearest name."""
        path = _path(name)
        try:
            if path is None or path.stat().st_size > FILE_LIMIT:
                raise FileNotFoundError
            stored = msgspec.json.decode(path.read_bytes(), type=Stored)
        except FileNotFoundError:
            raise _unknown(name, self.names()) from None
        except (OSError, msgspec.DecodeError):
            raise Unavailable(
                f"The software environment {name} can't be read", f"Delete it, or repair the file {path}"
            ) from None
        return msgspec.structs.replace(stored, name=name)

    def describe(self, stored: Stored, users: Mapping[str, str], *, packages: bool) -> Software:
        """Return what is told of one.

        Parameters
        ----------
        users
            ``{label: prefix or name}`` of what runs now, by the folder that it runs from or the name that it was made of.

        """
        built = self.built(stored)
        used = [label for label, what in users.items() if what in (stored.name, built.prefix if built else "")]
        return Software(
            name=stored.name,
            python=stored.python,
            platform=stored.platform,
            source=stored.source,
            count=len(stored.versions),
            packages=tuple(SoftwarePackage(name=n, version=v) for n, v in sorted(stored.versions.items()))
            if packages
            else (),
            left_out=stored.left_out,
            built=built.prefix if built else None,
            size=built.size if built else None,
            used_by=tuple(used),
            created_at=stored.created_at,
        )

    def built(self, stored: Stored) -> builds.Built | None:
        """Return what is built of one on this machine, or None."""
        return builds.find(self.build_spec(stored)) if stored.platform == _platform() else None

    def build_spec(self, stored: Stored) -> BuildSpec:
        """Return what builds one here; without its lock where that was made for other machines."""
        interpreter = stored.interpreter if stored.interpreter and os.access(stored.interpreter, os.X_OK) else None
        settings = self._configuration
        if stored.wheels and stored.platform != _platform():
            raise Impossible(f"{stored.name} holds files of another machine", "Make it again here, from its file")
        return BuildSpec(
            requirements=stored.pins,
            python=interpreter or stored.python,
            index_options=(*settings.index_options, *stored.options),
            allow_source_builds=settings.allow_source_builds,
            lock=stored.lock if stored.platform == _platform() else "",
            links=tuple(str(Path(wheel.path).parent) for wheel in stored.wheels),
        )

    # ---- changing ---------------------------------------------------------------------------------------------

    async def create(self, name: str, wanted: Wanted, *, replace: bool = False) -> Stored:
        """Lock what is wanted for this machine, and keep it under a name; raises as `lock`."""
        stored = await self.lock(name, wanted, replace=replace)
        self.keep(stored, replace=replace)
        return stored

    async def lock(self, name: str, wanted: Wanted, *, replace: bool = False) -> Stored:
        """Return what is wanted, locked for this machine; it isn't kept yet.

        Raises
        ------
        Conflict
            There is one of this name, and it isn't to be replaced.
        Impossible
            It can't be resolved, with the resolver's words.

        """
        self._check_free(name, replace=replace)
        if wanted.pythons and not SpecifierSet(wanted.pythons).contains(wanted.python, prereleases=True):
            raise Invalid(
                "python",
                f"{wanted.source} asks for Python {wanted.pythons}, and this would be {wanted.python}",
                "Name another Python with `python`",
            )
        made = await references.wheels(
            wanted.references,
            python=wanted.interpreter or builds.python_path(wanted.python),
            index=self._index(wanted.options),
            allow_source_builds=self._configuration.allow_source_builds,
        )
        wheels = tuple([await asyncio.to_thread(_kept, wheel) for _, wheel in made])
        own = tuple(f"{one.name}{ref.extras}=={one.version}{ref.marker}" for ref, one in made)
        wanted, resolution = await self._resolved(msgspec.structs.replace(wanted, hard=(*wanted.hard, *own)), wheels)
        lock = _allowed(resolution.lock, wanted.hashes)
        refused = tuple(LeftOut(name=key, why=why) for key, why in resolution.refused.items())
        return Stored(
            name=name,
            python=wanted.python,
            interpreter=wanted.interpreter,
            platform=_platform(),
            source=wanted.source,
            lock=lock,
            pylock=await self._pylock(wanted.python, lock, wheels, wanted.options),
            versions=resolution.versions,
            left_out=(*wanted.left_out, *refused),
            wheels=wheels,
            options=wanted.options,
            created_at=now(),
        )

    def keep(self, stored: Stored, *, replace: bool = False) -> None:
        """Keep what was locked under its name; Conflict where there is one."""
        self._check_free(stored.name, replace=replace)
        self._save(stored, replace=replace)

    async def _resolved(self, wanted: Wanted, wheels: Sequence[local.Wheel]) -> tuple[Wanted, Resolution]:
        """Return the resolution, and what it is of: without the doubtful lines that can't be had."""
        try:
            return wanted, await self._resolve(wanted, wanted.hard, wheels)
        except Impossible:
            if not wanted.doubtful:
                raise
            lost: dict[str, str] = {}
            for line in wanted.doubtful:
                try:
                    await self._resolve(msgspec.structs.replace(wanted, wishes=()), (line,), wheels)
                except Impossible as error:
                    lost[line] = error.message
            if not lost:
                raise
        left = tuple(LeftOut(name=Requirement(line).name, why=why) for line, why in lost.items())
        wanted = msgspec.structs.replace(
            wanted,
            hard=tuple(line for line in wanted.hard if line not in lost),
            left_out=(*wanted.left_out, *left),
        )
        return wanted, await self._resolve(wanted, wanted.hard, wheels)

    async def _resolve(self, wanted: Wanted, hard: Sequence[str], wheels: Sequence[local.Wheel]) -> Resolution:
        with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
            local.link({wheel.name: wheel for wheel in wheels}, Path(folder))
            return await resolve(
                target(wanted.python),
                builds.complete(tuple(hard)),
                [Wish(requirement=line) for line in wanted.wishes],
                index=self._index(wanted.options),
                allow_source_builds=self._configuration.allow_source_builds,
                find_links=Path(folder) if wheels else None,
                deadline=LOCK_SECONDS,
            )

    def _index(self, more: Sequence[str]) -> indexes.Index:
        try:
            return indexes.parse((*self._configuration.index_options, *more))
        except Unavailable as error:
            if not more:
                raise
            raise Invalid(
                "file.text", f"The file's options and the configuration's don't agree: {error.message}"
            ) from None

    def _check_free(self, name: str, *, replace: bool) -> None:
        # Some file systems don't tell capitals apart.
        same = [known for known in self.names() if known.lower() == name.lower()]
        if same and (not replace or same != [name]):
            raise Conflict(
                f"There is a software environment {same[0]} already", "Choose another name, or replace that one"
            )

    def _save(self, stored: Stored, *, replace: bool) -> None:
        path = _path(stored.name)
        if path is None:
            raise Invalid("name", "A name has letters, digits, dots, dashes and underscores only")
        staging = path.with_name(f".{secrets.token_hex(6)}.new")
        try:
            with os.fdopen(os.open(staging, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
                stream.write(msgspec.json.encode(stored))
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                staging.replace(path)
            else:
                # Of two that are made at once one is refused.
                os.link(staging, path)
        except FileExistsError:
            raise Conflict(f"There is a software environment {stored.name} already") from None
        except OSError as error:
            raise Unavailable(f"{path.parent} can't be written: {error.strerror}", "Make room there") from None
        finally:
            staging.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Forget one; what is built of it stays until `clean`."""
        path = _path(name)
        try:
            if path is None:
                raise FileNotFoundError
            path.unlink()
        except FileNotFoundError:
            raise _unknown(name, self.names()) from None

    # ---- out of here ------------------------------------------------------------------------------------------

    def export(self, stored: Stored, form: Format) -> SoftwareExport:
        """Return a software environment as a file for other tools."""
        if form == "requirements":
            return SoftwareExport(filename="requirements.txt", text=stored.lock)
        if form == "environment":
            return SoftwareExport(filename="environment.yml", text=_conda_file(stored))
        # PEP 751 allows no dot within the name.
        return SoftwareExport(filename=f"pylock.{stored.name.replace('.', '-')}.toml", text=stored.pylock)

    async def _pylock(self, python: str, lock: str, wheels: Sequence[local.Wheel], options: Sequence[str]) -> str:
        """Return a lock by PEP 751, which holds the same files."""
        index = self._index(options)
        for own in wheels:
            index = index.with_links(Path(own.path).parent)
        with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as folder:
            wanted, made = Path(folder, "requirements.in"), Path(folder, "pylock.toml")
            wanted.write_text(lock, encoding="utf-8")
            await uv.run(
                *("pip", "compile", "--no-config", "--quiet", "--no-header", "--no-annotate", "--no-deps"),
                *("--format", "pylock.toml", "--python", sys.executable, "--python-version", python),
                *(() if self._configuration.allow_source_builds else ("--only-binary", ":all:")),
                *index.options,
                *("--output-file", str(made), "--", str(wanted)),
                cwd=Path(folder),
                deadline=LOCK_SECONDS,
                index=index,
            )
            text = made.read_text(encoding="utf-8")
        allowed = set(_HASH.findall(lock))
        for package in Pylock.from_dict(msgspec.toml.decode(text)).packages:
            for wheel in package.wheels or ():
                if f"sha256:{wheel.hashes['sha256']}" not in allowed:
                    raise Impossible(f"The index offers another file of {package.name} than a moment ago", "Try again")
        return text

    def clean(self, kept: Collection[str]) -> SoftwareFreed:
        """Remove what was built and nothing uses any more.

        Parameters
        ----------
        kept
            Folders that something runs from, or could go back to.

        """
        self._clean_wheels()
        named = {built.prefix for name in self.names() if (built := self._built_of(name)) is not None}
        found = SoftwareFreed()
        for prefix in builds.home().iterdir():
            if not prefix.is_dir() or str(prefix) in named or str(prefix) in kept or _runs(prefix):
                continue
            with contextlib.suppress(OSError):
                if time.time() - prefix.stat().st_mtime < YOUNG_SECONDS:
                    continue
                with prefix.with_name(f"{prefix.name}.lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    size = builds.size(prefix, unshared=True)
                    # First it's no environment any more, then it goes.
                    (prefix / builds.MARKER).unlink(missing_ok=True)
                    shutil.rmtree(prefix, ignore_errors=True)
                    prefix.with_name(f"{prefix.name}.txt").unlink(missing_ok=True)
                found = SoftwareFreed(builds=found.builds + 1, size=found.size + size)
        return found

    def _clean_wheels(self) -> None:
        """Remove files of no environment."""
        used: set[str] = set()
        for name in self.names():
            try:
                used.update(str(Path(wheel.path).parent) for wheel in self.get(name).wheels)
            except (NotFound, Unavailable):
                # What one that can't be read holds isn't known.
                return
        for folder in (_home() / "wheels").glob("*"):
            with contextlib.suppress(OSError):
                if str(folder) not in used and time.time() - folder.stat().st_mtime > YOUNG_SECONDS:
                    shutil.rmtree(folder)

    def _built_of(self, name: str) -> builds.Built | None:
        try:
            return self.built(self.get(name))
        except (NotFound, Unavailable):
            return None

    # ---- kernels ----------------------------------------------------------------------------------------------

    async def install(self, stored: Stored, check: Callable[[Path], Awaitable[None]] | None = None) -> tuple[str, Path]:
        """Build one with ipykernel and register it with Jupyter; return the kernel's name and folder of the environment.

        `check` is given the folder with the kernel's specification before that is registered, and raises where it's no good.
        """
        spec = msgspec.structs.replace(
            self.build_spec(stored),
            requirements=(*stored.pins, *(() if "ipykernel" in stored.versions else ("ipykernel",))),
            lock="",
        )
        own = {wheel.name: frozenset({f"sha256:{wheel.sha256}"}) for wheel in stored.wheels}
        built = await builds.build(spec, _allowed(await builds.lock(spec), own))
        name = f"coiled-{stored.name.lower()}"
        with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as top:
            folder = Path(top, name)
            folder.mkdir()
            argv = [built.interpreter, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            content = {
                "argv": argv,
                "display_name": f"{stored.name} (Coiled)",
                "language": "python",
                "metadata": {"debugger": True, "coiled_jupyter": {"software": stored.name}},
            }
            (folder / "kernel.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            if check is not None:
                await check(folder)
            await asyncio.to_thread(_register, str(folder), name)
        return name, Path(built.prefix)


def environment(stored: Stored) -> Environment:
    """Return a software environment as a reading, to be compared and synchronized like a kernel's."""
    packages = tuple(Package(name=name, version=version) for name, version in sorted(stored.versions.items()))
    told = "\n".join((stored.python, *stored.pins))
    return Environment(
        id=f"software:{stored.name}",
        role="kernel",
        host="",
        prefix="",
        python=stored.python,
        implementation="cpython",
        platform=stored.platform,
        packages=packages,
        problems=(),
        level="all",
        digest=hashlib.blake2b(told.encode(), digest_size=16).hexdigest(),
        nodes=("software",),
        taken_at=now(),
        content_at=stored.created_at,
    )


class Kernel(msgspec.Struct, frozen=True):
    """A Jupyter kernel of this user that runs in an environment of ours; `software` is what it was made of, if known."""

    name: str
    prefix: str
    software: str


def kernels() -> list[Kernel]:
    """Return the Jupyter kernels of this user that run in environments of ours."""
    from jupyter_core.paths import jupyter_data_dir

    home, found = f"{builds.home()}{os.sep}", []
    for path in Path(jupyter_data_dir(), "kernels").glob("*/kernel.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            told = json.loads(path.read_text(encoding="utf-8"))
            executable = str(told["argv"][0])
            if executable.startswith(home):
                prefix = home + Path(executable[len(home) :]).parts[0]
                software = told.get("metadata", {}).get("coiled_jupyter", {}).get("software", "")
                found.append(Kernel(path.parent.name, prefix, str(software)))
    return found


def _register(folder: str, name: str) -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    KernelSpecManager().install_kernel_spec(folder, name, user=True)


def _home() -> Path:
    folder = data_dir() / "environments"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _kept(wheel: local.Wheel) -> local.Wheel:
    """Return a wheel where it stays: what is built of local code is freed after a while."""
    folder = _home() / "wheels" / wheel.sha256[:32]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, staging = folder / Path(wheel.path).name, folder / f".{secrets.token_hex(6)}.new"
    shutil.copyfile(wheel.path, staging)
    staging.replace(path)
    os.utime(folder)
    return msgspec.structs.replace(wheel, path=str(path))


def _path(name: str) -> Path | None:
    return _home() / f"{name}.json" if _NAME.fullmatch(name) and len(name) <= 80 else None


def _unknown(name: str, known: Iterable[str]) -> NotFound:
    return NotFound(
        f"There is no software environment {name[:80]!r}{nearest(name, known)}", "See the list of software environments"
    )


def _platform() -> str:
    return sysconfig.get_platform()


def target(python: str) -> Target:
    """Return this machine as what packages are chosen for, with a Python of CPython's."""
    return Target(
        python=python,
        implementation="cpython",
        platform=sys.platform,
        machine=os.uname().machine,
        libc=uv.libc() or ("musl" if sys.platform == "linux" else ""),
    )


def _allowed(lock: str, hashes: Mapping[str, frozenset[str]]) -> str:
    """Return the lock with those files only that are allowed of a package; Impossible where the index has none of them."""
    if not hashes:
        return lock
    made: list[str] = []
    for entry in re.split(r"\n(?=\S)", lock.rstrip("\n")):
        head = _HEAD.match(entry)
        allowed = hashes.get(canonicalize_name(head[1])) if head else None
        if head is None or not allowed:
            made.append(entry)
            continue
        left = [found for found in _HASH.findall(entry) if found in allowed]
        if not left:
            raise Impossible(
                f"The index's files of {head[1]} aren't those whose hashes the file names",
                "Make the file again, or leave the hashes out if you trust the index",
            )
        first = entry.split("\n", 1)[0].rstrip("\\ ").rstrip()
        made.append(" \\\n".join([first, *(f"    --hash={found}" for found in left)]))
    return "\n".join(made) + "\n"


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


def _runs(prefix: Path) -> bool:
    """Whether a process of this user runs from a folder, as far as can be seen."""
    import psutil

    start = f"{prefix}{os.sep}"
    for process in psutil.process_iter(["cmdline"]):
        line: Sequence[str] = process.info["cmdline"] or ()
        if line and line[0].startswith(start):
            return True
    return False
