"""What the tests of software share."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture
def silent():
    """The URL of an index that accepts connections and never answers, with a password in it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield "http://me:hunter22secret@{}:{}/simple".format(*server.getsockname())
