"""Counts what goes between a page and our routes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from playwright.sync_api import Page

Event = dict[str, Any]


class Traffic:
    """What goes between a page and our routes, in bytes."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.notices: list[str] = []
        self._ours: set[str] = set()
        self._headers: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()
        self._session = page.context.new_cdp_session(page)
        self._session.on("Network.requestWillBeSent", self._asked)
        # Both may be told before the request itself.
        self._session.on("Network.requestWillBeSentExtraInfo", self._headed)
        self._session.on("Network.responseReceivedExtraInfo", self._headed)
        self._session.on("Network.dataReceived", self._received)
        self._session.on("Network.webSocketFrameReceived", self._told)
        self._session.send("Network.enable")

    @property
    def content(self) -> int:
        """Return the bytes of the answers' bodies and the notices."""
        told = sum(len(text) + 4 for text in self.notices)
        return told + sum(self._bodies[request] for request in self._ours)

    @property
    def bytes(self) -> int:
        """Return the same with the headers of both sides."""
        return self.content + sum(self._headers[request] for request in self._ours)

    def close(self) -> None:
        self._session.detach()

    def _asked(self, event: Event) -> None:
        url = event["request"]["url"]
        if "/coiled-jupyter/api/" in url:
            self._ours.add(event["requestId"])
            self._headers[event["requestId"]] += len(url)
            self.requests.append(f"{event['request']['method']} {url.split('/api/')[1].split('?')[0]}")

    def _headed(self, event: Event) -> None:
        self._headers[event["requestId"]] += sum(len(f"{name}: {it}\r\n") for name, it in event["headers"].items())

    def _received(self, event: Event) -> None:
        self._bodies[event["requestId"]] += max(event["encodedDataLength"], event["dataLength"])

    def _told(self, event: Event) -> None:
        text = event["response"]["payloadData"]
        if "events.coiled-jupyter.org" in text:
            self.notices.append(text)
