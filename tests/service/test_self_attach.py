"""A cluster that a notebook opened is attached without being told to, or it is said truthfully why it can't be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from coiled_jupyter.core.clients import KernelClient
from coiled_jupyter.core.errors import CoiledError, Impossible, Invalid, NotFound
from coiled_jupyter.core.launch import Certificates
from coiled_jupyter.core.wire import Cluster, ClusterAttach, SchedulerInfo
from coiled_jupyter.service.self_attach import attach_found
from tests.test_golden import _cluster


def client(address: str = "tcp://10.0.0.7:8786", **fields) -> KernelClient:
    return KernelClient(id="c", status="running", address=address, scheduler="s", **fields)


def cluster(key: str, **fields) -> Cluster:
    scheduler = SchedulerInfo(address="tcp://10.0.0.7:8786", id="s", dashboard=None)
    return replace(_cluster(), **{"id": key, "scheduler": scheduler, "status": "idle", **fields})


@dataclass
class Followed:
    """Clusters of which the attached one becomes what is given."""

    becomes: dict = field(default_factory=dict)
    refusal: CoiledError | None = None
    asked: list = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def attach(self, body: ClusterAttach) -> Cluster:
        self.asked.append(body)
        if self.refusal is not None:
            raise self.refusal
        return self.get("a")

    async def attach_relayed(self, name: str | None, address: str, files: Certificates) -> Cluster:
        self.asked.append((name, address, files))
        return self.get("a")

    def get(self, cluster_id: str) -> Cluster:
        if cluster_id in self.deleted:
            raise NotFound("There is none")
        return cluster("a", source="attached", **self.becomes)

    async def delete(self, cluster_id: str) -> None:
        self.deleted.append(cluster_id)


FILES = Certificates(ca="/r/ca.pem", cert="/r/cert.pem", key="/r/key.pem")


@dataclass
class OfKernels:
    """The relays of kernels, all of which are open or refused."""

    refusal: CoiledError | None = None

    async def open(self, kernel_id: str, client: KernelClient) -> tuple[str, Certificates]:
        if self.refusal is not None:
            raise self.refusal
        return f"tls://{kernel_id}:1", FILES


def attached(followed: Followed, of: KernelClient, relays: OfKernels | None = None) -> Cluster:
    found = cluster("d", source="discovered")
    return asyncio.run(attach_found(followed, relays or OfKernels(), found, "k", of))


def test_a_scheduler_that_answers_here_is_attached_with_the_files_that_the_notebook_has():
    followed = Followed()
    assert attached(followed, client()).source == "attached"
    assert (followed.asked[0].address, followed.asked[0].tls, followed.deleted) == ("tcp://10.0.0.7:8786", None, [])
    secured = client("tls://10.0.0.7:8786", tls_files=("/ca", "/cert", "/key"))
    assert attached(followed, secured).id == "a"
    assert followed.asked[1].tls is not None
    assert followed.asked[1].tls.cert_file == "/cert"


THROUGH = [client("gateway://10.0.0.7/x"), client("tls://10.0.0.7:8786", in_memory_tls=True)]


@pytest.mark.parametrize("of", THROUGH)
def test_a_scheduler_that_only_the_notebook_reaches_is_attached_through_its_kernel(of):
    followed = Followed()
    assert attached(followed, of).source == "attached"
    assert followed.asked == [(cluster("d").name, "tls://k:1", FILES)]
    other = SchedulerInfo(address="tls://10.0.0.7:8786", id="other", dashboard=None)
    followed = Followed({"scheduler": other})
    with pytest.raises(Impossible, match="another scheduler answers this server"):
        attached(followed, of)
    assert followed.deleted == ["a"]


@pytest.mark.parametrize(
    ("of", "words"),
    [*((one, "runs on another machine") for one in THROUGH), (client("ws://10.0.0.7"), "own client can reach")],
)
def test_what_can_not_be_reached_is_not_tried_and_nobody_is_told_to_attach_it(of, words):
    followed = Followed()
    with pytest.raises(Impossible) as caught:
        attached(followed, of, OfKernels(Impossible("Its kernel runs on another machine", "Start it elsewhere")))
    assert words in caught.value.message
    assert "ttach" not in caught.value.message + caught.value.hint
    assert followed.asked == []


def test_another_scheduler_at_that_address_is_let_go():
    """As 127.0.0.1 is to the kernel of another machine."""
    other = SchedulerInfo(address="tcp://10.0.0.7:8786", id="other", dashboard=None)
    followed = Followed({"scheduler": other})
    with pytest.raises(Impossible, match="another scheduler answers this server"):
        attached(followed, client())
    assert followed.deleted == ["a"]


def test_what_the_administrator_forbids_and_what_fails_is_told():
    with pytest.raises(Impossible, match="doesn't allow this host"):
        attached(Followed(refusal=Invalid("address", "The administrator doesn't allow this host")), client())
    followed = Followed({"status": "failed", "reason": "Nothing listens at this address"})
    with pytest.raises(Impossible, match="Nothing listens at this address"):
        attached(followed, client())
    assert followed.deleted == ["a"]
