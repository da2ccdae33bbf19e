"""Which kinds of clusters there are, what they declare, and that nothing else gets to a job script or a command."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from coiled_jupyter import configuration
from coiled_jupyter.core.errors import CoiledError, Invalid
from coiled_jupyter.core.launch import ClusterClass
from coiled_jupyter.factories import dask_labextension, jobqueue, services, ssh
from coiled_jupyter.factories.contract import Wanted, merged
from coiled_jupyter.factories.failures import explained
from coiled_jupyter.factories.table import Table
from coiled_jupyter.supervisor.host import chosen
from tests.environments import environment, interpreters


def table(**factories: object) -> Table:
    return Table(configuration.made({"factories": factories}).factories)


def made(entry, *, threads: int | None = None, memory: int | None = None, **options: object) -> ClusterClass:
    wanted = Wanted(
        id="c0ffee00",
        workers=2,
        threads_per_worker=threads,
        memory_limit=memory,
        options=entry.checked(options),
        logs="/l",
    )
    return entry.cluster_class(wanted)


@pytest.mark.parametrize("factory", [ssh.ENTRY, *jobqueue.ENTRIES, *services.ENTRIES], ids=lambda entry: entry.name)
@pytest.mark.parametrize(
    "text", ["a b", "a\nb", "$(id)", "a;id", "`id`", "-x", "a'b", 'a"b', "a\\b", "a|b", "a&b", "a>b"]
)
def test_no_text_is_more_than_a_word(factory, text):
    for name, option in factory.options.items():
        if option.type == "string" and not (name == "hosts" and text == "a b"):
            with pytest.raises(Invalid) as caught:
                factory.checked({"hosts": "h", name: text} if "hosts" in factory.options else {name: text})
            assert caught.value.field == f"options.{name}"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "options.hosts"),
        ({"hosts": "h", "port": 0}, "options.port"),
        ({"hosts": "h", "port": "22"}, "options.port"),
        ({"hosts": "h", "port": True}, "options.port"),
        ({"hosts": "h", "remote_python": "/bin/sh"}, "options.remote_python"),
        ({"hosts": "h", "preload": "x"}, "options.preload"),
        ({"hosts": 1}, "options.hosts"),
        ({"hosts": "a,,b"}, "options.hosts"),
    ],
)
def test_a_bad_option_is_named(options, field):
    with pytest.raises(Invalid) as caught:
        ssh.ENTRY.checked(options)
    assert caught.value.field == field


def test_what_is_asked_for_is_what_the_class_gets():
    kwargs = made(ssh.ENTRY, threads=3, memory=10**9, hosts="a, b", username="me", port=2222).kwargs
    assert kwargs["hosts"] == ["a", "a", "b"]
    assert (kwargs["connect_options"]["username"], kwargs["connect_options"]["port"]) == ("me", 2222)
    assert (kwargs["worker_options"]["nthreads"], kwargs["worker_options"]["memory_limit"]) == (3, 10**9)
    slurm = next(entry for entry in jobqueue.ENTRIES if entry.name == "slurm")
    job = made(slurm, threads=2, memory=10**9, processes=4, queue="long")
    assert (job.step, job.kwargs["cores"], job.kwargs["processes"], job.kwargs["memory"]) == (4, 8, 4, "4000000000B")
    assert (job.kwargs["queue"], job.kwargs["log_directory"], job.logs) == ("long", "/l", "/l")
    # What nobody says is for jobqueue's own configuration.
    assert set(made(slurm).kwargs) == {"log_directory", "scheduler_options"}


def test_what_an_administrator_decides_counts_and_is_no_option():
    entry = table(
        gpu={"like": "slurm", "kwargs": {"queue": "gpu", "python": "/p", "scheduler_options": {"port": 9}}}
    ).entry("gpu")
    assert "queue" not in entry.options
    with pytest.raises(Invalid, match="no option queue"):
        entry.checked({"queue": "other"})
    kwargs = made(entry, threads=1).kwargs
    assert (kwargs["queue"], kwargs["python"]) == ("gpu", "/p")
    assert kwargs["scheduler_options"] == {"dashboard": False, "dashboard_address": ":0", "port": 9}
    own = {
        "class": "lab.deploy:Cluster",
        "kwargs": {"zone": "a"},
        "options": {"size": {"type": "string", "description": ""}},
    }
    lab = made(table(lab=own).entry("lab"), size="xl")
    assert (lab.module, lab.name, lab.kwargs) == ("lab.deploy", "Cluster", {"size": "xl", "zone": "a"})


def test_a_request_names_only_what_is_in_the_table():
    with pytest.raises(Invalid, match="no cluster factory os:system") as caught:
        table().entry("os:system")
    assert caught.value.field == "factory"
    # Neither like another one nor a class: left out, and the rest stays.
    assert [f.name for f in table(x={"like": "nothing"}).describe()] == [f.name for f in table().describe()]


@pytest.mark.parametrize("factories", [{"x": {"klass": "a:b"}}, {"x": {"adapts": "maybe"}}, {"x": 1}, []])
def test_a_wrong_configuration_is_one_sentence(factories):
    with pytest.raises(CoiledError, match="invalid CoiledJupyter setting"):
        configuration.made({"factories": factories})


_PACKAGE = """
from coiled_jupyter.core.launch import ClusterClass
from coiled_jupyter.core.wire import Option
from coiled_jupyter.factories.contract import Entry

