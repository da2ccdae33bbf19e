"""Decides what a plan does to each package of each group, and what stays different and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace
from packaging.version import InvalidVersion, Version

from ..compare.diff import compare
from ..compare.packages import running
from ..rules import RuleSet, equal_versions, minor
from ..wire import ActionCause, ActionKind, Environment, Package, PlanAction, Row
from .afterwards import extended
from .goals import Available, Goal, KernelGoal, refusal, travels
from .reasons import reason

_ABSENT = "The notebook doesn't have it."
_UNNEEDED = "Nothing in the new environment needs it."
_UNFIT = "So it can't stay."
_REQUIRED = "Another package needs this version."
_REPLACED = "Its installation on the cluster is replaced."


def actions(
    kernel: Environment, groups: Iterable[Environment], goal: Goal, available: Available, rows: Sequence[Row]
) -> tuple[PlanAction, ...]:
    """Return what happens to each package of the groups that move to a layer with what is `available`."""
    rated = {row.name: row for row in rows}
    mine = {package.name: package for package in kernel.packages}
    done: list[PlanAction] = []
    for group in groups:
        before = {package.name: package for package in group.packages if travels(package)}
        names = {*before, *available.versions, *available.refused, *goal.local, *goal.doubtful}
        for name in sorted(names):
            action = _action(name, group, before.get(name), mine, goal, available, rated)
            if action is not None:
                done.append(action)
    return tuple(done)


def _action(
    name: str,
    group: Environment,
    present: Package | None,
    mine: Mapping[str, Package],
    goal: Goal,
    available: Available,
    rated: Mapping[str, Row],
) -> PlanAction | None:
    before, after = present.version if present else None, available.versions.get(name)
    why = rated[name].why if name in rated else ""

    def act(kind: ActionKind, reason: str, cause: ActionCause = "told") -> PlanAction:
        return PlanAction(kind=kind, name=name, before=before, after=after, group=group.id, why=reason, cause=cause)

    if name in goal.doubtful:
        return refusal(name, group.id, goal.doubtful[name], before)
    if name in available.refused and name in goal.chosen:
        short = reason(name, available.refused[name])
        if before is None or after == before:
            wanted = mine[name].version if name in mine else None
            made = refusal(name, group.id, short.text, before, wanted)
        elif after is None:
            made = act("remove", f"{short.text} {_UNFIT}", "unfit")
        else:
            made = act("upgrade" if newer(after, before) else "downgrade", f"{short.text} {_REQUIRED}")
        return replace(made, details=short.details)
    if name in goal.local and after is not None:
        if present is not None and before == after and _same_content(present, goal.local[name]):
            return None
        source = goal.local[name].source
        return act("build", f"Built from {source.url if source else 'the notebook'}, as the notebook has it.")
    if before == after:
        damaged = any(problem.package == name for problem in group.problems) or bool(
            present and running(present, with_older=True)
        )
        source = present.source if present else None
        if after is not None and (damaged or source is not None) and name in goal.chosen:
            return act("install", why) if why else act("install", _REPLACED, "replaced")
        return None
    if after is None:
        if name in goal.removed:
            return act("remove", _ABSENT, "absent")
        if name not in available.refused:
            return act("remove", _UNNEEDED, "unneeded")
        short = reason(name, available.refused[name])
        return replace(act("remove", f"{short.text} {_UNFIT}", "unfit"), details=short.details)
    kind: ActionKind = "install" if before is None else "upgrade" if newer(after, before) else "downgrade"
    if name in goal.chosen and f"{name}=={after}" in goal.preferred and (why or before is not None):
        return act(kind, why)
    return act(kind, _REQUIRED, "required")


def kernel_actions(
    kernel: Environment, kernel_goal: KernelGoal, available: Available, rows: Sequence[Row]
) -> tuple[PlanAction, ...]:
    """Return in what an environment with what is `available` differs from the kernel's; nothing where no package changes."""
    named = {action.name for action in (*kernel_goal.refused, *kernel_goal.apart)}
    done: list[PlanAction] = []
    for action in actions(kernel_goal.workers, [kernel], kernel_goal.goal, available, rows):
        # One that is damaged, or older in the process, is no difference between two environments.
        if action.name in named or (action.kind == "install" and action.before == action.after):
            continue
        if action.name in available.refused and action.kind != "refuse":
            # It is outside the scope, and can't be installed here all the same.
            short = reason(action.name, available.refused[action.name])
            done.append(replace(action, kind="refuse", after=None, why=short.text, details=short.details, cause="told"))
        else:
            why = "The workers don't have it." if action.cause == "absent" else action.why
            done.append(replace(action, why=why, cause="told"))
    return tuple(done)


def satisfied(kernel: Environment, groups: Sequence[Environment], goal: Goal, rows: Sequence[Row]) -> bool:
    """Whether the groups have all of their goal already, so that nothing has to be resolved or built."""
    versions = dict(line.split("==", 1) for line in (*goal.required, *goal.preferred))
    versions |= {name: package.version for name, package in goal.local.items()}
    return not actions(kernel, groups, goal, Available(versions=versions), rows)


def content_unknown(kernel: Environment, groups: Iterable[Environment]) -> bool:
    """Whether it isn't known yet if local code is the same, since the files on the workers weren't read."""
    local = {package.name: package.version for package in kernel.packages if package.source and package.content}
    return any(
        local.get(package.name) == package.version
        for group in groups
        if group.role == "worker" and group.level == "all" and group.content_at is None
        for package in group.packages
    )


def changes(done: Iterable[PlanAction]) -> int:
    """Return how many packages change."""
    return len({action.name for action in done if action.kind != "refuse"})


def remaining(
    kernel: Environment, scheduler: Environment | None, added: Mapping[str, str], rules: RuleSet, at: str
) -> tuple[Row, ...]:
    """Return the rows of a scheduler at warn or block that stay when every worker has what the notebook has.

    `added` are packages that the scheduler can import in addition afterwards.
    """
    if scheduler is None:
        return ()
    after = extended(scheduler, added)
    diff = compare(kernel, [after], cluster_id="", cluster_name="", kernel_id=None, kernel_label="", at=at, rules=rules)
    return tuple(row for row in diff.rows if row.severity in ("breaks", "risky") and not row.condition)


def python_action(before: str, after: str, group: str, why: str, cause: ActionCause = "told") -> PlanAction:
    """Return the action by which a group gets another Python."""
    kind: ActionKind = "upgrade" if newer(after, before) else "downgrade"
    return PlanAction(kind=kind, name="python", before=before, after=after, group=group, why=why, cause=cause)


def python_refused(kernel: Environment, group: Environment) -> PlanAction | None:
    """Return the refusal to change Python by a roll, where the two differ in more than the patch version."""
    if kernel.implementation == group.implementation and minor(kernel.python) == minor(group.python):
        return None
    why = (
        "Workers can't get another Python than their scheduler's while the cluster runs: its owner has to restart it with "
        "the notebook's Python."
    )
    return refusal("python", group.id, why, group.python, kernel.python)


def _same_content(present: Package, local: Package) -> bool:
    return bool(present.content) and present.content == local.content


def newer(after: str, before: str) -> bool:
    """Whether a version comes after another, or is equal to it."""
    if equal_versions(after, before):
        return True
    try:
        return Version(after) > Version(before)
    except InvalidVersion:
        return after > before
