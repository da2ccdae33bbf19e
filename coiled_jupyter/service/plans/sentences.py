"""The sentences of plans: why something is refused or lost, and what restarts."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.change.survey import SurveyWorker
from ...core.wire import Confirmation

UNKNOWN_LAYER = "It runs in an environment of a sync that isn't known here: attach the cluster again."
NO_SECOND = "There is no second worker that could take over the only one's results."
ALL_RESTART = "All processes of the cluster restart, so their results are lost."
NOT_FROM_AN_INDEX = "It isn't from an index, and the whole cluster is built from one."
NEW_PYTHON = "The whole cluster restarts on the notebook's Python."
BASE_HAS_IT = "The base environment has this version."
SEALED = "Graphs are sent to the scheduler sealed, as they were in that state."
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


def some(names: Sequence[str]) -> str:
    """Name some of the packages."""
    return (
        f"{', '.join(names[:3])} and {len(names) - 3} more"
        if len(names) > 4
        else " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    )


def sealed(keeps: Sequence[str], names: Sequence[str]) -> str:
    """Say why clients send sealed graphs; `keeps` are the scheduler's versions of those of the packages that it has."""
    has = f"keeps {some(keeps)}" if keeps else f"lacks {some(names)}"
    return (
        f"The scheduler {has}, so graphs are sent to it sealed: by this notebook's clients from now on, by others with "
        "coiled_jupyter.connect()."
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


def sent(hosts: Sequence[str], sizes: Sequence[int | None], *, surely: bool) -> str:
    """Say which wheels this machine sends to each of some hosts.

    Parameters
    ----------
    sizes
        Of the wheels, in bytes; None where one isn't known.
    surely
        Whether the hosts don't reach the package index; else that couldn't be told.

    """
    known = [size for size in sizes if size is not None]
    megabytes = max(sum(known) / 1e6, 0.1)
    size = f"{'' if len(known) == len(sizes) else 'at least '}{megabytes:.{0 if megabytes >= 10 else 1}f} MB"
    what = f"{_counted(len(sizes), 'wheel', 'wheels')} ({size}{' each' if len(hosts) > 1 else ''})"
    verb = "is" if len(sizes) == 1 else "are"
    one = len(hosts) == 1
    if surely:
        why = "it doesn't" if one else "they don't"
        return f"{what} {verb} sent to {some(hosts)} by this computer, since {why} reach the package index."
    return (
        f"It could not be told whether {some(hosts)} {'reaches' if one else 'reach'} the package index: where that fails, "
        f"{what} {verb} sent there by this computer."
    )


def waits(workers: Sequence[SurveyWorker], bound: float, *, lost_ok: bool) -> tuple[str, ...]:
    """Say which shuffles and seceded tasks of these workers a roll waits for, and what happens after `bound` seconds."""
    found = []
    shuffling = sum(1 for worker in workers if worker.shuffles)
    seceded = sum(worker.seceded for worker in workers)
    back = "the sync fails and the old state comes back"
    if shuffling:
        end = "it begins anew and its tasks run again" if lost_ok else f"{back}, unless you agree to lose results"
        found.append(
            f"{_counted(shuffling, 'worker takes', 'workers take')} part in a shuffle: the sync waits for its end, at most "
            f"{bound:g} s for each batch. If it takes longer, {end}."
        )
    if seceded:
        found.append(
            f"{_counted(seceded, 'task has', 'tasks have')} seceded, as with worker_client: the sync waits for the end, at "
            f"most {bound:g} s for each batch. If it takes longer, {back}."
        )
    return tuple(found)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
