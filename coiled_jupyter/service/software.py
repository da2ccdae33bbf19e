"""The software environments of this user: their packages, their users, and the creation of new ones."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from ..configuration import Configuration
from ..core.errors import Conflict, Invalid, NotFound, Unavailable
from ..core.reading import Reading
from ..core.wire import (
    Cluster,
    LeftOut,
    Software,
    SoftwareCreate,
    SoftwareExport,
    SoftwareFreed,
    SoftwareInstalled,
)
from ..ledger import AsyncLedger
from ..links import this_process
from ..software import requirements as requirement_lines
from ..software.named import cleaning, export, files, kernels, locking
from ..software.named.store import NamedEnvironments
from .requests import check_one, pins


class Clusters(Protocol):
    """The clusters that may run software environments."""

    def live(self) -> list[Cluster]:
        """Return the clusters that haven't ended."""


class SoftwareEnvironments:
    """Named, locked sets of packages, and their builds.

    Parameters
    ----------
    read
        Returns the reading of a kernel, or raises CoiledError.
    conda_names
        Returns conda's names of distributions.

    """

    def __init__(
        self,
        configuration: Configuration,
        ledger: AsyncLedger,
        store: NamedEnvironments,
        clusters: Clusters,
        *,
        read: Callable[[str], Awaitable[Reading]],
        conda_names: Callable[[], Mapping[str, str | None]],
    ) -> None:
        self._configuration, self._ledger, self._store, self._clusters = configuration, ledger, store, clusters
        self._read, self._conda_names = read, conda_names

    async def all(self) -> list[Software]:
        """Return the software environments by name, without their packages."""
        users = self._users()
        return await asyncio.to_thread(self._described, users)

    async def get(self, name: str) -> Software:
        """Return one software environment, or raise NotFound."""
        users = self._users()
        return await asyncio.to_thread(lambda: self._describe(name, users, packages=True))

    def _users(self) -> dict[str, str]:
        """Return the software environment or prefix of each cluster, by the cluster's name."""
        return {c.name: c.environment.software or c.environment.prefix or "" for c in self._clusters.live()}

    def _describe(self, name: str, users: Mapping[str, str], *, packages: bool) -> Software:
        own = {f"kernel {kernel.name}": kernel.software or kernel.prefix for kernel in kernels.kernels()}
        return self._store.describe(self._store.get(name), {**users, **own}, packages=packages)

    def _described(self, users: Mapping[str, str]) -> list[Software]:
        found = []
        for name in self._store.names():
            # A damaged environment doesn't hide the others; reading it by name shows the error.
            with contextlib.suppress(NotFound, Unavailable):
                found.append(self._describe(name, users, packages=False))
        return found

    async def create(self, body: SoftwareCreate) -> Software:
        """Lock packages and keep them under a name; nothing is installed.

        Without a kernel, requirements or a file, those of this interpreter.

        Raises
        ------
        Invalid
            A field is wrong, or the file has something that isn't allowed.
        Conflict
            The name is taken.
        Impossible
            It can't be resolved; the message has the resolver's reason.

        """
        check_one(body, "kernel", "requirements", "file")
        stored = await locking.create(self._store, body.name, await self._request(body), replace=body.replace)
        return await self.get(stored.name)

    async def _request(self, body: SoftwareCreate) -> locking.LockRequest:
        if body.requirements is not None or body.file is not None:
            return await self._from_lines(body)
        if body.python is not None:
            raise Invalid("python", "A Python version goes with requirements or a file only")
        reading = await self._read(body.kernel) if body.kernel else (await asyncio.to_thread(this_process.read))[0]
        return locking.LockRequest(
            source="kernel",
            python=reading.python,
            interpreter=reading.executable,
            preferred=pins(reading),
            left_out=tuple(
                LeftOut(name=package.name, why="It isn't from an index, so nobody else could install it.")
                for package in reading.packages
                if package.source is not None and package.source.kind != "module"
            ),
        )

    async def _from_lines(self, body: SoftwareCreate) -> locking.LockRequest:
        own = ".".join(map(str, sys.version_info[:3]))
        # A minor version, without a patch release, means this Python if it has that version.
        python = own if body.python is None or f"{own}.".startswith(f"{body.python}.") else body.python
        if body.file is None:
            source, found = "requirements", files.Parsed(lines=requirement_lines.check(body.requirements or ()))
        else:
            source = Path(body.file.name).name
            found = await asyncio.to_thread(
                files.parse,
                body.file.name,
                body.file.text,
                python,
                self._conda_names(),
                allowed=self._configuration.allowed_in_files,
            )
        if body.python is None and found.python is not None and not f"{own}.".startswith(f"{found.python}."):
            python = found.python
        return locking.LockRequest(
            source=source,
            python=python,
            interpreter=sys.executable if python == own else None,
            required=found.lines,
            pythons=found.pythons,
            hashes=found.hashes,
            doubtful=found.doubtful,
            left_out=found.left_out,
            references=found.references,
            options=found.options,
        )

    async def delete(self, name: str) -> None:
        """Delete a software environment; Conflict if a cluster runs it."""
        users = [cluster.name for cluster in self._clusters.live() if cluster.environment.software == name]
        if users:
            raise Conflict(f"The software environment {name} is in use by {', '.join(users)}", "Stop it first")
        await asyncio.to_thread(self._store.delete, name)

    def export(self, name: str, form: str | None) -> SoftwareExport:
        """Return a software environment as a file: ``pylock`` (PEP 751), ``requirements`` or ``environment``."""
        stored = self._store.get(name)
        try:
            return export.as_file(stored, msgspec.convert(form or "pylock", export.Format))
        except msgspec.ValidationError:
            raise Invalid("format", "The format is pylock, requirements or environment") from None

    async def install(self, name: str) -> SoftwareInstalled:
        """Build a software environment here, and install a Jupyter kernel for it."""
        kernel, folder = await kernels.install(self._store, self._store.get(name))
        return SoftwareInstalled(kernel=kernel, prefix=str(folder))

    async def clean(self) -> SoftwareFreed:
        """Remove builds of software environments that nothing uses."""
        kept = {cluster.environment.prefix for cluster in self._clusters.live() if cluster.environment.prefix}
        states = await self._ledger.ask(lambda held: held.journal.states())
        kept |= {str(Path(state.interpreter).parent.parent) for state in states if state.interpreter}
        kept |= {kernel.prefix for kernel in kernels.kernels()}
        return await asyncio.to_thread(cleaning.clean, self._store, kept)
