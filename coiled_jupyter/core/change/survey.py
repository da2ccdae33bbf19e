"""What a plan has to know of a cluster: where its processes run, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

_Text = Annotated[str, Meta(max_length=4096)]
_Count = Annotated[int, Meta(ge=0)]


class SurveyProcess(Struct, frozen=True, kw_only=True):
    """One process: where it runs, by the host's own name and its number there."""

    host: _Text
    pid: int


class SurveyWorker(Struct, frozen=True, kw_only=True):
    """One worker, by the accounts of its scheduler and its nanny.

    Attributes
    ----------
    nanny
        The nanny's address, or None where nothing could restart the worker.
    nanny_process
        None where the nanny didn't answer.
    place
        The key of the `SurveyPlace` that it runs from, or None where that isn't known.
    alone, memory, memory_limit
        Bytes that only this worker holds, that its process uses, and that it may use (None: no limit).
    futures, scattered, running, actors
        Results that somebody still wants, values without a task that could make them again, tasks that execute, actors;
        of the first two only those that lie nowhere else.
    seceded, shuffles
        Tasks that execute outside of the worker's threads, as with ``worker_client``; active p2p shuffles in which it
        takes part.

    """

    address: _Text
    name: _Text
    nanny: _Text | None
    nanny_process: SurveyProcess | None = None
    place: _Text | None = None
    alone: _Count = 0
    memory: _Count = 0
    memory_limit: _Count | None = None
    futures: _Count = 0
    scattered: _Count = 0
    running: _Count = 0
    actors: _Count = 0
    seceded: _Count = 0
    shuffles: _Count = 0


class SurveyPlace(Struct, frozen=True, kw_only=True):
    """One base environment on one host, as one of its nannies describes it.

    Attributes
    ----------
    key
        ``host`` and ``prefix`` of the base environment (never of a layer), joined by a NUL.
    speaker
        Address of the nanny that describes it and does the work there.
    python, implementation, platform, machine, libc
        Such as ``3.10.13``, ``cpython``, ``linux``, ``x86_64``, ``glibc 2.36``.
    executable
        The Python that a layer is made on: the base environment's own.
    uv
        The path of a uv on the node, or None.
    home
        The folder in which layers are built, or None where none can be written; `free` bytes are free there.
    layers
        Ids of the layers that are complete there, with their bytes.
    layer
        The id of the layer that its nannies start workers in, or None for the base.
    fetches
        Whether its installer reaches the package index; None where that couldn't be told.

    """

    key: _Text
    host: _Text
    prefix: _Text
    speaker: _Text
    python: _Text
    implementation: _Text
    platform: _Text
    machine: _Text
    libc: _Text
    executable: _Text
    uv: _Text | None = None
    pip: bool = False
    home: _Text | None = None
    free: _Count | None = None
    layers: dict[_Text, _Count] = {}
    layer: _Text | None = None
    fetches: bool | None = True


class IndexQuestion(Struct, frozen=True, kw_only=True):
    """The package index that nodes are asked whether they reach.

    Attributes
    ----------
    environ, options
        Of the installer, as for a layer, without credentials.
    private
        Whether an index asks for credentials.
    public
        `environ` without the indexes that do; None where packages come from those only.

    """

    environ: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    private: bool = False
    public: Mapping[str, str] | None = None


class Survey(Struct, frozen=True, kw_only=True):
    """One look at a whole cluster.

    Attributes
    ----------
    reasons
        By address, why a nanny doesn't answer, or can't use a layer.
    starting
        Nannies, seen before, whose next worker hasn't registered at the scheduler yet.
    installers
        Names of the plugins that install packages where a worker starts, and whether nannies run them.
    needs
        By worker, the normalized names of the distributions that its values need where they are unpickled, as far as that
        could be seen in the time that there was.

    """

    scheduler: SurveyProcess | None
    workers: tuple[SurveyWorker, ...]
    places: tuple[SurveyPlace, ...]
    encrypted: bool
    reasons: dict[str, str] = {}
    starting: tuple[_Text, ...] = ()
    installers: dict[_Text, bool] = {}
    needs: dict[str, tuple[_Text, ...]] = {}


def installs(installers: Mapping[str, bool]) -> str:
    """Say which plugins change what starting workers have, and how each is taken away; "" without any."""
    said = [
        f"The plugin {name} installs packages where a worker starts, whatever a sync gives it: "
        f"client.unregister_worker_plugin({name!r}{', nanny=True' if nannies else ''}) ends that."
        for name, nannies in list(installers.items())[:3]
    ]
    return " ".join(said)
