"""Clusters of pods, by the operator of dask-kubernetes, and of Coiled's machines."""

from __future__ import annotations

from typing import Any

from ..core.launch import ClusterClass
from ..core.wire import Option
from .contract import Entry, Wanted

_NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


def _kubernetes(wanted: Wanted) -> ClusterClass:
    kwargs: dict[str, Any] = {"name": f"jupyter-{wanted.id}", "n_workers": 0, "quiet": True}
    kwargs |= {name: wanted.options[name] for name in ("namespace", "image") if wanted.options[name]}
    asked: dict[str, str] = {}
    if wanted.threads_per_worker:
        asked["cpu"] = str(wanted.threads_per_worker)
    if wanted.memory_limit:
        asked["memory"] = str(wanted.memory_limit)
    if asked:
        kwargs["resources"] = {"requests": asked, "limits": asked}
    return ClusterClass(module="dask_kubernetes.operator", name="KubeCluster", kwargs=kwargs)


def _coiled(wanted: Wanted) -> ClusterClass:
    kwargs: dict[str, Any] = {"name": f"jupyter-{wanted.id}", "n_workers": wanted.workers, "show_widget": False}
    names = ("workspace", "region", "software", "container")
    kwargs |= {name: wanted.options[name] for name in names if wanted.options[name]}
    if wanted.threads_per_worker:
        kwargs["worker_cpu"] = wanted.threads_per_worker
    if wanted.memory_limit:
        kwargs["worker_memory"] = f"{wanted.memory_limit / 2**30:.2f} GiB"
    return ClusterClass(module="coiled", name="Cluster", kwargs=kwargs)


ENTRIES = (
    Entry(
        name="kubernetes",
        title="Kubernetes",
        description="Pods that the Dask operator of a Kubernetes cluster runs",
        options={
            "namespace": Option(type="string", description="the namespace, if not that of your context", pattern=_NAME),
            "image": Option(type="string", description="the image of scheduler and workers"),
        },
        takes=("threads_per_worker", "memory_limit"),
        requires=("dask-kubernetes",),
        make=_kubernetes,
    ),
    Entry(
        name="coiled",
        title="Coiled",
        description="Machines of a cloud, by Coiled; its own limits hold, and it costs money",
        options={
            "workspace": Option(type="string", description="the workspace, if not your default"),
            "region": Option(type="string", description="the cloud's region"),
            "software": Option(
                type="string", description="a software environment of Coiled's, in place of your packages"
            ),
            "container": Option(type="string", description="an image, in place of your packages"),
        },
        takes=("threads_per_worker", "memory_limit"),
        requires=("coiled",),
        make=_coiled,
        counted=False,
    ),
)
