"""Decides which addresses and certificate files a user may attach; touches the disk and the resolver, no Dask."""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from .core.cluster import Certificates
from .core.errors import Invalid
from .core.wire import TLSFiles

SCHEMES = ("tcp", "tls")
RESOLVE_SECONDS = 3.0


async def address(text: str, allowed: Sequence[str] = ()) -> str:
    """Return the address in normal form, ``scheme://host:port``, or raise Invalid.

    Parameters
    ----------
    allowed
        Hosts that may be attached, as patterns such as ``*.example.org`` or ``10.0.0.0/8``; none given: every host but
        link-local addresses, where clouds keep their machines' secrets.

    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Invalid("address", "The address can't be read", _EXAMPLE) from None
    if parts.scheme in ("ws", "wss", "gateway", "inproc", "ucx"):
        raise Invalid(
            "address", f"Clusters at {parts.scheme}:// can only be read through a notebook that is connected to them"
        )
    if parts.scheme not in SCHEMES:
        raise Invalid("address", "The address must begin with tcp:// or tls://", _EXAMPLE)
    host = parts.hostname
    if not host or not port or "@" in parts.netloc or parts.path or parts.query or parts.fragment or "%" in host:
        raise Invalid("address", "The address must be a host and a port, and nothing else", _EXAMPLE)
    await _check_host(host, port, allowed)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


_EXAMPLE = "Such as tcp://10.0.0.7:8786"


async def _check_host(host: str, port: int, allowed: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), RESOLVE_SECONDS)
    except (OSError, UnicodeError, asyncio.TimeoutError):
        # It may be known later; a supervisor tells why it can't be reached.
        found = []
    places = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if any(place.is_link_local or place.is_multicast or place.is_unspecified for place in places):
        raise Invalid("address", "Addresses of this kind may not be attached")
    if not allowed:
        return
    networks = [pattern for pattern in allowed if "/" in pattern]
    if any(fnmatch.fnmatch(host, pattern) for pattern in allowed if "/" not in pattern):
        return
    inside = [any(place in ipaddress.ip_network(n, strict=False) for n in networks) for place in places]
    if not inside or not all(inside):
        raise Invalid("address", "The administrator doesn't allow this host", "Ask for it in allowed_addresses")


def certificates(files: TLSFiles, roots: Sequence[str]) -> Certificates:
    """Return the paths of PEM files: regular files of this user below `roots`; Invalid for anything else."""
    paths = {}
    for field in ("ca_file", "cert_file", "key_file"):
        path = Path(getattr(files, field))
        if not _is_ours(path, roots):
            # One sentence for all reasons: nobody shall explore the disk with it.
            raise Invalid(
                f"tls.{field}", "There is no such certificate file that may be used", "Put it below your home folder"
            )
        paths[field.partition("_")[0]] = str(path)
    return Certificates(**paths)


def _is_ours(path: Path, roots: Sequence[str]) -> bool:
    try:
        status = path.lstat()
        real = path.parent.resolve(strict=True) / path.name
        below = any(real.is_relative_to(Path(root).expanduser().resolve(strict=True)) for root in roots)
    except (OSError, ValueError, RuntimeError):
        return False
    return (
        path.is_absolute()
        and below
        and stat.S_ISREG(status.st_mode)
        and status.st_uid == os.getuid()
        and os.access(path, os.R_OK)
    )
