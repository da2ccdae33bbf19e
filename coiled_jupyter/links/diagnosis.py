"""Finds out why a Dask scheduler can't be reached: refused, silent, stopped, or TLS on one side only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from urllib.parse import urlsplit

STEP_SECONDS = 1.0
REFUSED = "Connection refused: nothing listens at this address"
_HANDSHAKE, _ALERT = 0x16, 0x15


async def of(address: str, *, with_files: bool) -> str:
    """Return the most likely reason as a sentence; takes at most about three seconds.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://127.0.0.1:8786``.
    with_files
        Whether certificate files are configured.

    """
    scheme, place = _place(address)
    if place is None:
        return "The connection failed"
    host, port = place
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), STEP_SECONDS)
    except asyncio.TimeoutError:
        return "The host doesn't answer"
    except OSError:
        return REFUSED if await refused(address) else "The host can't be reached"
    try:
        # A scheduler without TLS speaks first; one with TLS waits for the client.
        if await _speaks(reader):
            if scheme == "tls":
                return "The scheduler doesn't use TLS: attach it with a tcp:// address"
            return "The scheduler accepts connections, but doesn't answer in time"
        writer.write(_hello())
        answer = await _first(reader)
    except OSError:
        return "The connection was closed while it was being opened"
    finally:
        writer.transport.abort()
    if answer in (_HANDSHAKE, _ALERT):
        if scheme == "tcp":
            return "The scheduler expects TLS: attach it with a tls:// address and certificate files"
        return "The scheduler doesn't accept these certificates" if with_files else "Certificate files are needed"
    return "The process accepts connections but sends nothing: it may be stopped, or isn't a Dask scheduler"


async def refused(address: str) -> bool:
    """Return whether the host refuses connections at this address; takes at most a second."""
    _, place = _place(address)
    if place is None:
        return False
    try:
        return await asyncio.wait_for(_refused(*place), STEP_SECONDS)
    except (OSError, UnicodeError, asyncio.TimeoutError):
        return False


async def _refused(host: str, port: int) -> bool:
    loop = asyncio.get_running_loop()
    # A name such as localhost resolves to several addresses; it refuses if all of them do.
    for family, kind, proto, _, where in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, proto) as asked:
            asked.setblocking(False)
            try:
                await loop.sock_connect(asked, where)
            except ConnectionRefusedError:
                continue
            return False
    return True


def _place(address: str) -> tuple[str, tuple[str, int] | None]:
    """Return the scheme of an address, with its host and port, or with None if it has no host and port."""
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    return parts.scheme, (host, port) if host and port and parts.scheme in ("tcp", "tls") else None


async def _speaks(reader: asyncio.StreamReader) -> bool:
    return await _first(reader) is not None


async def _first(reader: asyncio.StreamReader) -> int | None:
    try:
        data = await asyncio.wait_for(reader.read(1), STEP_SECONDS)
    except asyncio.TimeoutError:
        return None
    return data[0] if data else None


def _hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # This connection sends only its ClientHello.
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()
