"""The sentences of plans: why something is refused or lost, and what restarts."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.wire import Confirmation

UNKNOWN_LAYER = "It runs in an environment of a sync that isn't known here: attach the cluster again."
NO_SECOND = "There is no second worker that could take over the only one's results."
ALL_RESTART = "All processes of the cluster restart, so their results are lost."
NOT_FROM_AN_INDEX = "It isn't from an index, and the whole cluster is built from one."
NEW_PYTHON = "The whole cluster restarts on the notebook's Python."
BASE_HAS_IT = "The base environment has this version."
STATE_HAD_IT = "That state had this version."
_NEEDS: dict[Confirmation, str] = {
    "lost_results": "results would be lost",
    "plain_connection": "credentials would cross unencrypted",
}


def lacks(worker: str, missing: Sequence[str]) -> str:
    """Say which packages the values on a worker need that a new environment lacks, and what to do about it."""
    return (
        f"Values on worker {worker} need {', '.join(missing[:5])}, which the new environment doesn't have: release them "
        "first, or choose packages so that it stays."
    )


def who_restarts(*, managed: bool) -> str:
    """Say who can restart a scheduler."""
    if managed:
        return "It changes only when the whole cluster restarts."
    return "The owner of the cluster has to restart its scheduler with it."


def agreement(needs: Sequence[Confirmation]) -> str:
    """Say what a user has to agree to."""
    return f"This plan needs your agreement first: {' and '.join(_NEEDS[need] for need in needs)}"


def restarts(how: str, sizes: Sequence[int], *, alone: bool) -> tuple[str, ...]:
    """Say what restarts; `sizes` are the batches' numbers of workers, `alone` is whether a temporary one is needed."""
    if how == "replace":
        return ("The scheduler and every worker restart, at the same address; clients connect again by themselves.",)
    if how != "roll":
        return ()
    count = sum(sizes)
    if alone:
        return ("The only worker restarts; a temporary second one keeps its results.",)
    if len(sizes) == 1:
        return (f"{count} workers restart at once." if count != 1 else "The worker restarts.",)
    return (f"{count} workers restart in {len(sizes)} batches, after handing their results to the others.",)
