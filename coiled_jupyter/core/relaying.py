"""Decodes what a kernel answers that is to relay to a scheduler which only its own client reaches, and says why it can't."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .clients import KernelClient, decode

CLOSED = (
    "This cluster is reached through a notebook's own client, and that notebook has closed it or its kernel has ended. Open "
    "the cluster in a notebook again."
)
SILENT = (
    "This cluster is reached through a notebook's own client, and nothing comes back through that notebook's kernel."
)
LATER = "Choose its packages where it is started, or open the cluster anew from this notebook's environment"


class Relay(Struct, frozen=True):
    """The answer of ``texts/relay.py``: the port of a relay on loopback, or a word that says why there is none."""

    port: Annotated[int, Meta(gt=0, lt=65536)] | None = None
    error: Annotated[str, Meta(max_length=200)] = ""


def answer(text: str) -> Relay:
    """Decode an answer; raises as `clients.decode`."""
    return decode(text, Relay)


def needed(client: KernelClient) -> bool:
    """Whether nobody but this client reaches its scheduler, and what it says on its connection is encrypted."""
    scheme = client.address.partition("://")[0]
    return scheme == "gateway" or (scheme == "tls" and client.in_memory_tls)


_REFUSED = {
    "gone": "the notebook has closed its client",
    "elsewhere": "only the notebook's own client reaches it, and the notebook's kernel runs on another machine than this server",
}


def refused(relay: Relay) -> str:
    """Say why there is no relay."""
    return _REFUSED.get(
        relay.error, "only the notebook's own client reaches it, and its kernel could not pass requests on"
    )
