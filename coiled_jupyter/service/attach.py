"""Decides which addresses and certificate files a user may attach; reads the disk and resolves names, without Dask."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from ..core.errors import Invalid
from ..core.launch import Certificates
from ..core.wire import TLSFiles

SCHEMES = ("tcp", "tls")
RESOLVE_SECONDS = 3.0


async def address(text: str, allowed: Sequence[str] = ()) -> str:
    """Return the address in normal form, ``scheme://host:port``, or raise Invalid.

    Parameters
    ----------
    allowed
        Hosts that may be attached, as patterns such as ``*.example.org`` or ``10.0.0.0/8``; empty: every host except
        link-local and similar addresses, where clouds serve their machines' credentials.

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
    await check_host(host, port, allowed)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


_EXAMPLE = "Such as tcp://10.0.0.7:8786"


async def check_host(host: str, port: int, allowed: Sequence[str], field: str = "address") -> None:
    """Raise Invalid for a machine that may not be connected to; `field` of the request names it."""
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), RESOLVE_SECONDS)
    except (OSError, UnicodeError, asyncio.TimeoutError):
        # The name may resolve later; the supervisor reports why the cluster can't be reached.
        found = []
    places = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    with contextlib.suppress(OSError, UnicodeError):
        # Numeric forms such as 2852039166 or 0xa9.254.43518, even if they don't resolve here.
        places.append(ipaddress.IPv4Address(socket.inet_aton(host)))
    if any(map(_is_forbidden, (inner for place in places for inner in (place, *_embedded(place))))):
        raise Invalid(field, "Addresses of this kind can't be attached")
    if not allowed:
        return
    networks = [pattern for pattern in allowed if "/" in pattern]
    if any(fnmatch.fnmatch(host, pattern) for pattern in allowed if "/" not in pattern):
        return
    inside = [any(place in ipaddress.ip_network(n, strict=False) for n in networks) for place in places]
    if not inside or not all(inside):
        raise Invalid(field, "The administrator doesn't allow this host", "Ask for it in allowed_addresses")


_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
"""Where clouds serve credentials at other than link-local addresses: AWS, Google, Alibaba, Azure, Oracle."""


def _is_forbidden(place: _Address) -> bool:
    return place.is_link_local or place.is_multicast or place.is_unspecified or place in _METADATA


def _embedded(place: _Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address can embed."""
    if isinstance(place, ipaddress.IPv4Address):
        return []
    data, found = place.packed, [*(place.teredo or ())]
    if place.sixtofour:
        found.append(place.sixtofour)
    # Mapped (RFC 4291), translated (RFC 2765), compatible, NAT64 (RFC 6052) and ISATAP (RFC 5214) addresses end in it.
    ends = (b"\0" * 12, b"\0" * 10 + b"\xff\xff", b"\0" * 8 + b"\xff\xff\0\0", _NAT64 + b"\0" * 8)
    if data.startswith((*ends, _LOCAL_NAT64)) or data[8:12] in (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe"):
        found.append(ipaddress.IPv4Address(data[12:]))
    if data.startswith(_LOCAL_NAT64):
        # A NAT64 prefix may be longer; the address then skips the zero byte in the middle, and zeros follow it.
        around = data[:8] + data[9:]
        found += [ipaddress.IPv4Address(around[start : start + 4]) for start in (6, 7, 8)]
        return [inner for inner in found if not inner.is_unspecified]
    return found


_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = bytes.fromhex("0064ff9b")
_LOCAL_NAT64 = bytes.fromhex("0064ff9b0001")


def certificates(files: TLSFiles, roots: Sequence[str]) -> Certificates:
    """Return the paths of PEM files, which must be regular files of this user below `roots`; Invalid otherwise."""
    paths = {}
    for field in ("ca_file", "cert_file", "key_file"):
        path = Path(getattr(files, field))
        if not _is_ours(path, roots):
            # One message for all reasons, so that it doesn't reveal which files exist.
            raise Invalid(f"tls.{field}", "No such certificate file may be used", "Put it below your home folder")
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
