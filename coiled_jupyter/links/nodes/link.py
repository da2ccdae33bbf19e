"""The entry point to the nannies and workers of a cluster."""

from __future__ import annotations

from ..scheduler import SchedulerLink
from .calls import NodeCalls
from .layer_plugin import LayerPlugin
from .layers import Layers
from .restarts import Restarts
from .seal_plugin import SealPlugin
from .survey import Surveyor


class NodeLink:
    """The nannies and workers of one cluster, reached through its scheduler.

    Every method of its parts has a deadline, and raises Unavailable or Timeout with the reason if the scheduler or the
    node concerned doesn't answer.
    """

    def __init__(self, link: SchedulerLink) -> None:
        self.scheduler = link
        calls = NodeCalls(link)
        self.surveyor = Surveyor(calls)
        self.layers = Layers(calls)
        self.plugin = LayerPlugin(calls)
        self.seal = SealPlugin(calls)
        self.restarts = Restarts(calls)
