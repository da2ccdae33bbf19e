"""Gathers the inputs of a plan: the cluster, its environments and processes, and the packages that it is to have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from ...configuration import Configuration
from ...core.change.actions import content_unknown
from ...core.change.state import BASE, State
from ...core.change.survey import Survey, SurveyPlace
from ...core.compare.diff import compare
from ...core.groups import Readings, modules
from ...core.rules import RuleSet
from ...core.times import now
from ...core.wire import Cluster, Diff, Environment, PlanCreate
from ...software.index import Index
from ...software.index import parse as parse_index

CONTENT_SECONDS = 10.0
"""Seconds that a plan waits for the files of local code on the workers to be read."""


class Source(Struct, frozen=True):
    """The environment that a cluster is to match, and its Python if that is on this machine."""

    environment: Environment
    executable: str = ""


class ClusterReader(Protocol):
    """What a plan needs of a cluster's supervisor."""

    async def environments(self, wanted: tuple[str, ...] = ()) -> Readings:
        """Return the readings of all nodes; `wanted` are import names of code beside the notebook, to look for there."""

    async def survey(self) -> Survey:
        """Return the survey of the cluster's processes."""


class PlanInputs(Struct, frozen=True, kw_only=True):
    """The inputs of a plan, just read, and the request.

    Attributes
    ----------
    kernel, executable
        The environment to match, and its Python if that is on this machine.
    states
        Earlier states of the cluster.

    """

    configuration: Configuration
    body: PlanCreate
    cluster: Cluster
    kernel: Environment
    executable: str
    readings: Readings
    survey: Survey
    diff: Diff
    states: Sequence[State]
    rules: RuleSet

    @property
    def managed(self) -> bool:
        """Whether the supervisor can restart the whole cluster."""
        return self.cluster.source == "managed"

    @property
    def workers(self) -> list[Environment]:
        """The environments of the workers, by group."""
        return [e for e in self.readings.environments if e.role == "worker"]

    @property
    def scheduler(self) -> Environment | None:
        """The environment of the scheduler."""
        return next((e for e in self.readings.environments if e.role == "scheduler"), None)

    @property
    def groups(self) -> dict[str, str]:
        """The group of each worker, by address."""
        return {node: environment.id for environment in self.workers for node in environment.nodes}

    @property
    def places(self) -> dict[str, SurveyPlace]:
        """The places of the cluster by their keys."""
        return {place.key: place for place in self.survey.places}

    @property
    def state(self) -> str:
        """The id of the state that the cluster is in."""
        return self.cluster.environment.layer or BASE

    @property
    def index(self) -> Index:
        """The indexes that packages come from."""
        return parse_index(self.configuration.index_options)


async def gather(
    configuration: Configuration,
    body: PlanCreate,
    cluster: Cluster,
    reader: ClusterReader,
    source: Awaitable[Source],
    states: Sequence[State],
    rules: RuleSet,
) -> PlanInputs:
    """Read the inputs of the requested plan; raises as `source` does, and Unavailable or Timeout of `reader`."""
    found, survey = await asyncio.gather(source, reader.survey())
    readings = await _readings(found.environment, reader)
    kernel_id = body.source.kernel if body.source and body.source.kernel else body.kernel
    return PlanInputs(
        configuration=configuration,
        body=body,
        cluster=cluster,
        kernel=found.environment,
        executable=found.executable,
        readings=readings,
        survey=survey,
        diff=compared(cluster, found.environment, readings, rules, kernel_id),
        states=states,
        rules=rules,
    )


def compared(
    cluster: Cluster, environment: Environment, readings: Readings, rules: RuleSet, kernel_id: str | None = None
) -> Diff:
    """Return the diff on which a plan is based: of packages, for a sync changes no other condition."""
    made = compare(
        environment,
        readings.environments,
        cluster_id=cluster.id,
        cluster_name=cluster.name,
        kernel_id=kernel_id,
        kernel_label="",
        unread=readings.unread,
        at=now(),
        rules=rules,
    )
    return replace(made, rows=tuple(row for row in made.rows if not row.condition))


async def _readings(kernel: Environment, reader: ClusterReader) -> Readings:
    """Return the readings of a cluster, with the files of local code if those matter and are read in time."""
    deadline = time.monotonic() + CONTENT_SECONDS
    while True:
        readings = await reader.environments(modules(kernel))
        if not content_unknown(kernel, readings.environments) or time.monotonic() > deadline:
            return readings
        await asyncio.sleep(0.2)
