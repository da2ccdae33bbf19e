"""Finds out why a Dask scheduler can't be reached: refused, silent, stopped, or TLS on one side only."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from urllib.parse import urlsplit

STEP_SECONDS = 1.0
_HANDSHAKE, _ALERT = 0x16, 0x15


async def of(address: str, *, with_files: bool) -> str:
    """Return the likeliest reason in plain words; takes at most about three seconds.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://127.0.0.1:8786``.
    with_files
        Whether certificates were given.

    """
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or parts.scheme not in ("tcp", "tls"):
        return "The connection failed"
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), STEP_SECONDS)
    except ConnectionRefusedError:
        return "Connection refused: nothing listens at this address"
    except asyncio.TimeoutError:
        return "The host doesn't answer"
    except OSError:
        return "The host can't be reached"
    try:
        # A scheduler without TLS speaks first; one with TLS waits for the client.
        if await _speaks(reader):
            if parts.scheme == "tls":
                return "The scheduler doesn't use TLS: attach it with a tcp:// address"
            return "The scheduler accepts connections, but doesn't answer in time"
        writer.write(_hello())
        answer = await _first(reader)
    except OSError:
        return "The connection was closed while it was opened"
    finally:
        writer.transport.abort()
    if answer in (_HANDSHAKE, _ALERT):
        if parts.scheme == "tcp":
            return "The scheduler expects TLS: attach it with a tls:// address and certificate files"
        return "The scheduler doesn't accept these certificates" if with_files else "Certificate files are needed"
    return "The process accepts connections but says nothing: it may be stopped, or no Dask scheduler"


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
    # Nothing is sent by this connection but its greeting.
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()
