"""Keeps software environments under their names: one file each in the data folder, since they outlive every process.

What is built of them is shared by (`software.build`). Nothing is built before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from ...configuration import Configuration
from ...core.choice import nearest
from ...core.errors import Conflict, Impossible, Invalid, NotFound, Unavailable
from ...core.launch import BuildSpec
from ...core.times import now
from ...core.wire import Environment, LeftOut, Package, Software, SoftwarePackage
from ...paths import data_dir, write, writing
from .. import build, local
from .. import index as indexes

FILE_LIMIT = 16 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A software environment on disk.

    Attributes
    ----------
    python
        The version that the packages were chosen for, such as ``3.11.7`` or ``3.12``.
    interpreter
        The path of that Python on the machine where the environment was locked; None: any that uv finds.
    platform
        As `sysconfig.get_platform` returns it; on another platform it is locked again from its pins.
    lock, pylock
        Requirement lines with hashes, and the same by PEP 751.
    wheels
        Files on this machine that the lock names, for packages that come from no index.
    options
        Index options of the file that it was made from, in addition to those of the configuration.

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


class NamedEnvironments:
    """The software environments of this user, under the settings of an administrator."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration

    def names(self) -> list[str]:
        """Return all names, in order."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.stem for path in home().glob("*.json") if _NAME.fullmatch(path.stem))
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
        """Return one as the REST API shows it.

        Parameters
        ----------
        users
            ``{label: prefix or name}`` of what runs now: the folder that it runs from, or the name of the software environment.

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

    def built(self, stored: Stored) -> build.Built | None:
        """Return its build on this machine, or None."""
        return build.find(self.build_spec(stored)) if stored.platform == platform() else None

    def build_spec(self, stored: Stored) -> BuildSpec:
        """Return the specification that builds it here; without the lock if that was made for other machines."""
        interpreter = stored.interpreter if stored.interpreter and os.access(stored.interpreter, os.X_OK) else None
        settings = self.configuration
        if stored.wheels and stored.platform != platform():
            raise Impossible(f"{stored.name} names files of another machine", "Create it again here, from its file")
        return BuildSpec(
            requirements=stored.pins,
            python=interpreter or stored.python,
            index_options=(*settings.index_options, *stored.options),
            allow_source_builds=settings.allow_source_builds,
            lock=stored.lock if stored.platform == platform() else "",
            links=tuple(str(Path(wheel.path).parent) for wheel in stored.wheels),
        )

    def index(self, options: Sequence[str]) -> indexes.Index:
        """Return the package indexes: those of the configuration, and those that a file's options add."""
        try:
            return indexes.parse((*self.configuration.index_options, *options))
        except Unavailable as error:
            if not options:
                raise
            raise Invalid(
                "file.text", f"The options of the file and of the configuration conflict: {error.message}"
            ) from None

    def check_free(self, name: str, *, replace: bool) -> None:
        """Raise Conflict where there is one of this name, and it isn't to be replaced."""
        # Some file systems ignore case.
        same = [known for known in self.names() if known.lower() == name.lower()]
        if same and (not replace or same != [name]):
            raise Conflict(
                f"A software environment {same[0]} exists already", "Choose another name, or replace that one"
            )

    def keep(self, stored: Stored, *, replace: bool = False) -> None:
        """Save what was locked under its name; Conflict if the name is taken."""
        self.check_free(stored.name, replace=replace)
        path = _path(stored.name)
        if path is None:
            raise Invalid("name", "A name may have letters, digits, dots, dashes and underscores only")
        if not write(path, msgspec.json.encode(stored), exclusive=not replace):
            raise Conflict(f"A software environment {stored.name} exists already")

    def delete(self, name: str) -> None:
        """Delete one; its build stays until `clean`."""
        path = _path(name)
        if path is None or not path.exists():
            raise _unknown(name, self.names())
        with writing(path.parent):
            path.unlink(missing_ok=True)


def environment(stored: Stored) -> Environment:
    """Return a software environment as a reading, so that it can be compared and synced like a kernel's."""
    packages = tuple(Package(name=name, version=version) for name, version in sorted(stored.versions.items()))
    content = "\n".join((stored.python, *stored.pins))
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
        digest=hashlib.blake2b(content.encode(), digest_size=16).hexdigest(),
        nodes=("software",),
        taken_at=now(),
        content_at=stored.created_at,
    )


def home() -> Path:
    """Return the folder of the files."""
    return data_dir("environments")


def keep_wheel(wheel: local.Wheel) -> local.Wheel:
    """Copy a wheel to where it stays: wheels of local code are removed after a while."""
    folder = home() / "wheels" / wheel.sha256[:32]
    path = folder / Path(wheel.path).name
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(path, Path(wheel.path).read_bytes())
        os.utime(folder)
    return msgspec.structs.replace(wheel, path=str(path))


def platform() -> str:
    """Return what locks are made for, as `sysconfig` names this machine."""
    return sysconfig.get_platform()


def _path(name: str) -> Path | None:
    return home() / f"{name}.json" if _NAME.fullmatch(name) and len(name) <= 80 else None


def _unknown(name: str, known: Iterable[str]) -> NotFound:
    return NotFound(
        f"There is no software environment {name[:80]!r}{nearest(name, known)}", "See the list of software environments"
    )
