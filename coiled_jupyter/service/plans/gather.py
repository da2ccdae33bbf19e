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
from ...core.change.durations import ROUGH, Durations
from ...core.change.goals import scope_names
from ...core.change.state import BASE, State
from ...core.change.survey import IndexQuestion, Survey, SurveyPlace
from ...core.compare.diff import compare
from ...core.groups import Readings, modules
from ...core.launch import on_this_machine
from ...core.rules import RuleSet
from ...core.times import now
from ...core.wire import Cluster, Diff, Environment, PlanCreate
from ...software.index import Index
from ...software.index import parse as parse_index

CONTENT_SECONDS = 10.0
"""Seconds that a plan waits for the files of local code on the workers to be read."""


class Source(Struct, frozen=True):
    """The environment that a cluster is to match, and its Python if that is on this machine.

    `notebook` is whether a notebook runs in it, so that it is known what of it matters.
    """

    environment: Environment
    executable: str = ""
    notebook: bool = True


class ClusterReader(Protocol):
    """What a plan needs of a cluster's supervisor."""

    async def environments(self, wanted: tuple[str, ...] = ()) -> Readings:
        """Return the readings of all nodes; `wanted` are import names of code beside the notebook, to look for there."""

    async def survey(self, question: IndexQuestion | None = None) -> Survey:
        """Return the survey of the cluster's processes; with a question, each place is asked whether it reaches the index."""


class PlanInputs(Struct, frozen=True, kw_only=True):
    """The inputs of a plan, just read, and the request.

    Attributes
    ----------
    kernel, executable
        The environment to match, and its Python if that is on this machine.
    states
        Earlier states of the cluster.
    durations
        How long the steps of syncs took here.

    """

    configuration: Configuration
    body: PlanCreate
    cluster: Cluster
    kernel: Environment
    executable: str
    notebook: bool = True
    readings: Readings
    survey: Survey
    diff: Diff
    states: Sequence[State]
    rules: RuleSet
    durations: Durations = ROUGH

    @property
    def managed(self) -> bool:
        """Whether the supervisor can restart the whole cluster."""
        return on_this_machine(self.cluster)

    @property
    def names(self) -> frozenset[str] | None:
        """The names of the requested scope, None for all; Invalid where it names a package that neither side has."""
        scope = self.body.scope
        # Without a notebook nothing says what matters.
        return scope_names("all" if scope == "notebook" and not self.notebook else scope, self.diff.rows)

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
    durations: Durations = ROUGH,
) -> PlanInputs:
    """Read the inputs of the requested plan; raises as `source` does, and Unavailable or Timeout of `reader`."""
    question = parse_index(configuration.index_options).question
    found, survey = await asyncio.gather(source, reader.survey(question))
    readings = await _readings(found.environment, reader)
    kernel_id = body.source.kernel if body.source and body.source.kernel else body.kernel
    return PlanInputs(
        configuration=configuration,
        body=body,
        cluster=cluster,
        kernel=found.environment,
        executable=found.executable,
        notebook=found.notebook,
        readings=readings,
        survey=survey,
        diff=compared(cluster, found.environment, readings, rules, kernel_id),
        states=states,
        rules=rules,
        durations=durations,
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
        scheduler=cluster.scheduler.id if cluster.scheduler else None,
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
