"""The table of the kinds of clusters: built in, of other packages, of the administrator, and of Dask's configuration.

Nothing that comes by REST can add to it.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from ..configuration import ConfiguredFactory
from ..core.errors import Invalid
from ..core.launch import ClusterClass
from ..core.wire import Factory, Option
from . import dask_labextension, gateway, jobqueue, services, ssh
from .contract import Entry, Wanted

GROUP = "coiled_jupyter.factories"
"""The group of entry points; each names an `Entry`, or a function that returns one."""
LOCAL = Entry(
    name="local",
    title="This machine",
    description="Scheduler and workers on this machine, each in a process of its own, over TLS on loopback",
    options={
        "dashboard": Option(
            type="boolean",
            description="Dask's own dashboard, on loopback, where the cluster has bokeh; every user of this machine can "
            "open it. By default as the administrator has set it",
        )
    },
    takes=("threads_per_worker", "memory_limit", "environ"),
)
_log = logging.getLogger(__name__)


class Table:
    """All kinds of clusters, by name.

    Parameters
    ----------
    configured
        Those of the administrator.

    """

    def __init__(self, configured: Mapping[str, ConfiguredFactory] | None = None) -> None:
        self._configured = configured or {}

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        entries = {
            entry.name: entry for entry in (LOCAL, ssh.ENTRY, *jobqueue.ENTRIES, gateway.ENTRY, *services.ENTRIES)
        }
        entries |= {entry.name: entry for entry in _found() if entry.name not in entries}
        of_dask = dask_labextension.entry()
        if of_dask is not None:
            entries[of_dask.name] = of_dask
        for name, configured in self._configured.items():
            made = _made(name, configured, entries)
            if made is not None:
                entries[name] = made
        return entries

    def describe(self) -> tuple[Factory, ...]:
        """Return all kinds as a page needs them."""
        return tuple(entry.described(missing(entry.requires)) for entry in self._entries.values())

    def entry(self, name: str) -> Entry:
        """Return one kind, or raise Invalid."""
        found = self._entries.get(name)
        if found is None:
            raise Invalid("factory", f"There is no cluster factory {name[:80]}", "See the factories of GET about")
        return found


def missing(requires: Iterable[str]) -> tuple[str, ...]:
    """Return which of these distributions aren't beside this package."""
    lacking = []
    for name in requires:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    return tuple(lacking)


def _found() -> list[Entry]:
    """Return the entries of other packages; one that can't be imported is left out, with a line in the log."""
    entries = []
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            loaded = point.load()
            entry = loaded if isinstance(loaded, Entry) else loaded()
            if not isinstance(entry, Entry):
                raise TypeError(f"it is a {type(entry).__name__}, not an Entry")
        except Exception as error:  # noqa: BLE001 - the code is another package's
            _log.warning("the cluster factory %s can't be used: %s: %s", point.name, type(error).__name__, error)
        else:
            entries.append(entry)
    return entries


def _made(name: str, configured: ConfiguredFactory, known: Mapping[str, Entry]) -> Entry | None:
    """Return an administrator's entry; None, with a line in the log, where it is neither like another nor a class."""
    base = known.get(configured.like)
    if base is not None and base.make is not None:
        return msgspec.structs.replace(
            base,
            name=name,
            title=configured.title or name,
            description=configured.description or base.description,
            options={key: option for key, option in base.options.items() if key not in configured.kwargs},
            given=configured.kwargs,
            counted=configured.counted,
            workers=configured.workers,
        )
    module, colon, cls = configured.cluster_class.partition(":")
    if configured.like or not colon:
        _log.warning("the cluster factory %s needs `like` with another's name, or `class` as module:Class", name)
        return None

    def make(wanted: Wanted) -> ClusterClass:
        chosen = {key: value for key, value in wanted.options.items() if value is not None}
        return ClusterClass(
            module=module,
            name=cls,
            args=configured.args,
            kwargs=chosen,
            adapts=configured.adapts,
        )

    return Entry(
        name=name,
        title=configured.title or name,
        description=configured.description or f"{cls} of {module}",
        options=configured.options,
        requires=configured.requires,
        make=make,
        given=configured.kwargs,
        counted=configured.counted,
        workers=configured.workers,
    )
