"""Compares what results depend on besides code: how Python was started, where it thinks it is, settings of Dask."""

from __future__ import annotations

from collections.abc import Sequence

from .. import rules as rulebook
from ..names import normal
from ..rules import Case, RuleSet
from ..wire import Environment, Row, RowGroup, RowSide, RowStatus, Severity
from .sentences import listed

HASH_SEED = "PYTHONHASHSEED"
PLATFORM = "platform"
NOT_SET = "not set"


def condition_rows(kernel: Environment, groups: Sequence[Environment], rules: RuleSet) -> list[Row]:
    """Return a row for each condition that was read of the kernel or of workers; a scheduler runs no tasks."""
    # Compiled code is another on each platform, the scheduler's too.
    every = [group for group in groups if group.platform]
    rows = [_row(PLATFORM, kernel, every, rules)] if kernel.platform and every else []
    workers = [group for group in groups if group.role == "worker" and group.conditions]
    if kernel.conditions and workers:
        names = set(kernel.conditions).union(*(worker.conditions for worker in workers))
        rows += [_row(name, kernel, workers, rules) for name in sorted(names)]
    return rows


def _row(name: str, kernel: Environment, workers: Sequence[Environment], rules: RuleSet) -> Row:
    mine = _value(kernel, name)
    theirs = [_value(worker, name) for worker in workers]
    status: RowStatus = "same"
    if name == HASH_SEED:
        status = _seeds(workers, theirs)
    elif len(set(theirs)) > 1:
        status = "split"
    elif theirs[0] != mine:
        status = "differs"
    severity: Severity = "same"
    why = fix = ""
    if status != "same":
        spec = rules.rule(Case(name=normal(name), status=status, kernel=mine, cluster=theirs[0], kind="condition"))
        values = {"name": name, "kernel": mine, "cluster": listed(dict.fromkeys(theirs)), "where": "the workers"}
        severity, why, fix = spec.severity, rulebook.words(spec.why, values), rulebook.words(spec.fix, values)
    severity, why, fix = rules.decided(name, status, severity, why, fix)
    return Row(
        name=name,
        kernel=RowSide(version=mine),
        groups=tuple(RowGroup(group=worker.id, version=value) for worker, value in zip(workers, theirs, strict=True)),
        software=None,
        status=status,
        severity=severity,
        use="",
        needed_by="",
        why=why,
        fix=fix,
        condition=True,
    )


def _seeds(workers: Sequence[Environment], theirs: Sequence[str]) -> RowStatus:
    """Return how workers differ in the seed of hash(); the notebook's doesn't matter to tasks."""
    nodes = sum(len(worker.nodes) for worker in workers)
    if nodes == 1 or (len(set(theirs)) == 1 and "random" not in theirs):
        return "same"
    # Of two processes with a random seed each has its own; workers of one host may be one process.
    return "split" if len(set(theirs)) > 1 or len({worker.host for worker in workers}) > 1 else "differs"


def _value(environment: Environment, name: str) -> str:
    return environment.platform if name == PLATFORM else environment.conditions.get(name, NOT_SET)
