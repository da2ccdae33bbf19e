"""Clusters whose workers are jobs of a batch system, by dask-jobqueue; the scheduler runs beside the supervisor."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..core.launch import ClusterClass
from ..core.wire import Option
from .contract import Entry, Wanted

_KINDS = {
    "slurm": ("Slurm", "SLURMCluster", ("sbatch",)),
    "pbs": ("PBS", "PBSCluster", ("qsub", "pbsnodes")),
    "lsf": ("LSF", "LSFCluster", ("bsub",)),
    "sge": ("SGE", "SGECluster", ("qsub", "qconf")),
    "htcondor": ("HTCondor", "HTCondorCluster", ("condor_submit",)),
    "oar": ("OAR", "OARCluster", ("oarsub",)),
}
# Its jobs are chosen by what they need, not by a queue.
_WITHOUT = {
    "htcondor": ("queue", "account", "project", "walltime"),
    **dict.fromkeys(("slurm", "pbs"), ("project", "disk")),
    **dict.fromkeys(("lsf", "sge", "oar"), ("account", "disk")),
}
_QUEUES = {"slurm": ("squeue", "-h", "-t", "all", "-o", "%i %T %r", "-j", "{ids}")}


def _make(cls: str, queue: tuple[str, ...], wanted: Wanted) -> ClusterClass:
    options = wanted.options
    # What nobody says here is for jobqueue's own configuration to say.
    kwargs: dict[str, Any] = {
        name: options[name]
        for name in ("queue", "account", "project", "walltime", "disk", "interface", "config_name")
        if options.get(name) not in (None, "")
    }
    processes = options.get("processes")
    step = processes if isinstance(processes, int) else 1
    if wanted.threads_per_worker is not None or processes is not None:
        kwargs["processes"] = step
    if wanted.threads_per_worker is not None:
        kwargs["cores"] = wanted.threads_per_worker * step
    if wanted.memory_limit is not None:
        kwargs["memory"] = f"{wanted.memory_limit * step}B"
    if wanted.logs:
        kwargs["log_directory"] = wanted.logs
    dashboard = bool(options["dashboard"])
    kwargs["scheduler_options"] = {"dashboard": dashboard, "dashboard_address": ":0"}
    encrypted = bool(options["encrypted"])
    return ClusterClass(
        module="dask_jobqueue",
        name=cls,
        kwargs=kwargs,
        step=step,
        queue=queue,
        encrypted=encrypted,
        logs=str(kwargs.get("log_directory", "")),
    )


def _entry(name: str, title: str, cls: str, commands: tuple[str, ...]) -> Entry:
    options = {
        "queue": Option(type="string", description="the queue or partition of the jobs"),
        "account": Option(type="string", description="the account that the jobs are charged to"),
        "project": Option(type="string", description="the project that the jobs are charged to"),
        "disk": Option(type="string", description="the disk space of a job, such as 2GB", pattern=r"[0-9.]+[kMGT]?i?B"),
        "walltime": Option(
            type="string", description="how long a job may run, such as 01:30:00", pattern=r"[0-9][0-9:-]{0,20}"
        ),
        "processes": Option(
            type="integer", description="workers in each job; they come and go together", minimum=1, maximum=256
        ),
        "interface": Option(
            type="string",
            description="the network between this machine and the nodes, such as ib0",
            pattern=r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,30}",
        ),
        "config_name": Option(type="string", description="the section of dask-jobqueue's configuration, if another"),
        "encrypted": Option(
            type="boolean",
            description="encrypt connections; the nodes must see this machine's data folder, as in a shared home",
            default=name != "htcondor",
        ),
        "dashboard": Option(
            type="boolean", description="Dask's own dashboard, which everybody can open who reaches it", default=False
        ),
    }
    return Entry(
        name=name,
        title=title,
        description=f"Workers are jobs of {title}; the scheduler runs on this machine",
        options={key: option for key, option in options.items() if key not in _WITHOUT.get(name, ())},
        takes=("threads_per_worker", "memory_limit", "environ"),
        requires=("dask-jobqueue",),
        commands=commands,
        make=partial(_make, cls, _QUEUES.get(name, ())),
    )


ENTRIES = tuple(_entry(name, *kind) for name, kind in _KINDS.items())