def make(wanted):
    return ClusterClass(module="lab.deploy", name="Cluster", kwargs={"size": wanted.options["size"]})

ENTRY = Entry(
    name="lab", title="The lab's machines", description="", make=make,
    options={"size": Option(type="string", description="s or xl", choices=("s", "xl"), default="s")},
)
"""


def test_another_package_adds_a_kind_by_an_entry_point(tmp_path, monkeypatch, caplog):
    (tmp_path / "lab_factories.py").write_text(_PACKAGE)
    information = tmp_path / "lab_factories-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-factories\nVersion: 1\n")
    points = "[coiled_jupyter.factories]\nlab = lab_factories:ENTRY\nbroken = lab_factories:NOTHING\n"
    (information / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = table().entry("lab")
    assert made(entry).kwargs == {"size": "s"}
    assert "broken" in caplog.text
    with pytest.raises(Invalid, match="size must be one of s, xl"):
        entry.checked({"size": "m"})
    sys.modules.pop("lab_factories")


_YAML = """
labextension:
  factory:
    module: dask_jobqueue
    class: SLURMCluster
    args: [1]
    kwargs: {job-cpu: 4, cores: 2}
  default: {workers: 3, adapt: {minimum: 1, maximum: 4}}
  initial:
    - {name: mine, workers: 5}
    - {name: other, adapt: {minimum: 0, maximum: 2}}
