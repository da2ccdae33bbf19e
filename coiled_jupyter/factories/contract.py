"""What a kind of cluster declares, in this package, in another one, or in an administrator's configuration.

A kind is an `Entry`: its options, and a function that turns a request into the class that starts such clusters, with its
arguments. The class has the interface of ``distributed.deploy.Cluster`` and runs in a process of its own, in the Python
that was chosen for the cluster (`texts.cluster_host`). An entry is read by the Jupyter server, so its module imports
neither Dask nor what the class needs.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from ..core.errors import Invalid
from ..core.launch import ClusterClass
from ..core.wire import Adaptive, Factory, Option

Value = str | int | float | bool | None

WORD = r"(?!-)[A-Za-z0-9_.:/@%+=,-]*"
"""What a text may be where nothing else is declared: no shell, job script or template takes it for more than a word."""
TEXT_LIMIT = 2000
_TYPES: dict[str, tuple[type, ...]] = {"boolean": (bool,), "integer": (int,), "number": (int, float), "string": (str,)}


class Wanted(Struct, frozen=True, kw_only=True):
    """A request, checked.

    Attributes
    ----------
    id
        Eight letters and digits that no other cluster has.
    threads_per_worker, memory_limit
        None where the request doesn't say; memory is in bytes.
    options
        All declared options, with their defaults.
    logs
        A folder of this cluster on a disk that other machines may share.

    """

    id: str
    workers: int
    threads_per_worker: int | None
    memory_limit: int | None
    options: Mapping[str, Value]
    logs: str = ""


class Entry(Struct, frozen=True, kw_only=True):
    """A kind of cluster.

    Attributes
    ----------
    takes
        The fields of a request that `make` follows: ``threads_per_worker``, ``memory_limit``, ``environ``.
    requires
        The distributions that have the class.
    commands
        Commands of the platform, without which it is of no use on a machine.
    make
        Returns the class and its arguments; None: the supervisor starts scheduler and nannies on this machine itself.
    hosts
        The options that name machines to connect to: these are checked like an address that is attached.
    given
        Arguments of an administrator, which come before those that `make` returns.
    counted
        Whether its cores count for this user's limit; false where the platform has a limit of its own.
    workers, adaptive
        How many workers it starts with, and between which bounds it adapts, where a request doesn't say.
    asks
        What is made, in the cluster's Python, to ask a platform that declares options by itself and tells of the user's
        clusters; None where there is nothing to ask.
    connecting
        The arguments that say where such a platform is; those of the administrator go to what `asks` makes too.
    reserved
        The arguments that are no options, even if a platform declares some of their names.
    login
        Prefixes of the Jupyter server's own variables that the class logs in with, as at a gateway beside a hub; the
        classes of others don't get them.

    """

    name: str
    title: str
    description: str
    options: dict[str, Option] = field(default_factory=dict)
    takes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    make: Callable[[Wanted], ClusterClass] | None = None
    hosts: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)
    counted: bool = True
    workers: int = 2
    adaptive: Adaptive | None = None
    asks: ClusterClass | None = None
    connecting: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    login: tuple[str, ...] = ()

    def described(self, missing: tuple[str, ...] = ()) -> Factory:
        """Return what a page needs to know of it; `missing` are the required distributions that aren't there."""
        return Factory(
            name=self.name,
            title=self.title,
            description=self.description,
            options=self.options,
            takes=self.takes,
            requires=self.requires,
            missing=missing,
            absent=tuple(command for command in self.commands if shutil.which(command) is None),
            workers=self.workers,
            asks=self.asks is not None,
        )

    def checked(self, options: Mapping[str, Value], declared: Mapping[str, Option] | None = None) -> dict[str, Value]:
        """Return the options with defaults filled in; Invalid names the first that isn't declared or has a wrong value.

        `declared` are those of the platform, which has their defaults.
        """
        known = {**(declared or {}), **self.options}
        for name, value in options.items():
            if name not in known or name in self.reserved:
                names = ", ".join(known) or "none"
                raise Invalid(f"options.{name}", f"{self.name} clusters have no option {name[:80]}; they have: {names}")
            if value is not None:
                _check(name, value, known[name])
        filled: dict[str, Value] = {name: value for name, value in options.items() if value is not None}
        filled |= {name: one.default for name, one in self.options.items() if name not in filled}
        for name, option in self.options.items():
            if option.required and filled[name] in (None, ""):
                raise Invalid(f"options.{name}", f"{self.title} clusters need {name}: {option.description}")
        return filled

    def cluster_class(self, wanted: Wanted) -> ClusterClass | None:
        """Return the class and its arguments, with those of the administrator; None for a local cluster."""
        if self.make is None:
            return None
        made = self.make(wanted)
        given = self.given if not made.joined else self.connected
        return msgspec.structs.replace(
            made,
            kwargs=merged(made.kwargs, given),
            requires=self.requires or made.requires,
            counted=self.counted and made.counted,
            encrypted=made.encrypted and "security" not in self.given,
        )

    @property
    def credentials(self) -> dict[str, str]:
        """The variables of this process that the class logs in with."""
        return {name: value for name, value in os.environ.items() if name.startswith(self.login)}

    @property
    def connected(self) -> dict[str, Any]:
        """The administrator's arguments that say where the platform is."""
        return {name: value for name, value in self.given.items() if name in self.connecting}

    @property
    def question(self) -> ClusterClass | None:
        """What is made to ask the platform, with the administrator's arguments; None where there is nothing to ask."""
        return self.asks and msgspec.structs.replace(self.asks, kwargs=self.connected, requires=self.requires)


def _check(name: str, value: Value, option: Option) -> None:
    field_name = f"options.{name}"
    allowed = isinstance(value, _TYPES[option.type]) and (option.type == "boolean" or not isinstance(value, bool))
    if not allowed:
        article = "an" if option.type[0] in "aeiou" else "a"
        raise Invalid(field_name, f"{name} must be {article} {option.type}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = option.minimum, option.maximum
        if (low is not None and value < low) or (high is not None and not value <= high):
            bounds = [
                f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
            ]
            raise Invalid(field_name, f"{name} must be {' and '.join(bounds)}")
    if isinstance(value, str):
        if option.choices and value not in option.choices:
            raise Invalid(field_name, f"{name} must be one of {', '.join(option.choices)}")
        if len(value) > TEXT_LIMIT or not re.fullmatch(option.pattern or WORD, value):
            raise Invalid(field_name, f"{name} has characters that it can't have: {option.description}")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, level by level; what is in `above` counts."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found