"""


def test_what_dask_labextension_was_told_is_taken_over(tmp_path: Path):
    (tmp_path / "labextension.yaml").write_text(_YAML)
    (tmp_path / "broken.yaml").write_text("{")
    environ = {"DASK_CONFIG": str(tmp_path), "DASK_LABEXTENSION__FACTORY__KWARGS__QUEUE": "long"}
    section = dask_labextension.configuration(environ)
    entry = dask_labextension.entry(section)
    cluster = made(entry)
    assert (cluster.module, cluster.name, cluster.args) == ("dask_jobqueue", "SLURMCluster", (1,))
    assert cluster.kwargs == {"job_cpu": 4, "cores": 2, "queue": "long"}
    assert (entry.workers, entry.adaptive.minimum, entry.adaptive.maximum) == (3, 1, 4)
    assert entry.requires == ("dask-jobqueue",)
    first, second = dask_labextension.initial(section)
    assert (first.name, first.workers, first.factory) == ("mine", 5, dask_labextension.NAME)
    assert (second.name, second.workers, second.adaptive.maximum) == ("other", None, 2)


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"factory": None},
        {"factory": {"module": "dask.distributed", "class": "LocalCluster"}},
        {"factory": {"class": 1}},
    ],
)
def test_without_a_factory_of_ones_own_there_is_none(section):
    assert dask_labextension.entry(section) is None


def test_jobs_without_workers_go_first_and_then_the_least_used():
    units = {"a": ["a-0", "a-1"], "b": ["b-0", "b-1"], "c": ["c-0", "c-1"]}
    present = {"1": "a-0", "2": "a-1", "3": "b-0", "4": "b-1"}
    assert chosen(units, 4, present, []) == ["c"]
    # Of a job, the busiest of its workers decides.
    assert chosen(units, 2, present, ["1", "3", "4", "2"]) == ["c", "b"]
    # Half of a job isn't ended.
    assert chosen(units, 5, present, []) == []
    assert chosen(units, 0, present, []) == ["c", "b", "a"]


def test_what_a_platform_says_is_bounded_text_with_a_next_step():
    error = explained("sbatch: error: invalid partition\x00 specified: x\u202e" + "y" * 2000)
    assert error.message.isprintable()
    assert len(error.message) <= 600
    assert "Choose a queue" in error.hint
    missing = explained(
        "No module", kind="missing", module="dask_jobqueue.slurm", prefix="/env", requires=("dask-jobqueue",)
    )
    assert (missing.message, missing.hint) == (
        "dask-jobqueue isn't in /env",
        "Install it there, for example with `uv pip install dask-jobqueue`",
    )


def test_arguments_are_merged_level_by_level():
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": {}}) == {"a": {"b": 4, "c": 2}, "d": {}}


# OAR reserves memory by a property of the site.
@pytest.mark.filterwarnings("ignore:OAR Job memory")
@pytest.mark.parametrize("entry", jobqueue.ENTRIES, ids=lambda entry: entry.name)
def test_each_batch_systems_own_class_takes_what_is_declared(entry, tmp_path):
    chosen = {
        "queue": "long",
        "account": "physics",
        "project": "physics",
        "disk": "2GB",
        "walltime": "01:30:00",
        "processes": 2,
        "interface": "lo",
    }
    options = entry.checked({name: value for name, value in chosen.items() if name in entry.options})
    wanted = Wanted(
        id="c0ffee00", workers=2, threads_per_worker=3, memory_limit=10**9, options=options, logs=str(tmp_path / "logs")
    )
    cluster_class = entry.cluster_class(wanted)

    async def script() -> str:
        made = getattr(importlib.import_module(cluster_class.module), cluster_class.name)
        cluster = made(**cluster_class.kwargs, asynchronous=True)
        await cluster
        try:
            return cluster.job_script()
        finally:
            await cluster.close()

    said = asyncio.run(script())
    assert "--nthreads 3" in said
    assert "--nworkers 2" in said
    words = {"disk": "2000000000", **{name: str(value) for name, value in chosen.items() if name != "disk"}}
    assert [name for name in chosen if name in entry.options and words[name] not in said] == []


@pytest.mark.nightly
@pytest.mark.parametrize("entry", services.ENTRIES, ids=lambda entry: entry.name)
def test_each_services_own_class_takes_what_is_declared(entry):
    chosen = dict.fromkeys(entry.options, "a")
    cluster_class = made(entry, threads=2, memory=10**9, **chosen)
    python = environment(interpreters()["3.11"], "distributed==2026.8.0", "dask==2026.8.0", *entry.requires)
    script = (
        f"import inspect, json, sys, {cluster_class.module} as m;"
        f"inspect.signature(m.{cluster_class.name}).bind(**json.load(sys.stdin), asynchronous=True)"
    )
    given = json.dumps(cluster_class.kwargs)
    done = subprocess.run([python, "-c", script], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
